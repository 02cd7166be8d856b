//! Linker options of the library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for argument in [
        // No crtbegin: its helpers are for destructors and exception tables, and we have neither.
        "-nostartfiles",
        // Every segment is a mapping in every process of every job: as few as there can be.
        "-Wl,-z,noseparate-code",
        "-Wl,--hash-style=gnu",
        "-Wl,--no-eh-frame-hdr",
        "-Wl,--build-id=none",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}
