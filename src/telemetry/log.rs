//! Where the log goes: to standard error, or as entries with fields to systemd's journal.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::journal::{Entry, Journal, SOCKET};
use super::noise::{Bounded, MINUTE, Quota};

/// Sends the log to standard error: `level` as `info` or `fieldgate=debug,audit=info`, which the
/// environment variable FIELDGATE_LOG overrides. A second call in one process changes nothing.
///
/// Where standard error is the journal, each event is an entry of its own there, with its level as `PRIORITY` and its
/// fields as `FIELDGATE_…`: `journalctl FIELDGATE_LINK=bus-a`. `json` asks for lines all the same.
pub fn start_log(level: &str, json: bool) {
    // What the OPC UA library tells at info is its own business; a directive of the user's comes later and wins.
    const LIBRARIES: &str = "opcua_server=warn,opcua_core=warn,opcua_crypto=error,opcua_types=off";
    let filter = |directives: &str| EnvFilter::try_new(format!("{LIBRARIES},{directives}"));
    let wished = std::env::var("FIELDGATE_LOG").ok().and_then(|directives| filter(&directives).ok());
    let filter = wished.or_else(|| filter(level).ok()).unwrap_or_default();
    let journal = match std::env::var_os("JOURNAL_STREAM") {
        Some(stream) if !json && is_stderr(&stream) => Journal::open(Path::new(SOCKET)).ok(),
        _ => None,
    };
    let log = match journal {
        Some(journal) => {
            tracing_subscriber::fmt::layer().event_format(Entry).with_writer(journal).with_ansi(false).boxed()
        }
        None => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
            if json { lines.json().boxed() } else { lines.boxed() }
        }
    };
    let quota = Arc::new(Quota::default());
    // The last one is asked first: what the filter does not want is not counted.
    let log = tracing_subscriber::registry().with(log).with(Bounded(quota.clone())).with(filter);
    if log.try_init().is_err() {
        return;
    }
    // A thread of its own: the log is there before a runtime is, and without one. Without it nothing more of the library
    // is told.
    let minutes = std::thread::Builder::new().name("log".into()).spawn(move || {
        loop {
            std::thread::sleep(MINUTE);
            quota.begin();
        }
    });
    if let Err(error) = minutes {
        tracing::warn!(%error, "no thread for the log: only the first lines of the OPC UA library are told");
    }
}

/// Whether standard error is the stream of this device and inode (systemd.exec(5), `$JOURNAL_STREAM`). It is not where
/// it was sent elsewhere, as by a shell between systemd and the program.
fn is_stderr(stream: &OsStr) -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    names(stream, stat.st_dev, stat.st_ino)
}

fn names(stream: &OsStr, device: u64, inode: u64) -> bool {
    let parts = stream.to_str().and_then(|stream| stream.split_once(':'));
    parts.is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(names(OsStr::new("8:4711"), 8, 4711));
        for other in ["8:4712", "9:4711", "8", "", "8:4711:1", "x:4711"] {
            assert!(!names(OsStr::new(other), 8, 4711), "{other}");
        }
    }

    #[test]
    fn standard_error_that_is_something_else_is_not_the_journal() {
        assert!(!is_stderr(OsStr::new("0:0")));
    }
}
