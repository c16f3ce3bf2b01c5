//! `fieldgate store status`: what is in a store, for people and for scripts.

use std::path::Path;

use serde_json::json;

use super::super::GOOD;
use super::super::file::count;
use super::super::show::{columns, say, utc};
use super::{Failure, folder, holder};
use crate::model::Timestamp;
use crate::store::inspect::Status;

pub(super) fn main(config: &Path, json: bool) -> Result<u8, Failure> {
    let (folder, path) = folder(config)?;
    let holder = holder(&folder).map(|holder| holder.to_string());
    let status = folder.status()?;
    let missing = missing(&status, holder.is_some());
    if json {
        let mut object = json!({ "path": path, "held_by": holder, "missing": missing });
        if let (Some(object), Ok(serde_json::Value::Object(figures))) =
            (object.as_object_mut(), serde_json::to_value(&status))
        {
            object.extend(figures);
        }
        say(&object.to_string());
        return Ok(GOOD);
    }
    say(&format!(
        "{path}: {}, {}, {}",
        count(status.segments, "segment"),
        bytes(status.bytes),
        count(usize::try_from(status.samples).unwrap_or(usize::MAX), "sample"),
    ));
    let rows = [
        ["from and to".into(), span(status.oldest, status.newest)],
        ["set aside".into(), count(status.quarantined as usize, "segment")],
        ["ballast".into(), status.ballast.map_or("none".into(), bytes)],
        ["next number".into(), status.next.map_or("damaged".into(), |n| n.to_string())],
        ["in use by".into(), holder.unwrap_or("nobody, as far as can be seen".into())],
    ];
    say(columns(&rows.map(Vec::from)).trim_end());
    let mut rows = vec![["publisher", "waiting", "from and to", "settled below"].map(str::to_owned).to_vec()];
    for publisher in &status.publishers {
        let waiting = format!("{}{}", if publisher.exact { "" } else { "<= " }, publisher.pending);
        let cursor = publisher.cursor.map_or("damaged: delivered again".into(), |n| n.to_string());
        rows.push(vec![publisher.name.clone(), waiting, span(publisher.oldest, publisher.newest), cursor]);
    }
    if rows.len() > 1 {
        say(&format!("\n{}", columns(&rows).trim_end()));
    }
    for note in missing {
        say(&format!("note: {note}"));
    }
    Ok(GOOD)
}

/// What the figures do not say.
fn missing(status: &Status, running: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if running {
        notes.push(
            "the gateway runs: what is in its memory and what it settled within the last second is not in these figures; its /metrics has them"
                .to_owned(),
        );
    }
    if status.unlisted > 0 {
        notes.push(format!(
            "{} without a list of blocks: what is in it is not counted (`store verify` reads it)",
            count(status.unlisted, "segment")
        ));
    }
    if status.publishers.iter().any(|p| !p.exact) {
        notes.push(
            "`<=`: some blocks are settled in part, and only the gateway knows how many samples that is"
                .into(),
        );
    }
    notes
}

fn span(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("{} to {}", utc(from), utc(to)),
        _ => "-".into(),
    }
}

/// `1.5 MiB`
fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.1} MiB", n as f64 / 1_048_576.0),
    }
}
