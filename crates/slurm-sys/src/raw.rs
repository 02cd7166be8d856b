//! The C side: opaque types and the table of Slurm's functions.
//!
//! No function of Slurm is an undefined symbol of ours. The table is filled
//! once, by the plugin's constructor, with `dlsym(RTLD_DEFAULT)`:
//! - a function that a future release drops is a line in the log, and the
//!   plugin stands aside; an undefined symbol would keep slurmctld from starting
//!   (Rust libraries are bound at load time);
//! - after a fork there is nothing left to resolve, hence no lock of the
//!   dynamic linker;
//! - test programs link without libslurm.
//!
//! Signatures are those of `slurm.h`, `list.h`, `bitstring.h`, `pack.h`,
//! `env.h`, `xmalloc.h` and `gres.h`, equal in 22.05 to 26.05 up to return values
//! that are ignored here.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::mem::transmute;
use std::ptr::NonNull;

macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[repr(C)]
        pub struct $name {
            _opaque: [u8; 0],
            _not_send: std::marker::PhantomData<*mut u8>,
        }
    )*};
}

opaque! {
    /// `job_desc_msg_t`, read and written through [`crate::JobDesc`].
    JobDescMsg;
    /// `job_record_t` of slurmctld; nothing in it is ours to read.
    JobRecord;
    /// `list_t` (`List` in 22.05).
    List;
    /// `list_itr_t`.
    ListIterator;
    /// `bitstr_t`.
    Bitstr;
    /// `buf_t`.
    Buf;
    /// `gres_slurmd_conf_t`.
    GresSlurmdConf;
    /// `gres_device_t`.
    GresDevice;
    /// `node_config_load_t`.
    NodeConfigLoad;
    /// `gres_prep_t`, called `gres_epilog_info_t` in 22.05.
    GresPrep;
    /// `gres_job_state_t`.
    GresJobState;
}

/// A destructor that a list calls on its elements.
pub type ListDel = unsafe extern "C" fn(*mut c_void);
/// One of Slurm's logging functions.
pub(crate) type LogFn = unsafe extern "C" fn(*const c_char, ...);

/// The address of a symbol that the running program or a library of its global
/// scope defines.
pub(crate) fn lookup(symbol: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: dlsym only reads the name, a terminated string; RTLD_DEFAULT needs no handle.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) })
}

macro_rules! function_table {
    ($(#[$doc:meta])* $table:ident { $($field:ident = $symbol:literal: fn($($arg:ty),* $(,)?) $(-> $ret:ty)?;)* }) => {
        $(#[$doc])*
        pub(crate) struct $table {
            $(pub(crate) $field: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
        }

        impl $table {
            /// All functions, or the names of those that this process lacks.
            pub(crate) fn resolve() -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                $(
                    let $field = lookup($symbol);
                    if $field.is_none() {
                        missing.push($symbol.to_str().unwrap_or_default());
                    }
                )*
                match ($($field,)*) {
                    ($(Some($field),)*) => Ok(Self {
                        // SAFETY: the address belongs to the function of this
                        // name; its signature is the declared one in every
                        // supported release (see the head of the module).
                        $($field: unsafe {
                            transmute::<NonNull<c_void>, unsafe extern "C" fn($($arg),*) $(-> $ret)?>($field)
                        },)*
                    }),
                    _ => Err(missing),
                }
            }
        }
    };
}

pub(crate) use function_table;

function_table! {
    /// Slurm's functions, by what they are for.
    Api {
        xcalloc = c"slurm_xcalloc": fn(usize, usize, bool, bool, *const c_char, c_int, *const c_char) -> *mut c_void;
        xfree = c"slurm_xfree": fn(*mut *mut c_void);
        xsize = c"slurm_xsize": fn(*mut c_void) -> usize;
        xstrdup = c"slurm_xstrdup": fn(*const c_char) -> *mut c_char;

        bit_alloc = c"slurm_bit_alloc": fn(i64) -> *mut Bitstr;
        bit_test = c"slurm_bit_test": fn(*mut Bitstr, i64) -> c_int;
        bit_set = c"slurm_bit_set": fn(*mut Bitstr, i64);
        bit_size = c"slurm_bit_size": fn(*mut Bitstr) -> i64;
        bit_copy = c"slurm_bit_copy": fn(*mut Bitstr) -> *mut Bitstr;
        bit_free = c"slurm_bit_free": fn(*mut *mut Bitstr);

        list_create = c"slurm_list_create": fn(Option<ListDel>) -> *mut List;
        list_append = c"slurm_list_append": fn(*mut List, *mut c_void);
        list_count = c"slurm_list_count": fn(*mut List) -> c_int;
        list_iterator_create = c"slurm_list_iterator_create": fn(*mut List) -> *mut ListIterator;
        list_next = c"slurm_list_next": fn(*mut ListIterator) -> *mut c_void;
        list_remove = c"slurm_list_remove": fn(*mut ListIterator) -> *mut c_void;
        list_iterator_destroy = c"slurm_list_iterator_destroy": fn(*mut ListIterator);
        list_destroy = c"slurm_list_destroy": fn(*mut List);

        env_array_overwrite = c"slurm_env_array_overwrite": fn(*mut *mut *mut c_char, *const c_char, *const c_char) -> c_int;
        unsetenvp = c"slurm_unsetenvp": fn(*mut *mut c_char, *const c_char);

        packmem = c"slurm_packmem": fn(*mut c_void, u32, *mut Buf);
        unpackmem_ptr = c"slurm_unpackmem_ptr": fn(*mut *mut c_char, *mut u32, *mut Buf) -> c_int;

        destroy_gres_device = c"slurm_destroy_gres_device": fn(*mut c_void);
        destroy_gres_slurmd_conf = c"slurm_destroy_gres_slurmd_conf": fn(*mut c_void);
        gres_build_id = c"gres_build_id": fn(*mut c_char) -> u32;
        gres_use_local_device_index = c"gres_use_local_device_index": fn() -> bool;
    }
}

/// Slurm's logging functions, apart from [`Api`] so that a plugin which finds
/// that something is missing can still say so.
#[derive(Clone, Copy)]
pub(crate) struct LogApi {
    pub(crate) error: LogFn,
    pub(crate) info: LogFn,
    pub(crate) verbose: LogFn,
    pub(crate) debug: LogFn,
}

impl LogApi {
    pub(crate) fn resolve() -> Option<Self> {
        let function = |symbol: &CStr| {
            lookup(symbol).map(|address| {
                // SAFETY: all four take a format and its arguments. error() returns an
                // int, which is ignored; the calling convention is the same.
                unsafe { transmute::<NonNull<c_void>, LogFn>(address) }
            })
        };
        Some(Self {
            error: function(c"slurm_error")?,
            info: function(c"slurm_info")?,
            verbose: function(c"slurm_verbose")?,
            debug: function(c"slurm_debug")?,
        })
    }
}

/// The API number of the Slurm in this process (38 for 22.05), and the address
/// of the function that told it; `None` outside Slurm's programs.
pub(crate) fn api_version() -> Option<(u32, NonNull<c_void>)> {
    let address = lookup(c"slurm_api_version")?;
    // SAFETY: slurm.h declares `long slurm_api_version(void)` in every release.
    let version =
        unsafe { transmute::<NonNull<c_void>, unsafe extern "C" fn() -> c_long>(address) };
    // SAFETY: it takes nothing and returns a constant.
    let number = unsafe { version() };
    Some((u32::try_from(number >> 16).unwrap_or(0), address))
}
