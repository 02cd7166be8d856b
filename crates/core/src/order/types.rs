//! Which type of slurm.conf a leaf belongs to.

use crate::leaf::Leaf;
use crate::profile::Profile;

/// [`Profile::of_type`].
pub fn profile_of_type(kind: &str) -> Option<Profile> {
    Profile::of_type(kind)
}

/// Model and profile of a type.
fn split(kind: &str) -> (Option<&str>, Option<Profile>) {
    match kind.rsplit_once('_') {
        Some((model, profile)) => (Some(model), profile.parse().ok()),
        None => (None, kind.parse().ok()),
    }
}

/// Number of values that [`fit`] can have.
pub(super) const FITS: u8 = 5;

/// How well a leaf fits a type, 0 best; `None` if it does not belong there at all.
///
/// The exact name is better than the same shape under another name, a model in front that is the
/// parent's is better than another word there, and no type at all takes every leaf last.
pub(super) fn fit(kind: Option<&str>, leaf: &Leaf) -> Option<u8> {
    let Some(kind) = kind else { return Some(FITS - 1) };
    let (model, profile) = split(kind);
    let profile = profile.filter(|profile| *profile == leaf.profile)?;
    let other_name = !profile.same_name(&leaf.profile);
    let other_model = model.is_some_and(|m| !plain(&leaf.parent.model).contains(&plain(m)));
    Some(u8::from(other_name) + 2 * u8::from(other_model))
}

/// Letters and digits only, lower case: `nvidia_a100` is part of `NVIDIA A100-SXM4-40GB`.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// What `Gres=` has to say so that every one of these leaves has an index, with the type names and
/// the order of `types` where they fit: `flexmig:1g.10gb:14,flexmig:3g.40gb:2`. Empty if there is
/// no leaf.
pub fn gres_for<'a>(
    leaves: impl IntoIterator<Item = &'a Leaf>,
    types: &[(Option<String>, u64)],
) -> String {
    let mut counts: Vec<(Option<String>, u64)> =
        types.iter().map(|(kind, _)| (kind.clone(), 0)).collect();
    for leaf in leaves {
        let best = counts
            .iter_mut()
            .filter_map(|entry| fit(entry.0.as_deref(), leaf).map(|fit| (fit, entry)))
            .min_by_key(|&(fit, _)| fit);
        match best {
            Some((_, (_, count))) => *count += 1,
            None => counts.push((Some(leaf.profile.to_string()), 1)),
        }
    }
    let named = counts.iter().filter(|&&(_, count)| count > 0).map(|(kind, count)| match kind {
        Some(kind) => format!("flexmig:{kind}:{count}"),
        None => format!("flexmig:{count}"),
    });
    named.collect::<Vec<_>>().join(",")
}
