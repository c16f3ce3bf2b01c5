//! `fieldgate check`: every mistake of a file at once.

use std::path::PathBuf;

use super::control::Socket;
use super::file::{compile, count};
use super::{GOOD, WRONG, apply};
use crate::plan::diagnostic::Severity;

/// The command line of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML)
    config: PathBuf,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
    /// Say what would change: `running` is what the gateway that runs here has
    #[arg(long, value_enum, conflicts_with = "json")]
    against: Option<Against>,
    #[command(flatten)]
    socket: Socket,
}

/// What a file can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Against {
    Running,
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    if let Some(Against::Running) = arguments.against {
        return apply::compare(&arguments.config, &arguments.socket);
    }
    let compiled = match compile(&arguments.config) {
        Ok(compiled) => compiled,
        Err(error) => {
            eprintln!("{error}");
            return WRONG;
        }
    };
    let name = compiled.name.clone();
    if arguments.json {
        let (list, good) = match &compiled.plan {
            Ok(plan) => (compiled.json(&plan.warnings, Severity::Warning), true),
            Err(mistakes) => (compiled.json(mistakes, Severity::Error), false),
        };
        println!("{}", serde_json::json!({ "file": name, "good": good, "diagnostics": list }));
        return if good { GOOD } else { WRONG };
    }
    let Some(plan) = compiled.into_plan() else { return WRONG };
    // The gateway's own link, device and tags are not what the user asks about.
    let own = plan.directory.devices().iter().filter(|d| !d.is_node).map(|d| d.id).collect::<Vec<_>>();
    let tags = plan.directory.tags().iter().filter(|t| own.contains(&t.device)).count();
    let links =
        plan.links.iter().filter(|l| l.devices.iter().any(|d| own.contains(&d.id)) || l.devices.is_empty());
    println!(
        "{name}: good: {}, {}, {}, {}, {}",
        count(links.count(), "link"),
        count(own.len(), "device"),
        count(tags, "tag"),
        count(plan.publishers.len(), "publisher"),
        count(plan.tests.len(), "test")
    );
    GOOD
}
