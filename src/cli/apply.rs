//! `fieldgate reload`, `apply`, `confirm`, `revert`: another configuration for the gateway that runs.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
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

/// Puts what is on trial into the place of the gateway's own file, and lets the gateway see whether it means the same
/// there; else the file is as it was.
pub(super) fn confirm(arguments: &Plain) -> u8 {
    let confirmed = ask(&arguments.socket, &Request::Trial {}).and_then(|answer| {
        let Some((candidate, config)) = answer.trial else { return Ok(answer) };
        let failed = |error: std::io::Error| {
            format!("cannot replace {}: {error}; confirm as somebody who may write there", config.display())
        };
        let before = std::fs::read(&config).map_err(failed)?;
        let new = std::fs::read(&candidate)
            .map_err(|error| format!("cannot read {}: {error}; it is still on trial", candidate.display()))?;
        replace(&config, &new).map_err(failed)?;
        let answer = ask(&arguments.socket, &Request::Confirm {});
        if !answer.as_ref().is_ok_and(|answer| answer.ok) {
            replace(&config, &before).map_err(failed)?;
        }
        answer
    });
    say(confirmed, "")
}

/// All of it or nothing, also over a power cut; owner and mode stay.
fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let known = std::fs::metadata(file)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(".new");
    let beside = file.with_file_name(name);
    let done = (|| {
        let mut new = std::fs::File::create(&beside)?;
        new.set_permissions(known.permissions())?;
        std::os::unix::fs::fchown(&new, Some(known.uid()), Some(known.gid()))?;
        new.write_all(content)?;
        new.sync_all()?;
        std::fs::rename(&beside, file)?;
        std::fs::File::open(file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()
    })();
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    done
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
