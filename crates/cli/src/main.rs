//! The `flexmig` command.
fn main() {}
