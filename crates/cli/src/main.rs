//! The `flexmig` command; see the library for what it does.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = flexmig_cli::args::Cli::parse();
    match flexmig_cli::run(&cli) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(flexmig_cli::args::EXIT_ERROR)
        }
    }
}
