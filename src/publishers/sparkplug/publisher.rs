//! The publisher's task: from broker to broker, one connection after the other.

mod connection;
mod farewell;
mod inbound;
mod live;
mod primary;
mod timers;

use std::time::Duration;

use tokio::time::Instant;

use crate::publishers::mqtt_wire::{Down, Publish, Qos, Rounds, Walk, Window};
use crate::publishers::publisher::{Context, PublishError, Publisher};
use crate::store::{Reader, ReaderOptions};
use crate::telemetry::Connection;

use super::bdseq::BdSeq;
use super::config::Spec;
use super::host::Memory;
use super::session::Message;

/// Publishes as a Sparkplug B edge node.
#[derive(Debug)]
pub struct Sparkplug {
    spec: Spec,
}

/// How long the first birth waits for the first answers of the devices.
const FIRST_POLL: Duration = Duration::from_secs(3);

impl Sparkplug {
    /// A publisher as the plan wants it.
    pub fn new(spec: Spec) -> Sparkplug {
        Sparkplug { spec }
    }
}

/// What outlives a connection.
struct Node {
    reader: Reader,
    bd_seq: BdSeq,
    walk: Walk,
    window: Window,
    /// What the primary host told, broker by broker.
    hosts: Vec<Memory>,
    first_poll_until: Instant,
}

/// Why a connection ended.
enum End {
    /// The gateway stops.
    Stopped,
    /// The primary host is not here.
    HostAway(String),
    /// A host wants the node to go to the next broker.
    NextServer,
    /// What it is made with was replaced.
    Renewed,
    /// It could not be made, or was lost.
    Lost(Down),
}

impl From<Down> for End {
    fn from(down: Down) -> End {
        End::Lost(down)
    }
}

impl Publisher for Sparkplug {
    async fn run(self, cx: Context) -> Result<(), PublishError> {
        let spec = self.spec;
        let mut node = Node {
            reader: cx.store.reader(&cx.name, ReaderOptions { durable: true, rules: Some(cx.outbox) }),
            bd_seq: BdSeq::load(&cx.folder).await,
            walk: Walk::new(spec.mqtt.brokers.len()),
            window: Window::new(spec.ack_timeout, spec.mqtt.keep_alive),
            hosts: vec![Memory::default(); spec.mqtt.brokers.len()],
            first_poll_until: Instant::now() + FIRST_POLL,
        };
        let mut rounds = Rounds::new(&cx, &spec.mqtt.brokers, spec.start_delay);
        while let Some(broker) = rounds.next(&node.walk).await {
            let mut was_born = false;
            let end = connection::run(&spec, broker, &cx, &mut node, &mut was_born).await;
            // A node that waits for its host goes round the brokers in its own time.
            let served = was_born || spec.mqtt.brokers.len() == 1;
            let (why, closed) = match end {
                End::Stopped => break,
                End::Renewed => {
                    rounds.again();
                    continue;
                }
                End::HostAway(why) => (why, false),
                End::NextServer => ("a host sent the node to the next broker".to_owned(), false),
                End::Lost(down) => (down.why, down.closed),
            };
            rounds.ended(&mut node.walk, why, closed, served);
        }
        cx.stats.state.set(Connection::Stopped);
        Ok(())
    }
}

fn publish(message: Message, qos: Qos) -> Publish {
    Publish { topic: message.topic, payload: message.payload.into(), qos, retain: false }
}
