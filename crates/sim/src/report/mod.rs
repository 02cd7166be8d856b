//! The report: one page of HTML with plots, which needs nothing but a browser.
//!
//! | module | part |
//! |---|---|
//! | [`digest`] | what of an outcome the report keeps |
//! | [`compare`] | policies against each other, seed by seed |
//! | `page` | the page and its text; `style.css` has its colours in light and dark |
//! | `figures` | the table, and bars with what every seed gave |
//! | `curves` | the cluster over time, and the distribution of completion times |
//! | `timeline` | which job had which leaf when |
//! | `charts`, `axis`, `svg` | what these are drawn with |

mod axis;
mod charts;
pub mod compare;
mod curves;
pub mod digest;
mod figures;
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
    /// What the reader should know: rows that were skipped, jobs that never fit.
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

    /// The seeds.
    fn seeds(&self) -> usize {
        let first = self.digests.first().map(|digest| digest.policy);
        first.map_or(0, |policy| self.of(policy).count())
    }

    /// The digests of a policy, one per seed.
    fn of(&self, policy: PolicyName) -> impl Iterator<Item = &Digest> {
        self.digests.iter().filter(move |digest| digest.policy == policy)
    }

    /// What happened when, of one seed per policy.
    fn details(&self) -> Vec<(&Digest, &Detail)> {
        let detailed = |policy: PolicyName| {
            self.of(policy).find_map(|digest| Some((digest, digest.detail.as_ref()?)))
        };
        self.policies().into_iter().filter_map(detailed).collect()
    }
}

/// The class of what is a policy's: its colour and dashes.
fn class(policy: PolicyName) -> String {
    format!("p-{policy}")
}
