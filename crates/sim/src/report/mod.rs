//! The report: one page of HTML with plots, which needs nothing but a browser.
//!
//! | module | part |
//! |---|---|
//! | [`digest`] | what of an outcome the report keeps |
//! | `page` | the page: table, facts, style |
//! | `charts` | lines and bars |
//! | `timeline` | which job had which leaf when |
//! | `svg` | plotters' SVG made to fit the page: its colours follow the reader's light or dark mode |

mod charts;
pub mod digest;
mod page;
mod svg;
mod timeline;

pub use digest::{Detail, Digest};

use crate::PolicyName;

/// What a report is about.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Heading.
    pub title: String,
    /// What was simulated, as names and values.
    pub facts: Vec<(String, String)>,
    /// Numbers of the model, as names and values.
    pub model: Vec<(String, String)>,
    /// What the reader should know: rows that were skipped.
    pub notes: Vec<String>,
    /// The simulations: each policy with the same seeds.
    pub digests: Vec<Digest>,
    /// Makespans in seconds with a number of the model changed.
    pub sweep: Vec<Swept>,
}

/// Makespans under a changed model.
#[derive(Clone, Debug, PartialEq)]
pub struct Swept {
    /// The number that is changed.
    pub number: &'static str,
    /// What it is.
    pub value: f64,
    /// Whether that is the model's own value.
    pub unchanged: bool,
    /// Per policy, in seconds.
    pub makespans: Vec<(PolicyName, f64)>,
}

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        page::html(self)
    }

    /// Policies in the order in which they came.
    fn policies(&self) -> Vec<PolicyName> {
        let mut policies = Vec::new();
        for digest in &self.digests {
            if !policies.contains(&digest.policy) {
                policies.push(digest.policy);
            }
        }
        policies
    }

    /// The digests of a policy, one per seed.
    fn of(&self, policy: PolicyName) -> impl Iterator<Item = &Digest> {
        self.digests.iter().filter(move |digest| digest.policy == policy)
    }
}

/// The policy that others are compared with: `static` if it is there, else the first.
pub fn reference(policies: &[PolicyName]) -> Option<PolicyName> {
    let fixed = policies.iter().find(|policy| **policy == PolicyName::Static);
    fixed.or(policies.first()).copied()
}

/// The value in the middle; of an even number the mean of both. 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
