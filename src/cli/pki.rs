//! `fieldgate pki`: whom the OPC UA server trusts, and its own certificate; files only, whether the gateway runs or not.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::GOOD;
use super::failure::{Failure, exit_code};
use super::file::count;
use super::opcua::Server;
use super::show::{clean, columns, say, utc};
use crate::model::Timestamp;
use crate::publishers::opcua::config::Trust;
use crate::publishers::opcua::pki::{self, Certificate, Folder, Identity, Kept, Part};
use crate::telemetry::days_left;

/// The command line of `pki`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the server's own certificate, those that are trusted, issuers, and those that were refused
    List {
        /// The configuration file (TOML)
        config: PathBuf,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Trust a client, or an authority and all that it issues; holds from the next connection
    Trust {
        /// The configuration file (TOML)
        config: PathBuf,
        /// The thumbprint of one that was refused, or its beginning; or a file (DER or PEM)
        which: String,
        /// Only to complete chains: an authority that is not trusted itself
        #[arg(long)]
        issuer: bool,
    },
    /// Trust a client or an authority no longer; holds from the next connection or renewal of a channel
    Reject {
        /// The configuration file (TOML)
        config: PathBuf,
        /// The thumbprint, or its beginning
        which: String,
    },
    /// Make the server a new key and certificate; a running gateway gives it to new connections
    Renew {
        /// The configuration file (TOML)
        config: PathBuf,
        /// A new certificate for the key that there is
        #[arg(long)]
        keep_key: bool,
    },
    /// Write the server's own certificate, for clients that are to trust it
    Export {
        /// The configuration file (TOML)
        config: PathBuf,
        /// Where to: PEM where it ends so, else DER; without it PEM on standard output
        file: Option<PathBuf>,
    },
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let done = match &arguments.what {
        What::List { config, json } => list(config, *json),
        What::Trust { config, which, issuer } => trust(config, which, *issuer),
        What::Reject { config, which } => reject(config, which),
        What::Renew { config, keep_key } => renew(config, *keep_key),
        What::Export { config, file } => export(config, file.as_deref()),
    };
    exit_code(done.map(|()| GOOD))
}

/// The certificates' folder, in that of the server.
fn pki_of(folder: &Path) -> Folder {
    Folder::at(&folder.join("pki"))
}

fn list(config: &Path, json: bool) -> Result<(), Failure> {
    let Server { folder, spec, .. } = Server::of(config)?;
    let folder = pki_of(&folder);
    let own = pki::load(&folder).map(|(certificate, _)| Kept { file: folder.own(), certificate });
    let parts = [
        ("own", own.into_iter().collect()),
        ("trusted", folder.kept(Part::Trusted)),
        ("issuer", folder.kept(Part::Issuers)),
        ("rejected", folder.kept(Part::Rejected)),
    ];
    let now = pki::now();
    if json {
        let certificates: Vec<_> = parts
            .iter()
            .flat_map(|(part, kept)| kept.iter().map(move |kept| object(part, kept, now)))
            .collect();
        let trust = if spec.trust == Trust::Required { "required" } else { "any" };
        say(&json!({ "folder": folder.root(), "trust": trust, "certificates": certificates }).to_string());
        return Ok(());
    }
    say(&folder.root().display().to_string());
    if spec.trust == Trust::Any {
        say(
            "note: `trust = \"any\"`: clients need not be trusted; only their certificates' form and time are checked",
        );
    }
    let mut rows =
        vec![["is", "thumbprint", "days left", "subject", "application URI"].map(str::to_owned).to_vec()];
    for (part, kept) in &parts {
        for Kept { certificate, .. } in kept {
            rows.push(vec![
                (*part).to_owned(),
                certificate.thumbprint(),
                days_left(certificate.validity().1, now).to_string(),
                clean(&certificate.subject()).into_owned(),
                clean(&certificate.uris().join(" ")).into_owned(),
            ]);
        }
    }
    match rows.len() {
        1 => say("no certificates yet: the gateway makes its own at its first start"),
        _ => say(columns(&rows).trim_end()),
    }
    Ok(())
}

fn object(part: &str, kept: &Kept, now: u64) -> serde_json::Value {
    let certificate = &kept.certificate;
    let time = |seconds: u64| utc(Timestamp(i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000)));
    let (from, until) = certificate.validity();
    json!({
        "is": part,
        "thumbprint": certificate.thumbprint(),
        "subject": certificate.subject(),
        "application_uris": certificate.uris(),
        "hosts": certificate.hosts(),
        "key_bits": certificate.key_bits(),
        "authority": certificate.is_authority(),
        "not_before": time(from),
        "not_after": time(until),
        "days_left": days_left(certificate.validity().1, now),
        "file": kept.file,
    })
}

/// The one whose thumbprint begins so.
fn find(folder: &Folder, parts: &[Part], which: &str) -> Result<(Part, Kept), Failure> {
    let wanted: String = which.chars().filter(|c| !matches!(c, ' ' | ':')).collect::<String>().to_uppercase();
    if wanted.len() < 4 || !wanted.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(Failure::wrong(format!(
            "`{which}` is no thumbprint, and no file: write at least four digits of one that `fieldgate pki list` shows"
        )));
    }
    let mut found: Vec<(Part, Kept)> = parts
        .iter()
        .flat_map(|part| folder.kept(*part).into_iter().map(move |kept| (*part, kept)))
        .filter(|(_, kept)| kept.certificate.thumbprint().starts_with(&wanted))
        .collect();
    found.sort_by_key(|(_, kept)| kept.certificate.thumbprint());
    // The same one may be there in two files.
    found.dedup_by(|a, b| a.1.certificate == b.1.certificate);
    let places = parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(" and ");
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(Failure::failed(format!(
            "no certificate in {places} has a thumbprint that begins with {wanted}"
        ))),
        (Some(_), false) => {
            Err(Failure::wrong(format!("several certificates begin with {wanted}: write more of it")))
        }
    }
}

fn trust(config: &Path, which: &str, issuer: bool) -> Result<(), Failure> {
    let folder = pki_of(&Server::of(config)?.folder);
    let certificate = if Path::new(which).is_file() {
        let read = pki::read(Path::new(which)).and_then(|bytes| Certificate::from_file(&bytes));
        read.ok_or_else(|| Failure::wrong(format!("{which} is no certificate in DER or PEM")))?
    } else {
        find(&folder, &[Part::Rejected], which)?.1.certificate
    };
    let to = if issuer { Part::Issuers } else { Part::Trusted };
    if issuer && !certificate.is_authority() {
        return Err(Failure::wrong(format!(
            "{} is no authority: trust it without --issuer",
            name(&certificate)
        )));
    }
    move_to(&folder, &certificate, to)?;
    say(&format!("{} is in {} now", name(&certificate), to.name()));
    Ok(())
}

fn reject(config: &Path, which: &str) -> Result<(), Failure> {
    let folder = pki_of(&Server::of(config)?.folder);
    let (from, kept) = find(&folder, &[Part::Trusted, Part::Issuers], which)?;
    move_to(&folder, &kept.certificate, Part::Rejected)?;
    say(&format!("{} went from {} to rejected", name(&kept.certificate), from.name()));
    Ok(())
}

/// Puts it into one part, and takes it out of the others.
fn move_to(folder: &Folder, certificate: &Certificate, to: Part) -> Result<(), Failure> {
    let failed = |why| Failure::failed(format!("cannot write to {}: {why}", folder.root().display()));
    folder.prepare().map_err(failed)?;
    folder.put(to, certificate).map_err(failed)?;
    for part in [Part::Trusted, Part::Issuers, Part::Rejected] {
        if part != to {
            folder.take(part, certificate).map_err(failed)?;
        }
    }
    Ok(())
}

fn name(certificate: &Certificate) -> String {
    format!("{} ({})", clean(&certificate.subject()), certificate.thumbprint())
}

fn renew(config: &Path, keep_key: bool) -> Result<(), Failure> {
    let Server { folder, spec, directory } = Server::of(config)?;
    let folder = pki_of(&folder);
    let failed = |why| Failure::failed(format!("cannot write to {}: {why}", folder.root().display()));
    let unseen = folder.prepare().map_err(failed)?;
    if unseen > 0 {
        eprintln!(
            "note: {} that an earlier version accepted unseen went to rejected",
            count(unseen, "client certificate")
        );
    }
    let made = pki::renew(&folder, &Identity::new(&spec, &directory), keep_key)?;
    say(&format!("{} is the server's certificate now: clients must trust it anew", name(&made)));
    Ok(())
}

fn export(config: &Path, file: Option<&Path>) -> Result<(), Failure> {
    let folder = pki_of(&Server::of(config)?.folder);
    let (own, _) = pki::load(&folder).ok_or_else(|| {
        Failure::failed(format!(
            "there is no certificate in {} yet: the gateway makes it at its first start",
            folder.root().display()
        ))
    })?;
    let pem = own.pem().ok_or_else(|| Failure::failed("the certificate cannot be written as PEM"))?;
    let Some(file) = file else {
        say(pem.trim_end());
        return Ok(());
    };
    let is_pem = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("pem"));
    let bytes = if is_pem { pem.as_bytes() } else { own.der() };
    fs::write(file, bytes)
        .map_err(|why| Failure::failed(format!("cannot write {}: {why}", file.display())))?;
    say(&format!("{} is in {}", name(&own), file.display()));
    Ok(())
}
