//! `flexmig generate`: man pages and shell completions, made from the command line's definition.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Failure;
use crate::args::{Cli, Generate, Generated};

/// Writes what is asked for into the directory; existing files are replaced.
pub fn run(args: &Generate) -> Result<(), Failure> {
    let result = match args.what {
        Generated::Man => man(&args.dir),
        Generated::Completion => completion(&args.dir),
    };
    result.map_err(|error| {
        let dir = args.dir.display();
        Failure::new(dir, error, "name a directory that exists and can be written")
    })
}

fn man(dir: &Path) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    write_page(&command, "flexmig", dir)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        write_page(sub, &format!("flexmig-{}", sub.get_name()), dir)?;
    }
    Ok(())
}

fn write_page(command: &clap::Command, name: &str, dir: &Path) -> io::Result<()> {
    // The bin name ("flexmig leaves") stays for the synopsis; the page's title has a hyphen.
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut page)?;
    let page = String::from_utf8_lossy(&page).replace(".SH EXTRA", ".SH NOTES");
    fs::write(dir.join(format!("{name}.1")), page)
}

fn completion(dir: &Path) -> io::Result<()> {
    for (shell, file) in
        [(Shell::Bash, "flexmig.bash"), (Shell::Zsh, "_flexmig"), (Shell::Fish, "flexmig.fish")]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "flexmig", &mut script);
        fs::write(dir.join(file), script)?;
    }
    Ok(())
}
