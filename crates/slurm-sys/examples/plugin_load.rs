//! A job_submit plugin that does nothing: loads in any Slurm.

slurm_sys::declare_plugin! {
    plugin_type: "job_submit/flexmig_test",
    plugin_name: "the smallest plugin",
    unknown_release: Load,
}
