//! The subcommands, one file each.

mod apply;
mod changed;
mod check;
mod control;
mod demo;
mod explain;
mod failure;
mod field;
mod file;
mod learned;
mod once;
#[cfg(feature = "opcua")]
mod opcua;
#[cfg(feature = "opcua")]
mod pki;
mod plan;
mod probe;
mod progress;
mod read;
mod reload;
mod run;
mod running;
mod scan;
mod schema;
mod shipped;
mod show;
mod simulate;
mod status;
mod store;
mod tags;
pub mod target;
mod test;
#[cfg(feature = "opcua")]
mod user;
mod watch;
mod wire;
mod write;

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
    /// Show a gateway at work between simulated devices and a small MQTT broker, all on loopback
    Demo(demo::Arguments),
    /// Report every mistake of a configuration file
    Check(check::Arguments),
    /// How the gateway that runs here stands
    Status(status::Arguments),
    /// Let the gateway that runs here take on its configuration file as it is now
    Reload(apply::Plain),
    /// Try a configuration file on the gateway that runs here; it goes back by itself unless it is confirmed
    Apply(apply::Arguments),
    /// Keep the configuration that is tried
    Confirm(apply::Plain),
    /// End the trial of a configuration
    Revert(apply::Plain),
    /// Print a JSON Schema of the configuration file: every key with type, default and example, for editors
    Schema(schema::Arguments),
    /// Show what each link will do: its blocks, how long they take, what it can hold
    Plan(plan::Arguments),
    /// Run the [[test]] tables of a configuration file
    Test(FileArguments),
    /// Read tags once, by a configuration file or by the address of a register
    Read(read::Arguments),
    /// Find the units on a host or a serial line; only reads
    Scan(scan::Arguments),
    /// Find out what registers mean from the value that they should have
    Probe(probe::Arguments),
    /// Show tags live, in a table or a line per change
    Watch(watch::Arguments),
    /// Write a tag that the file allows to be written
    Write(write::Arguments),
    /// Serve the devices of a configuration file on this machine, with faults where wished
    Simulate(simulate::Arguments),
    /// What a store holds: look at it, check it, export it, purge it
    Store(store::Arguments),
    /// Certificates of the OPC UA server: whom it trusts, and its own
    #[cfg(feature = "opcua")]
    Pki(pki::Arguments),
    /// Tag lists as CSV: export those of a configuration file, import one as TOML
    Tags(tags::Arguments),
    /// Who may log in at the OPC UA server: add, change, remove and list users
    #[cfg(feature = "opcua")]
    User(user::Arguments),
    /// Write the manual's pages into a folder, for packages
    #[command(hide = true)]
    Man(shipped::Arguments),
    /// Write completions for bash, zsh and fish into a folder, for packages
    #[command(hide = true)]
    Completions(shipped::Arguments),
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
        Command::Demo(arguments) => demo::main(&arguments),
        Command::Check(arguments) => check::main(&arguments),
        Command::Status(arguments) => status::main(&arguments),
        Command::Reload(arguments) => apply::reload(&arguments),
        Command::Apply(arguments) => apply::apply(&arguments),
        Command::Confirm(arguments) => apply::confirm(&arguments),
        Command::Revert(arguments) => apply::revert(&arguments),
        Command::Schema(arguments) => schema::main(&arguments),
        Command::Plan(arguments) => plan::main(&arguments),
        Command::Test(arguments) => test::main(&arguments),
        Command::Read(arguments) => read::main(&arguments),
        Command::Scan(arguments) => scan::main(&arguments),
        Command::Probe(arguments) => probe::main(&arguments),
        Command::Watch(arguments) => watch::main(&arguments),
        Command::Write(arguments) => write::main(&arguments),
        Command::Simulate(arguments) => simulate::main(&arguments),
        Command::Store(arguments) => store::main(&arguments),
        #[cfg(feature = "opcua")]
        Command::Pki(arguments) => pki::main(&arguments),
        Command::Tags(arguments) => tags::main(&arguments),
        #[cfg(feature = "opcua")]
        Command::User(arguments) => user::main(&arguments),
        Command::Man(arguments) => shipped::man(&arguments),
        Command::Completions(arguments) => shipped::completions(&arguments),
    };
    ExitCode::from(code)
}
