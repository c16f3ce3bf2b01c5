//! `fieldgate user`: who may log in at the OPC UA server, in the users file; a running gateway takes changes over.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::GOOD;
use super::failure::{Failure, exit_code};
use super::file::count;
use super::opcua::Server;
use super::show::say;
use crate::publishers::opcua::config::{Login, Role, User};
use crate::publishers::opcua::pki;
use crate::publishers::opcua::users::{Account, Proof, file};
use crate::telemetry::days_left;

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
        /// The user logs in with this certificate (a file, DER or PEM) in place of a password
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
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
    /// Let a user log in with this certificate from now on, and with --role give another role
    Certificate {
        /// The configuration file (TOML)
        config: PathBuf,
        /// The user's name
        name: String,
        /// The certificate, DER or PEM
        certificate: PathBuf,
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

pub(super) fn main(arguments: &Arguments) -> u8 {
    exit_code(done(&arguments.what).map(|()| GOOD))
}

fn done(what: &What) -> Result<(), Failure> {
    match what {
        What::Add { config, name, role, certificate } => {
            let there = There::open(config)?;
            there.is_not_declared(name)?;
            // Before the password is asked for.
            if file::read(&there.file)?.iter().any(|user| user.name == *name) {
                return Err(Failure::failed(format!(
                    "there is a user {name:?}: `passwd` and `certificate` change how it logs in"
                )));
            }
            let proof = match certificate {
                Some(file) => good(file)?,
                None => Proof::password(&password()?)?,
            };
            let account = Account { name: name.clone(), role: (*role).into(), proof };
            file::insert(&there.file, &account)?;
            say(&format!("{name} may log in as {}{}", account.role.name(), with(&account.proof)));
        }
        What::Passwd { config, name, role } => {
            let there = There::open(config)?;
            there.knows(name)?;
            file::replace(&there.file, name, role.map(Role::from), &Proof::password(&password()?)?)?;
            say(&format!("{name} has another password; sessions with the old one end"));
        }
        What::Certificate { config, name, certificate, role } => {
            let there = There::open(config)?;
            there.knows(name)?;
            let proof = good(certificate)?;
            file::replace(&there.file, name, role.map(Role::from), &proof)?;
            say(&format!("{name} logs in{}; older sessions end", with(&proof)));
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

/// A certificate that is good for log-ins today.
fn good(file: &Path) -> Result<Proof, Failure> {
    let proof = Proof::certificate(file).map_err(Failure::wrong)?;
    if let Proof::Certificate(certificate) = &proof {
        pki::check_user(certificate, pki::now()).map_err(|fault| {
            Failure::wrong(format!(
                "{} is good for no log-in: {fault}; {}",
                file.display(),
                fault.user_help()
            ))
        })?;
    }
    Ok(proof)
}

/// " with the certificate …".
fn with(proof: &Proof) -> String {
    proof.thumbprint().map_or_else(String::new, |thumbprint| format!(" with the certificate {thumbprint}"))
}

/// A user as it is shown; for a certificate its thumbprint and the days that it has left.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    role: Role,
    place: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
}

impl<'a> Shown<'a> {
    fn new(name: &'a str, role: Role, place: &'static str, proof: Option<&Proof>) -> Shown<'a> {
        let days_left = proof.and_then(Proof::ends).map(|ends| days_left(ends, pki::now()));
        Shown { name, role, place, certificate: proof.and_then(Proof::thumbprint), days_left }
    }
}

fn list(there: &There, json: bool) -> Result<(), Failure> {
    let kept = file::read(&there.file)?;
    let declared = there.declared.iter().map(|user| {
        // One that cannot be read the gateway tells of at its start.
        let proof = match &user.login {
            Login::Certificate(file) => Proof::certificate(file).ok(),
            Login::Password(_) => None,
        };
        Shown::new(&user.name, user.role, "configuration", proof.as_ref())
    });
    let kept = kept.iter().map(|user| Shown::new(&user.name, user.role, "users file", Some(&user.proof)));
    let all: Vec<Shown> = declared.chain(kept).collect();
    if json {
        let text = serde_json::to_string(&all).map_err(|error| error.to_string())?;
        say(&text);
        return Ok(());
    }
    for Shown { name, role, place, certificate, days_left } in &all {
        let certificate = match (certificate, days_left) {
            (Some(thumbprint), Some(days)) => format!("  certificate {thumbprint}, days left: {days}"),
            _ => String::new(),
        };
        say(&format!("{name}  {}  ({place}){certificate}", role.name()));
    }
    say(&count(all.len(), "user"));
    Ok(())
}

/// The OPC UA server of a configuration.
struct There {
    file: PathBuf,
    declared: Vec<User>,
}

impl There {
    fn open(config: &Path) -> Result<There, Failure> {
        let server = Server::of(config)?;
        Ok(There { file: file::path(&server.folder), declared: server.spec.users })
    }

    /// Whether a user can be changed here.
    fn knows(&self, name: &str) -> Result<(), Failure> {
        self.is_not_declared(name)?;
        match file::read(&self.file)?.iter().any(|user| user.name == name) {
            true => Ok(()),
            false => {
                Err(Failure::failed(format!("there is no user {name:?}: `fieldgate user list` shows them")))
            }
        }
    }

    fn is_not_declared(&self, name: &str) -> Result<(), Failure> {
        match self.declared.iter().any(|user| user.name == name) {
            true => Err(Failure::failed(format!(
                "{name:?} is a [[publish.opcua.user]] of the configuration: change it there, or remove it there first"
            ))),
            false => Ok(()),
        }
    }
}

/// From the terminal, without echo and twice; otherwise the first line of standard input.
fn password() -> Result<String, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        let read = stdin.lock().take(4096).read_line(&mut line);
        read.map_err(|error| format!("cannot read the password: {error}"))?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let first = ask("Password: ")?;
    if ask("Again: ")? != first {
        return Err(Failure::failed("the two are not the same: nothing was changed"));
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
