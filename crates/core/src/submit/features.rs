//! Features of slurm.conf that tell where a type is: with `[A|B]` as the job's constraint and A
//! preferred, an untyped request leaves the choice between equal counts of two types to Slurm's
//! scheduler, which makes it anew each time it looks at the job.

use std::collections::BTreeMap;

use crate::slurm_conf::NodeClass;

/// For each type one feature that all nodes of that type have and no other node with leaves does.
/// Types without one are left out, and all are where a node has several types.
pub(super) fn telling(classes: &[NodeClass]) -> BTreeMap<String, String> {
    let only: Option<Vec<&str>> = classes.iter().map(only_type).collect();
    let Some(only) = only else { return BTreeMap::new() };
    let telling = |name: &str| {
        let of = |own: bool| {
            let classes = classes.iter().zip(&only);
            classes.filter(move |(_, kind)| (**kind == name) == own).map(|(class, _)| class)
        };
        let tells = |feature: &&String| {
            is_plain(feature)
                && of(true).all(|class| class.common_features.contains(feature))
                && !of(false).any(|class| class.features.contains(feature))
        };
        of(true).next()?.common_features.iter().find(tells).cloned()
    };
    only.iter().filter_map(|name| Some(((*name).to_owned(), telling(name)?))).collect()
}

/// The type of all leaves of a node, if it is one.
fn only_type(class: &NodeClass) -> Option<&str> {
    let mut types = class.types.iter().filter(|(_, count)| *count > 0);
    match (types.next(), types.next()) {
        (Some((kind, _)), None) => kind.as_deref(),
        _ => None,
    }
}

/// Whether a constraint can name it without an operator being read in it.
fn is_plain(feature: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !feature.is_empty() && feature.chars().all(plain)
}

/// `[a|b]`
pub(super) fn one_of(features: &[&str]) -> String {
    format!("[{}]", features.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slurm_conf::SlurmConf;

    fn told(conf: &str) -> Vec<(String, String)> {
        let conf = SlurmConf::parse("slurm.conf", conf.as_bytes(), &mut |_| Err("none".into()));
        telling(&conf.flexmig_capacity(None)).into_iter().collect()
    }

    #[test]
    fn a_feature_tells_a_type_if_all_its_nodes_have_it_and_no_others() {
        let pair = |kind: &str, feature: &str| (kind.to_owned(), feature.to_owned());
        assert_eq!(
            told(
                "NodeName=a[1-2] CPUs=8 Gres=flexmig:1g.10gb:7 Features=ib,rack1,small\n\
                 NodeName=a3 CPUs=9 Gres=flexmig:1g.10gb:14 Features=ib,rack2,small\n\
                 NodeName=b1 Gres=flexmig:3g.40gb:2 Features=ib,rack2,big\n\
                 NodeName=c1 Features=small,big\n"
            ),
            [pair("1g.10gb", "small"), pair("3g.40gb", "big")]
        );
        // No feature, or one with an operator in it.
        assert_eq!(
            told("NodeName=a Gres=flexmig:x:1 Features=a|b\nNodeName=b Gres=flexmig:y:1"),
            []
        );
        // Leaves without types, and nodes with several.
        for gres in ["flexmig:4", "flexmig:x:1,flexmig:y:1"] {
            let conf = format!("NodeName=a Gres={gres} Features=a\nNodeName=b Gres=flexmig:y:1");
            assert_eq!(told(&conf), []);
        }
    }
}
