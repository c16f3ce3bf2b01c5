//! `fieldgate status`: how a gateway that runs stands, in the terminal or as JSON.

use std::time::Duration;

use super::control::{Request, Socket, ask};
use super::running::in_words;
use super::{FAILED, GOOD};
use crate::status::{Config, Status};

/// The command line of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    socket: Socket,
    /// Print JSON, for scripts: what the page's `/api/v1/status` has
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let said = ask(&arguments.socket, &Request::Status {}).and_then(|answer| {
        let status = answer.status.ok_or_else(|| answer.lines.join("\n"))?;
        if arguments.json {
            return Ok(status.to_string());
        }
        serde_json::from_value(status).map(|status| words(&status)).map_err(|error| {
            format!("the gateway's answer is of another version of this program: {error}; use --json")
        })
    });
    match said {
        Ok(said) => {
            println!("{said}");
            GOOD
        }
        Err(why) => {
            eprintln!("{why}");
            FAILED
        }
    }
}

/// A line each, what is wrong first.
fn words(status: &Status) -> String {
    let Status { node, health, devices, links, publishers, store, config } = status;
    let uptime = u64::try_from((node.now - node.started) / 1000).unwrap_or(0);
    let mut lines = vec![format!(
        "{}/{}: {}; Fieldgate {}, up {}",
        node.group,
        node.name,
        if health.problems.is_empty() { "all good" } else { "not all good" },
        node.version,
        in_words(Duration::from_secs(uptime))
    )];
    lines.extend(health.problems.iter().map(|problem| format!("! {problem}")));
    for link in links {
        lines.push(format!(
            "link {}: {}; load {:.0} %, {} timeouts, {} overruns",
            link.name,
            link.state,
            link.load * 100.0,
            link.timeouts,
            link.overruns
        ));
    }
    let in_state = |state: &str| devices.iter().filter(|device| device.state == state).count();
    lines.push(format!(
        "devices: {} answer, {} do not, {} not asked yet",
        in_state("alive"),
        in_state("dead"),
        in_state("unknown")
    ));
    for publisher in publishers {
        lines.push(format!(
            "publisher {} ({}): {}; {} delivered, {} wait, {} lost",
            publisher.name,
            publisher.kind,
            publisher.state,
            publisher.delivered,
            publisher.pending,
            publisher.dropped
        ));
    }
    let durable = if store.durable {
        ""
    } else {
        "; not durable: there is no folder, or a flush was not seen to reach the disk"
    };
    lines.push(format!("store: {} bytes wait on the disk{durable}", store.spool_bytes));
    if !node.synchronised {
        lines.push("clock: not synchronised".to_owned());
    }
    let Config { reloads, refused, mistakes, trial, .. } = config;
    lines.push(format!("configuration: {reloads} times taken on since the start, {refused} times refused"));
    lines.extend(mistakes.iter().map(|mistake| format!("refused: {mistake}")));
    if let Some(left) = trial {
        let left = in_words(Duration::from_secs(*left));
        lines.push(format!("on trial for {left} more: `fieldgate confirm` keeps it"));
    }
    lines.join("\n")
}
