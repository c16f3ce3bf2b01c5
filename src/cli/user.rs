//! `fieldgate user`: who may log in at the OPC UA server, in the users file; a running gateway takes changes over.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

use super::file::{compile, count};
use super::show::say;
use super::{FAILED, GOOD, WRONG};
use crate::plan::GatewayPlan;
use crate::publishers::PublisherSpec;
use crate::publishers::opcua::config::{Role, User};
use crate::publishers::opcua::users::file;

/// The command line of `user`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add a user; the password is asked for, or the first line of standard input
    Add {
        /// The configuration file (TOML)
        config: PathBuf,
        /// The user's name
        name: String,
        /// observer reads, operator writes, engineer also writes what is `engineer-only`
        #[arg(long, value_enum)]
        role: Given,
    },
    /// Give a user another password, and with --role another role
    Passwd {
        /// The configuration file (TOML)
        config: PathBuf,
        /// The user's name
        name: String,
        /// The role from now on; without this it stays
        #[arg(long, value_enum)]
        role: Option<Given>,
    },
    /// Remove a user; sessions of this user end
    Remove {
        /// The configuration file (TOML)
        config: PathBuf,
        /// The user's name
        name: String,
    },
    /// Show all users with their roles
    List {
        /// The configuration file (TOML)
        config: PathBuf,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

/// A role on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Given {
    Observer,
    Operator,
    Engineer,
}

impl From<Given> for Role {
    fn from(given: Given) -> Role {
        match given {
            Given::Observer => Role::Observer,
            Given::Operator => Role::Operator,
            Given::Engineer => Role::Engineer,
        }
    }
}

/// What went wrong, with the exit code; what was said already is empty.
struct Failure(u8, String);

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure(FAILED, why)
    }
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    done(&arguments.what).map_or_else(
        |Failure(code, why)| {
            if !why.is_empty() {
                eprintln!("{why}");
            }
            code
        },
        |()| GOOD,
    )
}

fn done(what: &What) -> Result<(), Failure> {
    match what {
        What::Add { config, name, role } => {
            let there = There::open(config)?;
            there.is_not_declared(name)?;
            // Before the password is asked for.
            if file::read(&there.file)?.iter().any(|user| user.name == *name) {
                return Err(Failure(
                    FAILED,
                    format!("there is a user {name:?}: `passwd` changes the password"),
                ));
            }
            file::add(&there.file, name, (*role).into(), &password(true)?)?;
            say(&format!("{name} may log in as {}", Role::from(*role).name()));
        }
        What::Passwd { config, name, role } => {
            let there = There::open(config)?;
            there.is_not_declared(name)?;
            if !file::read(&there.file)?.iter().any(|user| user.name == *name) {
                return Err(Failure(
                    FAILED,
                    format!("there is no user {name:?}: `fieldgate user list` shows them"),
                ));
            }
            file::set(&there.file, name, role.map(Role::from), &password(true)?)?;
            say(&format!("{name} has another password; sessions with the old one end"));
        }
        What::Remove { config, name } => {
            let there = There::open(config)?;
            there.is_not_declared(name)?;
            file::remove(&there.file, name)?;
            say(&format!("{name} is removed; sessions of this user end"));
        }
        What::List { config, json } => list(&There::open(config)?, *json)?,
    }
    Ok(())
}

fn list(there: &There, json: bool) -> Result<(), Failure> {
    let kept = file::read(&there.file)?;
    let all = there
        .declared
        .iter()
        .map(|user| (user.name.as_str(), user.role, "configuration"))
        .chain(kept.iter().map(|user| (user.name.as_str(), user.role, "users file")));
    if json {
        let value = |(name, role, place): (&str, Role, &str)| serde_json::json!({ "name": name, "role": role, "place": place });
        say(&serde_json::Value::from_iter(all.map(value)).to_string());
        return Ok(());
    }
    let mut n = 0;
    for (name, role, place) in all {
        say(&format!("{name}  {}  ({place})", role.name()));
        n += 1;
    }
    say(&count(n, "user"));
    Ok(())
}

/// The OPC UA server of a configuration.
struct There {
    file: PathBuf,
    declared: Vec<User>,
}

impl There {
    fn open(config: &Path) -> Result<There, Failure> {
        let plan = compile(config).map_err(|why| Failure(WRONG, why))?.into_plan();
        let plan: GatewayPlan = plan.ok_or(Failure(WRONG, String::new()))?;
        let server = plan.publishers.into_iter().find_map(|publisher| match publisher.spec {
            PublisherSpec::OpcUa(spec) => Some((publisher.name, spec)),
            _ => None,
        });
        let Some((name, spec)) = server else {
            return Err(Failure(
                WRONG,
                "there is no [publish.opcua] in the configuration: nobody logs in".into(),
            ));
        };
        // As the supervisor does.
        let store = plan.store.path.unwrap_or_else(|| PathBuf::from("."));
        Ok(There { file: file::path(&store.join("publishers").join(name)), declared: spec.users })
    }

    fn is_not_declared(&self, name: &str) -> Result<(), Failure> {
        match self.declared.iter().any(|user| user.name == name) {
            true => Err(Failure(
                FAILED,
                format!(
                    "{name:?} is a [[publish.opcua.user]] of the configuration: change it there, or remove it there first"
                ),
            )),
            false => Ok(()),
        }
    }
}

/// From the terminal, without echo and twice; otherwise the first line of standard input.
fn password(twice: bool) -> Result<String, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        let read = stdin.lock().take(4096).read_line(&mut line);
        read.map_err(|error| format!("cannot read the password: {error}"))?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let first = ask("Password: ")?;
    if twice && ask("Again: ")? != first {
        return Err(Failure(FAILED, "the two are not the same: nothing was changed".into()));
    }
    Ok(first)
}

/// One line of the terminal while its echo is off.
fn ask(prompt: &str) -> Result<String, String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = io::stdin();
    let failed = |error: io::Error| format!("cannot ask for the password: {error}");
    eprint!("{prompt}");
    io::stderr().flush().map_err(failed)?;
    let before = tcgetattr(&stdin).map_err(|error| failed(error.into()))?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &quiet).map_err(|error| failed(error.into()))?;
    let mut line = String::new();
    let read = stdin.lock().take(4096).read_line(&mut line);
    let restored = tcsetattr(&stdin, OptionalActions::Flush, &before);
    eprintln!();
    read.map_err(failed)?;
    restored.map_err(|error| failed(error.into()))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
