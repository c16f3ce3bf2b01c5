//! Entries for systemd's journal in its own protocol: a line that people can read, and each field beside it.
//!
//! The protocol is `KEY=value` lines in one datagram (systemd's "Native Journal Protocol"). A message as the journal's
//! usual view shows it has to have its fields within, or it says "link is down" and not which; a crate that does that
//! was not found.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// A datagram's limit is the socket's buffer, 208 KiB by default; what is longer is cut.
const LONGEST: usize = 32 << 10;
/// A journal that does not read holds up nobody for longer.
const PATIENCE: Duration = Duration::from_millis(100);

/// The way to journald.
#[derive(Debug, Clone)]
pub(super) struct Journal(Arc<UnixDatagram>);

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Journal(Arc::new(socket)))
    }
}

impl io::Write for Journal {
    /// One entry. What the journal does not take is lost, as nobody else could be told.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(entry);
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Journal;

    fn make_writer(&'a self) -> Journal {
        self.clone()
    }
}

/// Makes an event an entry.
#[derive(Debug)]
pub(super) struct Entry;

impl<S, N> FormatEvent<S, N> for Entry
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let target = said.target.as_deref().unwrap_or_else(|| event.metadata().target());
        let priority = priority(*event.metadata().level());
        writeln!(to, "PRIORITY={priority}\nSYSLOG_IDENTIFIER=fieldgate\nFIELDGATE_TARGET={target}")?;
        writeln!(to, "MESSAGE={}{}", said.message, said.behind)?;
        to.write_str(&said.fields)
    }
}

/// As in syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// What an event says.
#[derive(Debug, Default)]
struct Said {
    message: String,
    /// Its fields as they stand behind the message.
    behind: String,
    /// Its fields as lines of their own.
    fields: String,
    /// The target of an event that came by the `log` crate.
    target: Option<String>,
}

impl Said {
    fn take(&mut self, name: &str, value: &str, quoted: bool) {
        // A line feed would end the value, and begin whatever stands behind it.
        let mut value = value.replace(['\n', '\r'], " ");
        let mut end = value.len().min(LONGEST);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        value.truncate(end);
        if self.message.len() + self.fields.len() > LONGEST {
            return;
        }
        match name {
            "message" => self.message = value,
            "log.target" => self.target = Some(value),
            name if name.starts_with("log.") => {}
            name => {
                let _ = match quoted {
                    true => write!(self.behind, " {name}={value:?}"),
                    false => write!(self.behind, " {name}={value}"),
                };
                let key = name.trim_start_matches("r#").to_ascii_uppercase();
                let key = key.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
                let _ = writeln!(self.fields, "FIELDGATE_{key}={value}");
            }
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field.name(), value, true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field.name(), &format!("{value:?}"), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn an_entry_has_its_level_a_line_for_people_and_each_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journald = UnixDatagram::bind(&path).unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Entry)
            .with_writer(Journal::open(&path).unwrap())
            .with_ansi(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(link = "bus a", tries = 3, trouble = %"no\nPRIORITY=0", "link is down");
        });
        let mut entry = [0; 4096];
        let length = journald.recv(&mut entry).unwrap();
        let entry = std::str::from_utf8(&entry[..length]).unwrap();
        let lines: Vec<_> = entry.lines().collect();
        assert_eq!(
            lines,
            [
                "PRIORITY=4",
                "SYSLOG_IDENTIFIER=fieldgate",
                "FIELDGATE_TARGET=fieldgate::telemetry::journal::tests",
                "MESSAGE=link is down link=\"bus a\" tries=3 trouble=no PRIORITY=0",
                "FIELDGATE_LINK=bus a",
                "FIELDGATE_TRIES=3",
                "FIELDGATE_TROUBLE=no PRIORITY=0",
            ]
        );
    }

    #[test]
    fn what_is_very_long_is_cut_and_still_an_entry() {
        let mut said = Said::default();
        said.take("message", "it", false);
        said.take("text", &"ä".repeat(LONGEST), true);
        said.take("more", "x", true);
        assert!(said.fields.len() + said.behind.len() < 3 * LONGEST);
        assert!(said.fields.starts_with("FIELDGATE_TEXT=ää") && !said.fields.contains("MORE"));
    }
}
