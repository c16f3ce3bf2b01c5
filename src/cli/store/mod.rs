//! `fieldgate store`: what is in a store, whether it is well, what is undelivered, and how to give it up.

mod export;
mod status;

use std::path::PathBuf;

use clap::Subcommand;

use super::failure::{Failure, exit_code};
use super::file::{compile, count};
use super::progress::Progress;
use super::show::{say, utc};
use super::{FAILED, GOOD};
use crate::drivers::modbus::holder::{self, Holder};
use crate::store::inspect::{Damage, Folder, Held, Purged, Which};

/// The command line of `store`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what is in it, also while the gateway runs
    Status {
        /// The configuration file (TOML)
        config: PathBuf,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Check every block, list and cursor; the gateway must be stopped
    Verify {
        /// The configuration file (TOML)
        config: PathBuf,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Print what is undelivered, a line a sample; changes nothing
    Export(export::Arguments),
    /// Give up what is undelivered; the gateway must be stopped
    Purge {
        /// The configuration file (TOML)
        config: PathBuf,
        /// What waits for this publisher
        #[arg(long, value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
        publisher: Option<String>,
        /// All that is there, for every publisher, and what was set aside
        #[arg(long)]
        all: bool,
        /// Do it; without this it is only said what would go
        #[arg(long)]
        yes: bool,
    },
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let done = match &arguments.what {
        What::Status { config, json } => status::main(config, *json),
        What::Verify { config, json } => verify(config, *json),
        What::Export(arguments) => export::main(arguments),
        What::Purge { config, publisher, all: _, yes } => {
            purge(config, publisher.clone().map_or(Which::All, Which::Of), *yes)
        }
    };
    exit_code(done)
}

/// The store of a configuration file, and where it is.
fn folder(config: &std::path::Path) -> Result<(Folder, String), Failure> {
    let compiled = compile(config).map_err(Failure::wrong)?;
    let name = compiled.name.clone();
    let plan = compiled.into_plan().ok_or(Failure::wrong(String::new()))?;
    let path = plan.store.path.ok_or_else(|| {
        Failure::wrong(format!("{name} has no `path` in [store]: its samples are kept in memory only"))
    })?;
    Ok((Folder::at(&path)?, path.display().to_string()))
}

/// Who has the store open, as far as the system tells.
fn holder(folder: &Folder) -> Option<Holder> {
    holder::by_flock(&folder.lock_file())
}

fn hold(folder: &Folder) -> Result<Held, Failure> {
    folder.hold()?.ok_or_else(|| {
        let who = holder(folder).map_or("another process".into(), |holder| holder.to_string());
        Failure::failed(format!("the store is in use by {who}; stop the gateway first"))
    })
}

fn verify(config: &std::path::Path, json: bool) -> Result<u8, Failure> {
    let (folder, path) = folder(config)?;
    let held = hold(&folder)?;
    let found = with_progress(|progress| folder.verify(&held, progress))?;
    let code = if found.damage.is_empty() { GOOD } else { FAILED };
    if json {
        say(&serde_json::to_string(&found).unwrap_or_default());
        return Ok(code);
    }
    complain(&found.damage);
    let damage = match found.damage.len() {
        0 => "no damage".into(),
        n => format!("{n} damaged"),
    };
    let blocks = count(found.blocks as usize, "block");
    say(&format!(
        "{path}: {}, {blocks}, {} are well; {damage}",
        count(found.segments, "segment"),
        count(found.samples as usize, "sample"),
    ));
    Ok(code)
}

fn purge(config: &std::path::Path, which: Which, yes: bool) -> Result<u8, Failure> {
    let (folder, path) = folder(config)?;
    let held = hold(&folder)?;
    let purged = with_progress(|progress| folder.would_purge(&which, progress))?;
    complain(&purged.damage);
    let text = said(&which, &purged);
    if !yes {
        return Err(Failure::wrong(format!("{path}: nothing done; with --yes it would drop {text}")));
    }
    folder.purge(&held, &which)?;
    say(&format!("{path}: dropped {text}"));
    Ok(GOOD)
}

fn said(which: &Which, purged: &Purged) -> String {
    let samples = count(usize::try_from(purged.dropped).unwrap_or(usize::MAX), "undelivered sample");
    let span = match (purged.from, purged.to) {
        (Some(from), Some(to)) => format!(" of {} to {}", utc(from), utc(to)),
        _ => String::new(),
    };
    match which {
        Which::Of(publisher) => format!("{samples}{span} of `{publisher}`"),
        _ => format!(
            "{samples}{span}, {} and {} set aside",
            count(purged.segments, "segment"),
            count(purged.quarantined as usize, "segment"),
        ),
    }
}

/// Damage for people, on standard error.
fn complain(damage: &[Damage]) {
    for Damage { place, what, samples } in damage {
        let cost = if *samples > 0 { format!(" ({samples} samples)") } else { String::new() };
        eprintln!("{place}: {what}{cost}");
    }
}

/// Runs a work with a bar on standard error.
fn with_progress<T>(work: impl FnOnce(crate::store::inspect::Progress<'_>) -> T) -> T {
    let mut bar: Option<Progress> = None;
    let done = work(&mut |_, total, what| bar.get_or_insert_with(|| Progress::new(total)).advance(what));
    if let Some(mut bar) = bar {
        bar.end();
    }
    done
}
