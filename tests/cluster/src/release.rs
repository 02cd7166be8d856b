//! Which Slurm this is.

use std::fmt;

/// A Slurm release, for example `Release(24, 11)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u16, pub u16);

impl Release {
    /// Reads what `slurmctld -V` prints, for example `slurm-wlm 22.05.8`.
    pub fn parse(text: &str) -> Option<Release> {
        let version = text.split_whitespace().find(|word| word.contains('.'))?;
        let mut numbers = version.split('.').map(|number| number.parse().ok());
        Some(Release(numbers.next()??, numbers.next()??))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}.{:02}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_and_compared() {
        assert_eq!(Release::parse("slurm-wlm 22.05.8\n"), Some(Release(22, 5)));
        assert_eq!(Release::parse("slurm 26.05.3"), Some(Release(26, 5)));
        assert_eq!(Release::parse("slurm"), None);
        assert!(Release(22, 5) < Release(23, 2));
        assert_eq!(Release(22, 5).to_string(), "22.05");
    }
}
