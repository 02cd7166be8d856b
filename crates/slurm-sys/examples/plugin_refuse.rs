//! A GRES plugin that does nothing: refuses a Slurm it does not know.

slurm_sys::declare_plugin! {
    plugin_type: "gres/flexmig_test",
    plugin_name: "the smallest plugin",
    unknown_release: Refuse,
}
