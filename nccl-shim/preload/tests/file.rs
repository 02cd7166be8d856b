//! The built file: what it needs, what it exports, what it cannot do.

use std::process::Command;

mod common;

#[test]
fn needs_libc_only_and_cannot_panic() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/check-preload");
    let output = Command::new("sh").arg(script).arg(common::library()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_check_finds_what_is_wrong() {
    // The program of this test is none of what the library must be.
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/check-preload");
    let output = Command::new("sh").arg(script).arg(std::env::current_exe().unwrap()).output();
    let output = output.unwrap();
    assert!(!output.status.success());
    let lines = String::from_utf8_lossy(&output.stderr);
    for words in ["needs GLIBC_2.", "unwinds: ", "allocates: malloc", "can panic"] {
        assert!(lines.contains(words), "{words}: {lines}");
    }
}
