//! The publisher's task: from broker to broker, one connection after the other.

use crate::publishers::mqtt_wire::address::Address;
use crate::publishers::mqtt_wire::{Credentials, Down, Publish, Qos, Renewal, Rounds, Walk, Window, Wire};
use crate::publishers::publisher::{Context, PublishError, Publisher};
use crate::store::{Reader, ReaderOptions};
use crate::telemetry::Connection;

use super::compose::Composer;
use super::config::Spec;
use super::live::{Live, OFFLINE, Parted};

/// Publishes plain MQTT.
#[derive(Debug)]
pub struct Mqtt {
    spec: Spec,
}

impl Mqtt {
    /// A publisher as the plan wants it.
    pub fn new(spec: Spec) -> Mqtt {
        Mqtt { spec }
    }
}

impl Publisher for Mqtt {
    async fn run(self, cx: Context) -> Result<(), PublishError> {
        let spec = self.spec;
        let mut reader = cx.store.reader(&cx.name, ReaderOptions { durable: true, rules: Some(cx.outbox) });
        let mut composer = Composer::new(spec.shape.clone(), spec.mqtt.max_packet, cx.directory.now());
        let mut walk = Walk::new(spec.mqtt.brokers.len());
        let mut window = Window::new(spec.ack_timeout, spec.mqtt.keep_alive);
        let mut rounds = Rounds::new(&cx, &spec.mqtt.brokers, spec.start_delay);
        while let Some(broker) = rounds.next(&walk).await {
            match connection(&spec, broker, &cx, &mut reader, &mut composer, &mut window).await {
                Ok(Parted::Stopped) => break,
                Ok(Parted::Renewed) => rounds.again(),
                Err(down) => rounds.ended(&mut walk, down.why, down.closed, true),
            }
        }
        cx.stats.state.set(Connection::Stopped);
        Ok(())
    }
}

/// One connection; `Ok` after a proper parting.
async fn connection(
    spec: &Spec,
    broker: &Address,
    cx: &Context,
    reader: &mut Reader,
    composer: &mut Composer,
    window: &mut Window,
) -> Result<Parted, Down> {
    let directory = cx.directory.now();
    let id = format!("{}-{}-{}", directory.group, directory.node, cx.name);
    let failed = |why| Down { why, connect_sent: false, closed: false };
    let credentials = Credentials::read(&spec.mqtt, broker, id).await.map_err(failed)?;
    let used = credentials.used(cx);
    let will = spec.status_topic.as_ref().map(|topic| Publish {
        topic: topic.names(&directory, None, None).into(),
        payload: OFFLINE.into(),
        qos: Qos::AtLeastOnce,
        retain: true,
    });
    let wire = tokio::select! {
        () = cx.stop.cancelled() => return Ok(Parted::Stopped),
        wire = Wire::open(&spec.mqtt, broker, credentials, will, None, spec.ack_timeout, cx.stats.clone()) => wire?,
    };
    cx.stats.connects.bump();
    composer.limit_to(wire.limits.max_packet);
    let mut live = Live::new(spec, broker, cx, wire, composer, window);
    let mut renewal = Renewal::watch(&spec.mqtt, broker, &used, cx);
    let met = tokio::select! {
        () = cx.stop.cancelled() => Ok(Some(Parted::Stopped)),
        met = live.meet(reader) => met.map(|()| None),
    };
    let ended = match met {
        Ok(Some(parted)) => Ok(parted),
        Ok(None) => live.serve(reader, &mut renewal).await,
        Err(down) => Err(down),
    };
    match ended {
        Ok(parted) => {
            live.farewell(reader).await;
            Ok(parted)
        }
        Err(down) => Err(live.why(down).await),
    }
}
