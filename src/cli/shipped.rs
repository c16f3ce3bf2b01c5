//! `fieldgate man` and `fieldgate completions`: what a package ships beside the program, made from the command line's own
//! definition.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{FAILED, GOOD};

/// The command line of both.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder to write them into; made where it is missing
    folder: PathBuf,
}

/// `fieldgate.1`, and a page a subcommand: `fieldgate-run.1`, `fieldgate-store-check.1`.
pub(super) fn man(arguments: &Arguments) -> u8 {
    told(manual(&arguments.folder))
}

/// For bash, zsh and fish, under the names by which each shell finds them.
pub(super) fn completions(arguments: &Arguments) -> u8 {
    told(complete(&arguments.folder))
}

fn told(written: io::Result<()>) -> u8 {
    match written {
        Ok(()) => GOOD,
        Err(error) => {
            eprintln!("cannot be written: {error}; give a folder that can be written to");
            FAILED
        }
    }
}

/// The program as its users see it: without what only packages need.
fn command() -> clap::Command {
    super::Arguments::command().disable_help_subcommand(true)
}

fn manual(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command(), folder)
}

fn complete(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (shell, name) in
        [(Shell::Bash, "fieldgate"), (Shell::Zsh, "_fieldgate"), (Shell::Fish, "fieldgate.fish")]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), "fieldgate", &mut text);
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subcommand_has_a_page_and_what_is_hidden_has_none() {
        let folder = tempfile::tempdir().unwrap();
        manual(folder.path()).unwrap();
        for shown in super::super::Arguments::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let page = fs::read_to_string(folder.path().join(format!("fieldgate-{}.1", shown.get_name())));
            assert!(page.unwrap().contains(".SH SYNOPSIS"), "{}", shown.get_name());
        }
        let main = fs::read_to_string(folder.path().join("fieldgate.1")).unwrap();
        assert!(main.contains("fieldgate\\-run(1)") && !main.contains("completions"), "{main}");
        assert!(!folder.path().join("fieldgate-man.1").exists());
    }

    #[test]
    fn each_shell_has_its_completions() {
        let folder = tempfile::tempdir().unwrap();
        complete(folder.path()).unwrap();
        for name in ["fieldgate", "_fieldgate", "fieldgate.fish"] {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(text.contains("simulate"), "{name}");
        }
    }
}
