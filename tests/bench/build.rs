//! The benchmark `filter_call` stands in for slurmctld: plugins that it loads find slurmctld's
//! variables in the executable, so its symbols must be visible to them.

fn main() {
    println!("cargo::rustc-link-arg-benches=-Wl,--export-dynamic");
    println!("cargo::rerun-if-changed=build.rs");
}
