//! One cluster for several tests of a file.

use std::ops::Deref;
use std::sync::OnceLock;

use crate::cluster::Cluster;

/// A cluster that is started by the first test that asks for it and lives until the test process
/// ends. For tests that do not disturb each other.
///
/// ```no_run
/// use flexmig_cluster::{Cluster, Node, Shared};
/// static SHARED: Shared = Shared::new(|| Cluster::builder().node(Node::new("n1")).start());
/// let cluster = SHARED.get();
/// ```
#[derive(Debug)]
pub struct Shared {
    cluster: OnceLock<Cluster>,
    start: fn() -> Cluster,
}

impl Shared {
    /// A cluster to be started by `start`.
    pub const fn new(start: fn() -> Cluster) -> Shared {
        Shared { cluster: OnceLock::new(), start }
    }

    /// The cluster. If the test fails while it holds the answer, the daemons' logs are shown.
    pub fn get(&self) -> SharedRef<'_> {
        SharedRef(self.cluster.get_or_init(self.start))
    }
}

/// A test's hold on a [`Shared`] cluster.
#[derive(Debug)]
pub struct SharedRef<'a>(&'a Cluster);

impl Deref for SharedRef<'_> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0
    }
}

impl Drop for SharedRef<'_> {
    fn drop(&mut self) {
        self.0.show_logs_if_failing();
    }
}
