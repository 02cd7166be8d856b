//! Slurm may dlclose a plugin whose `init` failed, and at exit: the fork handler of `refuse` and the
//! panic hook must stay mapped.
fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
}
