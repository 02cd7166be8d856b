//! Slurm's numbers that the plugins use. All are the same in 22.05 to 26.05;
//! `tests/layout_check.rs` compares those of the public headers.

/// "Not set" in a 16-bit field.
pub const NO_VAL16: u16 = 0xfffe;
/// "Not set" in a 32-bit field.
pub const NO_VAL: u32 = 0xffff_fffe;
/// "Not set" in a 64-bit field.
pub const NO_VAL64: u64 = 0xffff_ffff_ffff_fffe;
/// Set in `pn_min_memory` when the value is MiB per CPU, not per node.
pub const MEM_PER_CPU: u64 = 0x8000_0000_0000_0000;

/// The call went well; for job_submit: the job is accepted.
pub const SLURM_SUCCESS: i32 = 0;
/// The unspecific error.
pub const SLURM_ERROR: i32 = -1;

/// "Access/permission denied".
pub const ESLURM_ACCESS_DENIED: i32 = 2002;
/// "Requested node configuration is not available".
pub const ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE: i32 = 2014;
/// "Invalid generic resource (gres) specification".
pub const ESLURM_INVALID_GRES: i32 = 2072;
/// "Invalid Trackable RESource (TRES) specification".
pub const ESLURM_INVALID_TRES: i32 = 2115;
/// "Requested GRES option unsupported by configured SelectType plugin".
pub const ESLURM_UNSUPPORTED_GRES: i32 = 2122;

/// `config_flags` of a GRES record: `File=` names several files of one unit.
pub const GRES_CONF_HAS_MULT: u32 = 0x1;
/// `config_flags`: the record has `File=`.
pub const GRES_CONF_HAS_FILE: u32 = 0x2;
/// `config_flags`: the record has a type.
pub const GRES_CONF_HAS_TYPE: u32 = 0x4;
/// `config_flags`: Slurm only counts this GRES, no plugin is asked.
pub const GRES_CONF_COUNT_ONLY: u32 = 0x8;
/// `config_flags`: the plugin is loaded.
pub const GRES_CONF_LOADED: u32 = 0x10;
/// `config_flags`: the record came with explicit flags in gres.conf.
pub const GRES_CONF_EXPLICIT: u32 = 0x1000;

/// `flags` of the `set_env` functions: verbose binding (`--gpu-bind=verbose`).
pub const GRES_INTERNAL_FLAG_VERBOSE: i32 = 0x1;
/// `flags` of the `set_env` functions: leave the environment as it is.
pub const GRES_INTERNAL_FLAG_PROTECT_ENV: i32 = 0x2;

/// `EINVAL`, what `gres_p_get_job_info` and `gres_p_get_step_info` answer.
pub const EINVAL: i32 = libc::EINVAL;
