//! Answers made by hand: what Slurm leaves out, and what it would never say.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::record::Message;
use super::{Cluster, ClusterError, Jobs, Nodes, Partitions, layout};
use crate::{NO_VAL, NO_VAL16, NO_VAL64, Slurm, testing};

/// The destructor of the messages below: their strings and arrays stay behind.
unsafe extern "C" fn free(head: *mut c_void) {
    let mut head = head;
    // SAFETY: the head is an allocation of Slurm's, owned by the message.
    unsafe { testing::slurm().expect("it made the message").xfree(&raw mut head) };
}

struct Parts {
    slurm: Slurm,
    cluster: Cluster,
    head: NonNull<u8>,
    array: NonNull<u8>,
}

impl Parts {
    /// A message head of 64 zeroed bytes and an array of `bytes`.
    fn new(bytes: usize) -> Option<Parts> {
        let slurm = testing::slurm()?;
        let cluster = Cluster::of_process().expect("the library has been loaded");
        let head = slurm.xcalloc(1, 64).cast();
        let array = slurm.xcalloc(1, bytes).cast();
        Some(Parts { slurm, cluster, head, array })
    }

    fn write<T>(base: NonNull<u8>, offset: usize, value: T) {
        // SAFETY: the callers' offsets lie inside the allocation.
        unsafe { base.add(offset).cast::<T>().write_unaligned(value) };
    }

    fn text(&self, offset: usize, text: &str) {
        Self::write(self.array, offset, self.slurm.xstrdup(text.as_bytes()));
    }

    fn message(&self, array: usize, count: (usize, u32)) -> Message {
        Self::write(self.head, array, self.array.as_ptr());
        Self::write(self.head, count.0, count.1);
        // SAFETY: the head is ours, given away here, and `free` fits it.
        unsafe { Message::new(self.cluster, self.head, free) }
    }

    fn nodes(&self, count: u32) -> Result<Nodes, ClusterError> {
        let (rows, size) = (self.cluster.0.layout.node_msg, self.cluster.0.layout.node.size);
        let message = self.message(rows.node_array, (rows.record_count, count));
        let name = layout::NodeLayout::C_NAME;
        message.records(name, rows.node_array, rows.record_count, size).map(Nodes)
    }

    fn jobs(&self, count: u32) -> Result<Jobs, ClusterError> {
        let (rows, size) = (self.cluster.0.layout.job_msg, self.cluster.0.layout.job.size);
        let message = self.message(rows.job_array, (rows.record_count, count));
        let name = layout::JobLayout::C_NAME;
        message.records(name, rows.job_array, rows.record_count, size).map(Jobs)
    }

    fn partitions(&self, count: u32) -> Result<Partitions, ClusterError> {
        let rows = self.cluster.0.layout.partition_msg;
        let message = self.message(rows.partition_array, (rows.record_count, count));
        let (name, size) = (layout::PartitionLayout::C_NAME, self.cluster.0.layout.partition.size);
        message.records(name, rows.partition_array, rows.record_count, size).map(Partitions)
    }
}

fn sizes() -> Option<&'static layout::Layout> {
    Some(layout::of(testing::slurm()?.release()))
}

#[test]
fn null_and_zero_are_nothing() {
    let Some(sizes) = sizes() else { return };
    let nodes = Parts::new(2 * sizes.node.size).unwrap().nodes(2).unwrap();
    assert_eq!((nodes.len(), nodes.iter().count()), (2, 2));
    for node in nodes.iter() {
        assert_eq!((node.name(), node.gres(), node.gres_used()), (None, None, None));
        assert_eq!((node.state().0, node.cpus()), (0, Some(0)));
        // Without the select plugin's information (up to 24.11) nothing is known.
        assert!(node.alloc_memory().unwrap_or(0) == 0 && node.alloc_cpus().unwrap_or(0) == 0);
    }
    let jobs = Parts::new(sizes.job.size).unwrap().jobs(1).unwrap();
    for job in jobs.iter() {
        assert_eq!((job.admin_comment(), job.start_time()), (None, None));
        assert!(job.state().is_pending() && job.gres_detail().is_empty());
        assert!(!job.is_batch() && job.id_string() == "0");
    }
    assert_eq!(jobs.last_backfill(), None);
    let partitions = Parts::new(sizes.partition.size).unwrap().partitions(1).unwrap();
    for partition in partitions.iter() {
        assert!(partition.name().is_none() && !partition.is_default() && !partition.starts_jobs());
    }
}

#[test]
fn what_slurm_leaves_unset_is_none() {
    let Some(sizes) = sizes() else { return };
    let parts = Parts::new(sizes.job.size).unwrap();
    let rows = &sizes.job;
    for row in [rows.array_task_id, rows.time_limit, rows.num_tasks] {
        Parts::write(parts.array, row, NO_VAL);
    }
    Parts::write(parts.array, rows.ntasks_per_node, NO_VAL16);
    Parts::write(parts.array, rows.pn_min_memory, NO_VAL64);
    Parts::write(parts.array, rows.array_job_id, 20_u32);
    Parts::write(parts.array, rows.job_id, 21_u32);
    parts.text(rows.partition, "all,short");
    parts.text(rows.qos, "");
    let jobs = parts.jobs(1).unwrap();
    let job = jobs.iter().next().unwrap();
    assert_eq!((job.array_task_id(), job.time_limit(), job.num_tasks()), (None, None, None));
    assert_eq!((job.ntasks_per_node(), job.pn_min_memory()), (None, None));
    assert_eq!((job.partition().as_deref(), job.qos()), (Some("all,short"), None));
    assert_eq!(job.id_string(), "21");
    Parts::write(parts.array, rows.array_task_id, 6_u32);
    assert_eq!(job.id_string(), "20_6");
}

#[test]
fn an_array_of_another_size_is_another_release() {
    let Some(sizes) = sizes() else { return };
    let size = sizes.node.size;
    let error = Parts::new(3 * (size + 8)).unwrap().nodes(3).err();
    let layout = ClusterError::Layout { structure: "node_info_t", expected: size, found: size + 8 };
    assert_eq!(error, Some(layout));
    // More records than there are, which no unpacking makes.
    assert!(Parts::new(size).unwrap().nodes(2).is_err());
    assert!(Parts::new(size).unwrap().nodes(u32::MAX).is_err());
    assert_eq!(Parts::new(size).unwrap().nodes(0).unwrap().len(), 0);
}

#[test]
fn a_list_of_strings_ends_where_its_memory_does() {
    let Some(sizes) = sizes() else { return };
    let parts = Parts::new(sizes.job.size).unwrap();
    let list = parts.slurm.xcalloc(2, size_of::<*mut u8>()).cast::<u8>();
    Parts::write(list, 8, parts.slurm.xstrdup(b"flexmig:1g.10gb:1(IDX:0)"));
    Parts::write(parts.array, sizes.job.gres_detail_str, list.as_ptr());
    Parts::write(parts.array, sizes.job.gres_detail_cnt, 1000_u32);
    let jobs = parts.jobs(1).unwrap();
    let detail = jobs.iter().next().unwrap().gres_detail();
    assert_eq!(detail.len(), 2);
    assert_eq!((&detail[0], detail[1].as_deref()), (&None, Some("flexmig:1g.10gb:1(IDX:0)")));
}

#[test]
fn errors_have_slurms_words() {
    let Some(_) = testing::slurm() else { return };
    let cluster = Cluster::of_process().unwrap();
    let error = cluster.rpc_error("slurm_load_node", crate::ESLURM_INVALID_GRES);
    assert!(error.to_string().starts_with("slurm_load_node: Invalid generic resource"), "{error}");
    assert_eq!(cluster.reason_word(3).as_deref(), Some("Resources"));
    assert_eq!(cluster.version().major_minor(), cluster.release().major_minor());
}
