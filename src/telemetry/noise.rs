//! Bounds what the OPC UA library logs: some of its lines anybody who reaches the port can cause, as often as they like.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lets a few lines of the library through each minute, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Quota {
    told: AtomicU64,
    left_out: AtomicU64,
}

/// Lines of the library that are told in a minute; after that they are counted.
const MOST: u64 = 20;
/// Where they come from.
const LIBRARY: &str = "opcua_";
/// How often the count begins anew.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

impl Quota {
    /// Whether one more line is told.
    fn takes(&self, target: &str) -> bool {
        if !target.starts_with(LIBRARY) || self.told.fetch_add(1, Ordering::Relaxed) < MOST {
            return true;
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// A new minute; tells how much of the last one was left out.
    pub(super) fn begin(&self) {
        self.told.store(0, Ordering::Relaxed);
        let lines = self.left_out.swap(0, Ordering::Relaxed);
        if lines > 0 {
            tracing::warn!(
                lines,
                "OPC UA clients cause many errors: lines of the log were left out in the last minute; who comes is in the audit log"
            );
        }
    }
}

/// By reference: the log has one, and who begins the minutes the other.
pub(super) struct Bounded(pub(super) std::sync::Arc<Quota>);

// A layer of the whole log, and no filter of one layer: such a filter that lets a place through and then one of its events
// not leaves a mark behind, on which the library asserts at the next event (tracing-subscriber 0.3.23).
impl<S: Subscriber> Layer<S> for Bounded {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.takes(event.metadata().target())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_of_the_library_is_a_few_lines_a_minute_and_a_count_and_our_own_lines_are_all_told() {
        let (sink, quota) = (Sink::default(), Arc::new(Quota::default()));
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let filter = tracing_subscriber::EnvFilter::new("off,opcua_server=error,audit=warn,fieldgate=warn");
        // As the log of the program is put together.
        let log = tracing_subscriber::registry().with(layer).with(Bounded(quota.clone())).with(filter);
        tracing::subscriber::with_default(log, || {
            let flood = || {
                for n in 0..10_000 {
                    tracing::debug!(target: "opcua_server::session::controller", n, "not wanted, and not counted");
                    tracing::error!(target: "opcua_server::session::controller", n, "Connection failed");
                    if n % 1000 == 0 {
                        tracing::warn!(target: "audit", n, "log-in refused");
                    }
                }
            };
            flood();
            quota.begin();
            flood();
            quota.begin();
            quota.begin();
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!(lines("Connection failed"), 40);
        assert_eq!(lines("log-in refused"), 20);
        assert_eq!(lines("lines=9980"), 2, "{text}");
        assert!(text.len() < 16 << 10, "{} bytes", text.len());
    }
}
