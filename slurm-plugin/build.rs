//! Slurm may dlclose a plugin whose `init` failed, and at exit: the watcher thread and the panic hook
//! must stay mapped, and so must the thread-local destructors of arc-swap.
fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
}
