//! GPU models that can be cut: which profiles they have, and how many streaming multiprocessors
//! (SMs) a leaf of each gets.
//!
//! Slices are not linear in SMs: of an H100, a 3g has 60 SMs and three 1g have 48. Sources: go-nvml's
//! mock data for A30 and A100, `nvidia-smi mig -lgip` of real devices for H100, GH200 and RTX PRO
//! 6000, the MIG user guide for the names of the others. GH200 and H200 have H100's die, so those of
//! their numbers that nobody has published are H100's; of B200 none are known.

use crate::profile::Profile;

/// One model, as far as MIG tells it from others.
#[derive(Debug, PartialEq, Eq)]
pub struct Model {
    /// Short name with the memory, `H100-80`.
    pub name: &'static str,
    /// Words that a product name of this model has, all of them, in lower case.
    words: &'static [&'static str],
    /// Words that it does not have.
    not: &'static [&'static str],
    /// Slices, gigabytes and SMs of its profiles, smallest first.
    rows: &'static [(u8, u16, u32)],
}

/// The models, see the module's text for where the numbers come from.
pub const MODELS: [Model; 9] = [
    Model {
        name: "A30-24",
        words: &["a30"],
        not: &[],
        rows: &[(1, 6, 14), (2, 12, 28), (4, 24, 56)],
    },
    Model {
        name: "A100-40",
        words: &["a100", "40gb"],
        not: &[],
        rows: &[(1, 5, 14), (1, 10, 14), (2, 10, 28), (3, 20, 42), (4, 20, 56), (7, 40, 98)],
    },
    Model {
        name: "A100-80",
        words: &["a100", "80gb"],
        not: &[],
        rows: &[(1, 10, 14), (1, 20, 14), (2, 20, 28), (3, 40, 42), (4, 40, 56), (7, 80, 98)],
    },
    // H100 PCIe has 114 SMs and numbers that are not known here.
    Model {
        name: "H100-80",
        words: &["h100", "80gb"],
        not: &["pcie"],
        rows: &[(1, 10, 16), (1, 20, 26), (2, 20, 32), (3, 40, 60), (4, 40, 64), (7, 80, 132)],
    },
    Model {
        name: "H100NVL-94",
        words: &["h100", "nvl"],
        not: &[],
        rows: &[(1, 12, 16), (1, 24, 26), (2, 24, 32), (3, 47, 60), (4, 47, 64), (7, 94, 132)],
    },
    Model {
        name: "GH200-96",
        words: &["gh200"],
        not: &["144g"],
        rows: &[(1, 12, 16), (1, 24, 26), (2, 24, 32), (3, 48, 60), (4, 48, 64), (7, 96, 132)],
    },
    Model {
        name: "H200-141",
        words: &["h200"],
        not: &["gh200"],
        rows: &[(1, 18, 16), (1, 35, 26), (2, 35, 32), (3, 71, 60), (4, 71, 64), (7, 141, 132)],
    },
    Model {
        name: "RTXPRO6000-96",
        words: &["rtx", "pro", "6000"],
        not: &[],
        rows: &[(1, 24, 46), (2, 48, 94), (4, 96, 188)],
    },
    Model { name: "B200-180", words: &["b200"], not: &["gb200"], rows: &[] },
];

impl Model {
    /// The model of a product name as NVML gives it, `NVIDIA A100-SXM4-80GB`.
    pub fn named(product: &str) -> Option<&'static Model> {
        let product = product.to_ascii_lowercase();
        let has = |word: &&str| product.contains(word);
        let is_it = |model: &&Model| model.words.iter().all(has) && !model.not.iter().any(has);
        MODELS.iter().find(is_it)
    }

    /// The model that has leaves of all these types, `3g.40gb` or with the model in front
    /// `a100_3g.40gb`. If several models have them, any one of them, provided that they agree on
    /// the SMs of every number of slices.
    pub fn of_types<'a>(types: impl Iterator<Item = &'a str> + Clone) -> Option<&'static Model> {
        let fits = |model: &&Model| types.clone().all(|kind| model.has_type(kind));
        let mut fitting = MODELS.iter().filter(fits);
        let first = fitting.next().filter(|_| types.clone().next().is_some())?;
        let agrees = |other: &Model| {
            types.clone().filter_map(Profile::of_type).all(|p| other.sms(&p) == first.sms(&p))
                && (1..=7).all(|slices| other.sms_of_slices(slices) == first.sms_of_slices(slices))
        };
        fitting.all(agrees).then_some(first)
    }

    fn has_type(&self, kind: &str) -> bool {
        let prefix = kind.rsplit_once('_').map_or("", |(prefix, _)| prefix).to_ascii_lowercase();
        let known = self.name.split('-').next().unwrap_or_default().to_ascii_lowercase();
        // Another prefix than a model's name says nothing.
        let is_model = |model: &Model| model.words.first() == Some(&prefix.as_str());
        let prefix_fits = prefix == known || !MODELS.iter().any(is_model);
        prefix_fits && Profile::of_type(kind).is_some_and(|profile| self.sms(&profile).is_some())
    }

    /// SMs of a leaf. A compute instance that holds part of its GPU instance has its share.
    pub fn sms(&self, profile: &Profile) -> Option<u32> {
        let is_it = |row: &&(u8, u16, u32)| (row.0, row.1) == (profile.slices, profile.memory_gb);
        let whole = self.rows.iter().find(is_it)?.2;
        Some(whole * u32::from(profile.compute) / u32::from(profile.slices))
    }

    /// SMs of the smallest leaf with so many slices; where the model has no such leaf, of as many
    /// one-slice leaves.
    pub fn sms_of_slices(&self, slices: u8) -> Option<u32> {
        let of = |slices| self.rows.iter().find(|row| row.0 == slices).map(|row| row.2);
        of(slices).or_else(|| Some(of(1)? * u32::from(slices)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(types: &[&str]) -> Option<&'static str> {
        Model::of_types(types.iter().copied()).map(|model| model.name)
    }

    #[test]
    fn product_names_tell_the_model() {
        for (product, expected) in [
            ("NVIDIA A100-SXM4-80GB", Some("A100-80")),
            ("NVIDIA A100-PCIE-40GB", Some("A100-40")),
            ("NVIDIA A30", Some("A30-24")),
            ("NVIDIA H100 80GB HBM3", Some("H100-80")),
            ("NVIDIA H100 PCIe 80GB", None),
            ("NVIDIA H100 NVL", Some("H100NVL-94")),
            ("NVIDIA H200", Some("H200-141")),
            ("NVIDIA GH200 480GB", Some("GH200-96")),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", Some("RTXPRO6000-96")),
            ("Tesla T4", None),
        ] {
            assert_eq!(Model::named(product).map(|model| model.name), expected, "{product}");
        }
    }

    #[test]
    fn types_tell_the_model_where_they_differ() {
        assert_eq!(model(&["1g.5gb", "3g.20gb"]), Some("A100-40"));
        assert_eq!(model(&["a100_1g.10gb", "a100_3g.40gb"]), Some("A100-80"));
        assert_eq!(model(&["h100_1g.10gb"]), Some("H100-80"));
        assert_eq!(model(&["1g.10gb", "3g.40gb"]), None, "A100 or H100");
        assert_eq!(model(&["1g.12gb"]), Some("H100NVL-94"), "GH200 has the same SMs");
        assert_eq!(model(&["big_3g.71gb"]), Some("H200-141"));
        assert_eq!(model(&["leaf"]), None);
        assert_eq!(model(&[]), None);
    }

    #[test]
    fn slices_are_not_linear() {
        let h100 = Model::named("H100 80GB").unwrap();
        assert_eq!(h100.sms(&Profile::new(3, 40)), Some(60));
        assert_eq!(h100.sms(&"1c.2g.20gb".parse().unwrap()), Some(16));
        assert_eq!(h100.sms_of_slices(1), Some(16));
        assert_eq!(Model::named("A30").unwrap().sms_of_slices(3), Some(42));
        assert_eq!(Model::named("B200").unwrap().sms_of_slices(3), None);
    }
}
