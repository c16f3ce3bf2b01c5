//! The publisher's task: one connection after the other.

use tokio::time::{Instant, sleep};

use crate::publishers::publisher::{Context, PublishError, Publisher};
use crate::publishers::sparkplug::backoff::Backoff;
use crate::publishers::sparkplug::client::{Down, Will, Wire};
use crate::publishers::sparkplug::publisher::credentials;
use crate::store::{Reader, ReaderOptions};
use crate::telemetry::Connection;

use super::compose::Composer;
use super::config::Spec;
use super::live::{Live, OFFLINE};

/// Publishes plain MQTT.
#[derive(Debug)]
pub struct Mqtt {
    spec: Spec,
}

/// A connection that lasts so long was a good one.
const LASTING: std::time::Duration = std::time::Duration::from_secs(10);

impl Mqtt {
    /// A publisher as the plan wants it.
    pub fn new(spec: Spec) -> Mqtt {
        Mqtt { spec }
    }
}

impl Publisher for Mqtt {
    async fn run(self, cx: Context) -> Result<(), PublishError> {
        let spec = self.spec;
        let scheme = if spec.connection.tls { "mqtts" } else { "mqtt" };
        let address = format!("{scheme}://{}:{}", spec.connection.host, spec.connection.port);
        *cx.stats.address.lock().unwrap_or_else(|e| e.into_inner()) = address.clone();
        let mut reader = cx.store.reader(&cx.name, ReaderOptions { durable: true, rules: Some(cx.outbox) });
        let mut composer =
            Composer::new(spec.shape.clone(), spec.connection.max_packet, cx.directory.clone());
        let mut backoff = Backoff::new();
        let mut closed_soon = 0;
        cx.stats.state.set(Connection::Connecting);
        while !cx.stop.is_cancelled() {
            let started = Instant::now();
            let mut down = match connection(&spec, &cx, &mut reader, &mut composer).await {
                Ok(()) => break,
                Err(down) => down,
            };
            let lasted = started.elapsed() >= LASTING;
            if lasted {
                backoff.reset();
            }
            closed_soon = if down.closed && !lasted { closed_soon + 1 } else { 0 };
            if closed_soon >= 3 {
                down.why += "; it did so several times soon after connecting: another client with the same \
                             client id takes its place, or the broker forbids a topic or retained messages; \
                             check `client-id`, `topic` and the broker's policy";
            }
            let pause = backoff.pause();
            if cx.stats.state.down(down.why.clone()) {
                tracing::warn!(publisher = cx.name, %address, next_try = ?pause, "{}", down.why);
            } else {
                tracing::debug!(publisher = cx.name, %address, next_try = ?pause, "{}", down.why);
            }
            tokio::select! {
                () = cx.stop.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        cx.stats.state.set(Connection::Stopped);
        Ok(())
    }
}

/// One connection; `Ok` after a clean stop.
async fn connection(
    spec: &Spec,
    cx: &Context,
    reader: &mut Reader,
    composer: &mut Composer,
) -> Result<(), Down> {
    let failed = |why| Down { why, connect_sent: false, closed: false };
    let credentials = credentials(&spec.connection, cx).await.map_err(failed)?;
    let status = spec.status_topic.as_ref().map(|topic| topic.names(&cx.directory, None, None));
    let will = status.map(|topic| Will { topic: topic.into(), payload: OFFLINE.into(), retain: true });
    let wire = tokio::select! {
        () = cx.stop.cancelled() => return Ok(()),
        wire = Wire::open(&spec.connection, credentials, will, cx.stats.clone()) => wire?,
    };
    cx.stats.connects.bump();
    let mut live = Live::new(spec, cx, wire, composer);
    let ended = tokio::select! {
        () = cx.stop.cancelled() => Some(Ok(())),
        met = live.meet(reader) => met.err().map(Err),
    };
    match ended.unwrap_or(live.serve(reader).await) {
        Ok(()) => live.farewell(reader).await,
        Err(down) => return Err(live.why(down).await),
    }
    Ok(())
}
