//! libflexmig_preload.so, in every process of a job that holds leaves.
//!
//! Two things, and nothing else:
//!
//! - *Binding*: its constructor gives a rank its leaf, where Slurm did not ([`flexmig_core::rank`]).
//! - *Relabelling*: its `dlsym` gives NCCL, and nobody else, entry points that show synthetic bus ids
//!   (`relabel`), so that NCCL before 2.31 takes two leaves of a GPU for two devices.
//!
//! It is a guest in shells, Pythons, Javas and programs that fork a thousand times. So it needs only
//! libc and of that nothing newer than GLIBC 2.17, starts no thread, allocates nothing (libc's
//! `setenv` does, where a rank is bound), and cannot panic: `scripts/check-preload` looks at the file.
//! A missing library or symbol version would kill every process in an older container.
//!
//! | file | what |
//! |---|---|
//! | `start` | the constructor |
//! | `environment` | the environment as it is, and changes of it |
//! | `elf` | the objects in this process and their symbols, without the loader's help |
//! | `hook` | the exported `dlsym` |
//! | `relabel` | the wrappers that NCCL gets |
//! | `synthetic` | which leaf is a device, and how is its bus id written; pure |
//! | `log` | one line on stderr |
//!
//! It exports two functions: `dlsym`, and `flexmig_preload_native`, with which our env plugin says
//! that NCCL in this process needs no relabelling.
//!
//! It is built with `cargo build -p flexmig-preload --profile preload`, whose panics abort: then it
//! has no `std`. In any other profile the same code is compiled with `std`, for its unit tests and
//! for clippy; that file is not installed.
#![cfg_attr(all(panic = "abort", not(test)), no_std)]
#![cfg_attr(test, expect(dead_code, reason = "what the exports call is not called in unit tests"))]

mod elf;
mod environment;
#[cfg(not(test))]
mod hook;
mod log;
mod relabel;
#[cfg(not(test))]
mod start;
mod synthetic;

/// The compiler wants one. `scripts/check-preload` sees to it that nothing calls it.
#[cfg(all(panic = "abort", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: abort takes nothing and never returns.
    unsafe { libc::abort() }
}
