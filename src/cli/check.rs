//! `fieldgate check`: every mistake of a file at once.

use super::file::{compile, count};
use super::{FileArguments, GOOD, WRONG};
use crate::plan::diagnostic::Severity;

pub(super) fn main(arguments: &FileArguments) -> u8 {
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
