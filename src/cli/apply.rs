//! `fieldgate reload`, `apply`, `confirm`, `revert`: another configuration for the gateway that runs.

use std::path::{Path, PathBuf};

use super::control::{Answer, Request, Socket, ask};
use super::{FAILED, GOOD, WRONG};
use crate::model::Period;

/// The command line of those that name no file.
#[derive(Debug, clap::Args)]
pub(super) struct Plain {
    #[command(flatten)]
    socket: Socket,
}

/// The command line of `apply`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file to try; it takes the place of the gateway's own when it is confirmed
    config: PathBuf,
    /// Go back by itself where `fieldgate confirm` does not come within this time, as `10m`
    #[arg(long, value_name = "TIME", default_value = "10m")]
    confirm: Period,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn reload(arguments: &Plain) -> u8 {
    say(ask(&arguments.socket, &Request::Reload {}), "the configuration is the same")
}

pub(super) fn confirm(arguments: &Plain) -> u8 {
    say(ask(&arguments.socket, &Request::Confirm {}), "")
}

pub(super) fn revert(arguments: &Plain) -> u8 {
    say(ask(&arguments.socket, &Request::Revert {}), "the configuration before is back")
}

pub(super) fn apply(arguments: &Arguments) -> u8 {
    let confirm = arguments.confirm.0.as_secs();
    if !(2..=86_400).contains(&confirm) {
        eprintln!("--confirm must be 2s to 24h");
        return WRONG;
    }
    let file = match absolute(&arguments.config) {
        Ok(file) => file,
        Err(why) => {
            eprintln!("{why}");
            return WRONG;
        }
    };
    let code = say(ask(&arguments.socket, &Request::Apply { file, confirm }), "nothing changes");
    if code == GOOD {
        println!(
            "on trial for {}: `fieldgate confirm` keeps it, `fieldgate revert` ends it",
            arguments.confirm
        );
    }
    code
}

/// `fieldgate check FILE --against running`.
pub(super) fn compare(file: &Path, socket: &Socket) -> u8 {
    match absolute(file) {
        Ok(file) => say(ask(socket, &Request::Compare { file }), "nothing would change"),
        Err(why) => {
            eprintln!("{why}");
            WRONG
        }
    }
}

fn absolute(file: &Path) -> Result<PathBuf, String> {
    file.canonicalize().map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// `nothing`: what to say where there is nothing to say.
fn say(answer: Result<Answer, String>, nothing: &str) -> u8 {
    match answer {
        Ok(Answer { ok: true, lines, .. }) => {
            let lines = if lines.is_empty() { vec![nothing.to_owned()] } else { lines };
            println!("{}", lines.join("\n"));
            GOOD
        }
        Ok(Answer { lines, .. }) => {
            eprintln!("{}", lines.join("\n"));
            WRONG
        }
        Err(why) => {
            eprintln!("{why}");
            FAILED
        }
    }
}
