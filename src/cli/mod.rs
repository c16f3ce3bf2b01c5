//! The subcommands, one file each.

mod check;
mod file;
mod plan;
mod run;
mod tags;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// It worked.
const GOOD: u8 = 0;
/// It did not work.
const FAILED: u8 = 1;
/// The command line or the file is wrong.
const WRONG: u8 = 2;

/// Edge gateway: field devices to typed tags to MQTT Sparkplug B and OPC UA.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway until it is told to stop (Ctrl-C or SIGTERM)
    Run(run::Arguments),
    /// Report every mistake of a configuration file
    Check(FileArguments),
    /// Show what each link will do: its blocks, how long they take, what it can hold
    Plan(FileArguments),
    /// Run the [[test]] tables of a configuration file
    Test(FileArguments),
    /// Tag lists as CSV: export those of a configuration file, import one as TOML
    Tags(tags::Arguments),
}

/// A subcommand that only reads a file.
#[derive(Debug, clap::Args)]
struct FileArguments {
    /// The configuration file (TOML)
    config: PathBuf,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// The whole program; exit codes: 0 good, 1 it did not work, 2 the command line or the file is wrong.
pub fn main() -> ExitCode {
    // clap itself ends with 2 where the command line is wrong.
    let code = match Arguments::parse().command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Check(arguments) => check::main(&arguments),
        Command::Plan(arguments) => plan::main(&arguments),
        Command::Test(arguments) => test::main(&arguments),
        Command::Tags(arguments) => tags::main(&arguments),
    };
    ExitCode::from(code)
}
