//! The wire: one MQTT connection with its will, in either version of the protocol.
//!
//! The event loop runs in a task of its own, because a cancelled `poll` may leave a packet unflushed.
//! The will is fixed per event loop, so each session has a new one, and nothing of an old session is
//! ever sent in a new one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{AsyncClient, QoS, SubscribeFilter, Transport};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::telemetry::PublisherStats;

use super::address::Address;
use super::config::{Spec, Version};
use super::credentials::Credentials;
use super::inbox::Inbox;
use super::message::Publish;
use super::receipts::{RECEIPTS, Receipts};
use super::{v4, v5};

/// Why there is no connection, or no longer.
#[derive(Debug)]
pub(in crate::publishers) struct Down {
    /// What happened and what to do.
    pub(in crate::publishers) why: String,
    /// False when it failed before a CONNECT was written.
    pub(in crate::publishers) connect_sent: bool,
    /// The broker closed the connection, as it does when another client takes the id.
    pub(in crate::publishers) closed: bool,
}

impl Down {
    pub(in crate::publishers) fn new(why: impl Into<String>) -> Down {
        Down { why: why.into(), connect_sent: true, closed: false }
    }
}

/// A command as it came.
#[derive(Debug)]
pub(in crate::publishers) struct Inbound {
    pub(in crate::publishers) topic: String,
    pub(in crate::publishers) payload: Bytes,
    pub(in crate::publishers) retained: bool,
    /// Its place among the bytes that may wait; free when it is dropped.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// What the broker answered so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::publishers) struct Heard {
    /// SUBACKs.
    pub(in crate::publishers) subacks: u64,
    /// A subscription was refused.
    pub(in crate::publishers) refused: bool,
    /// PUBACKs.
    pub(in crate::publishers) pubacks: u64,
    /// Those of them that say that the message was not taken (MQTT 5).
    pub(in crate::publishers) rejected: u64,
    /// PINGREQs sent, PINGRESPs come.
    pub(in crate::publishers) pings: u64,
    pub(in crate::publishers) pongs: u64,
}

/// An open connection.
pub(in crate::publishers) struct Wire {
    client: Client,
    task: JoinHandle<Down>,
    pub(in crate::publishers) commands: mpsc::Receiver<Inbound>,
    pub(in crate::publishers) heard: watch::Receiver<Heard>,
    /// Which of the messages with QoS 1 was acknowledged, counted from 1.
    pub(in crate::publishers) acknowledged: mpsc::Receiver<u64>,
    pub(in crate::publishers) limits: Limits,
    /// How long it may take to hand a packet over.
    patience: Duration,
}

enum Client {
    V311(AsyncClient),
    V5 { client: rumqttc::v5::AsyncClient, has_will: bool },
}

/// What the broker allows, as far as it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publishers) struct Limits {
    /// Largest packet: the lower of the configuration's and the broker's (MQTT 5).
    pub(in crate::publishers) max_packet: usize,
}

/// Requests that may wait for the event loop. Small: what waits here is lost with the connection.
pub(super) const REQUESTS: usize = 16;
/// Larger packets end the connection; commands are never so large.
pub(super) const MAX_INCOMING: usize = 16 << 20;
/// How long TCP, TLS and CONNACK may take together: less than one and a half of the shortest keep-alive.
pub(super) const CONNECT_SECONDS: u64 = 5;

impl Wire {
    /// Connects to this broker, one of `spec`'s, and waits for the CONNACK. What comes of the topic `vital` is not left
    /// out where much comes. `patience`: how long the broker may take no data, once it is open.
    pub(in crate::publishers) async fn open(
        spec: &Spec,
        address: &Address,
        credentials: Credentials,
        will: Option<Publish>,
        vital: Option<Arc<str>>,
        patience: Duration,
        stats: Arc<PublisherStats>,
    ) -> Result<Wire, Down> {
        let has_will = will.is_some();
        let (inbox, commands) = Inbox::new(vital, stats);
        let (heard_in, heard) = watch::channel(Heard::default());
        let (receipts, acknowledged) = mpsc::channel(RECEIPTS);
        let receipts = Receipts::new(receipts);
        let broker = address.clone();
        let (client, task, limits) = match spec.version {
            Version::V311 => {
                let (client, events) = v4::open(spec, address, credentials, will, patience).await?;
                let task = tokio::spawn(v4::run(events, inbox, heard_in, receipts, broker));
                (Client::V311(client), task, Limits { max_packet: spec.max_packet })
            }
            Version::V5 => {
                let (client, events, limits) = v5::open(spec, address, credentials, will).await?;
                let task = tokio::spawn(v5::run(events, inbox, heard_in, receipts, broker));
                (Client::V5 { client, has_will }, task, limits)
            }
        };
        Ok(Wire { client, task, commands, heard, acknowledged, limits, patience })
    }

    /// Asks for what matches, QoS 1; its SUBACK counts as `subacks`.
    pub(in crate::publishers) async fn subscribe(&self, filters: &[Arc<str>]) -> Result<(), Down> {
        // tck-id-message-flow-edge-node-ncmd-subscribe: QoS 1.
        self.handed(async {
            match &self.client {
                Client::V311(client) => {
                    let filters =
                        filters.iter().map(|f| SubscribeFilter::new(f.to_string(), QoS::AtLeastOnce));
                    client.subscribe_many(filters).await.is_ok()
                }
                Client::V5 { client, .. } => {
                    client.subscribe_many(filters.iter().map(|f| v5::filter(f))).await.is_ok()
                }
            }
        })
        .await
    }

    /// Hands a message to the event loop; waits while it is busy. With QoS 1 its PUBACK counts as `pubacks`, and
    /// `acknowledged` tells its number.
    pub(in crate::publishers) async fn publish(&self, message: Publish) -> Result<(), Down> {
        let Publish { topic, payload, qos, retain } = message;
        self.handed(async {
            match &self.client {
                Client::V311(client) => {
                    client.publish_bytes(&*topic, v4::level(qos), retain, payload).await.is_ok()
                }
                Client::V5 { client, .. } => {
                    client.publish_bytes(&*topic, v5::level(qos), retain, payload).await.is_ok()
                }
            }
        })
        .await
    }

    /// The event loop takes nothing while it writes to a full socket, and for MQTT 5 it would write for ever.
    async fn handed(&self, sent: impl Future<Output = bool>) -> Result<(), Down> {
        match timeout(self.patience, sent).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(closing()),
            Err(_) => Err(Down::new(format!(
                "the broker took no data for {:?}; the link or the broker is stuck; connecting anew",
                self.patience
            ))),
        }
    }

    /// Says DISCONNECT and waits until it is written.
    ///
    /// With MQTT 5 and a will it cuts the connection without a DISCONNECT: Sparkplug wants the reason 0x04
    /// in it (tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50), so that the broker publishes
    /// the will; rumqttc cannot write that, and the cut has the same effect.
    pub(in crate::publishers) async fn disconnect(&mut self) {
        let said = match &self.client {
            Client::V311(client) => client.disconnect().await.is_ok(),
            Client::V5 { has_will: true, .. } => {
                self.task.abort();
                true
            }
            Client::V5 { client, .. } => client.disconnect().await.is_ok(),
        };
        if said {
            // Its end is the only thing it can tell now.
            let _ = (&mut self.task).await;
        }
    }

    /// Why the connection ended: the event loop knows better why a message could not be handed over. Not to be called
    /// again.
    pub(in crate::publishers) async fn why(&mut self, down: Down) -> Down {
        if self.heard.has_changed().is_ok() {
            return down;
        }
        match timeout(Duration::from_millis(100), &mut self.task).await {
            Ok(Ok(known)) => known,
            Ok(Err(_)) => Down::new("the MQTT client fell; connecting anew"),
            Err(_) => down,
        }
    }
}

impl Drop for Wire {
    /// Cuts the connection, so that the broker publishes the will.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The event loop ended; `ended` tells why.
fn closing() -> Down {
    Down::new("the connection was lost")
}

/// Why a connection broke. In TLS 1.3 a broker refuses a certificate after the handshake is over, so that its alert
/// comes like any other trouble (RFC 8446, section 6.2).
pub(super) fn broke(error: &dyn std::fmt::Display) -> String {
    let said = error.to_string();
    match said.split_once("received fatal alert: ") {
        Some((_, alert)) => format!(
            "it refused TLS with the alert {alert}; check `certificate` and `key`, and whether the broker trusts who signed them"
        ),
        None => format!("the connection broke: {said}"),
    }
}

/// What rumqttc calls the host: with websockets it is the whole address.
pub(super) fn host(address: &Address) -> String {
    if address.path.is_some() { address.to_string() } else { address.host.clone() }
}

#[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "nothing to encrypt with"))]
pub(super) fn transport(address: &Address, credentials: &Credentials) -> Transport {
    #[cfg(feature = "tls")]
    if let Some(tls) = &credentials.tls {
        let tls = rumqttc::TlsConfiguration::Rustls(tls.clone());
        #[cfg(feature = "websocket")]
        if address.path.is_some() {
            return Transport::wss_with_config(tls);
        }
        return Transport::tls_with_config(tls);
    }
    #[cfg(feature = "websocket")]
    if address.path.is_some() {
        return Transport::ws();
    }
    Transport::tcp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_certificate_is_told_as_one() {
        let said = broke(&"Mqtt serialization/deserialization error: IO: received fatal alert: UnknownCA");
        assert!(said.starts_with("it refused TLS with the alert UnknownCA; check `certificate`"), "{said}");
        assert_eq!(broke(&"reset by peer"), "the connection broke: reset by peer");
    }
}
