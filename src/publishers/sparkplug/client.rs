//! The wire: one MQTT 3.1.1 connection with its will (the only file that names rumqttc).
//!
//! The event loop runs in a task of its own, because a cancelled `poll` may leave a packet unflushed.
//! The will is fixed per event loop, so each session has a new one, and nothing of an old session is
//! ever sent in a new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing,
    Packet, QoS, StateError, SubscribeFilter, SubscribeReasonCode,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::telemetry::PublisherStats;

use super::config::Spec;
use super::session::Message;

/// What a connection needs that the configuration does not hold.
pub(in crate::publishers) struct Credentials {
    pub(in crate::publishers) client_id: String,
    pub(in crate::publishers) password: Option<String>,
    #[cfg(feature = "tls")]
    pub(in crate::publishers) tls: Option<Arc<rustls::ClientConfig>>,
}

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

/// What the broker publishes when the connection ends without a DISCONNECT; at QoS 1.
#[derive(Debug)]
pub(in crate::publishers) struct Will {
    pub(in crate::publishers) topic: Arc<str>,
    pub(in crate::publishers) payload: Vec<u8>,
    pub(in crate::publishers) retain: bool,
}

/// A command as it came.
#[derive(Debug)]
pub(in crate::publishers) struct Inbound {
    pub(in crate::publishers) topic: String,
    pub(in crate::publishers) payload: Bytes,
    pub(in crate::publishers) retained: bool,
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
    /// PINGREQs sent, PINGRESPs come.
    pub(in crate::publishers) pings: u64,
    pub(in crate::publishers) pongs: u64,
}

/// An open connection.
pub(in crate::publishers) struct Wire {
    client: AsyncClient,
    task: JoinHandle<Down>,
    pub(in crate::publishers) commands: mpsc::Receiver<Inbound>,
    pub(in crate::publishers) heard: watch::Receiver<Heard>,
    /// Which of the messages with QoS 1 was acknowledged, counted from 1.
    pub(in crate::publishers) acknowledged: mpsc::Receiver<u64>,
}

/// Requests that may wait for the event loop. Small: what waits here is lost with the connection.
const REQUESTS: usize = 16;
/// Commands that may wait to be read.
const COMMANDS: usize = 256;
/// Acknowledgements that may wait to be read; more than there may be messages under way.
const ACKNOWLEDGED: usize = 1024;
/// Larger packets end the connection; commands are never so large.
const MAX_INCOMING: usize = 16 << 20;
/// How long TCP, TLS and CONNACK may take together, and a write to a full socket.
const CONNECT_SECONDS: u64 = 5;

impl Wire {
    /// Connects, with a will where there is one, and waits for the CONNACK.
    pub(in crate::publishers) async fn open(
        spec: &Spec,
        credentials: Credentials,
        will: Option<Will>,
        stats: Arc<PublisherStats>,
    ) -> Result<Wire, Down> {
        let mut options = MqttOptions::new(credentials.client_id, spec.host.clone(), spec.port);
        options
            .set_keep_alive(spec.keep_alive)
            // tck-id-principles-persistence-clean-session-311
            .set_clean_session(true)
            .set_max_packet_size(MAX_INCOMING.max(spec.max_packet), spec.max_packet + 1024);
        if let Some(will) = will {
            // tck-id-payloads-ndeath-will-message-qos
            options.set_last_will(LastWill::new(&*will.topic, will.payload, QoS::AtLeastOnce, will.retain));
        }
        if let Some(username) = &spec.username {
            options.set_credentials(username.clone(), credentials.password.unwrap_or_default());
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = credentials.tls {
            options
                .set_transport(rumqttc::Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(tls)));
        }
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_SECONDS);
        events.set_network_options(network);
        // The first poll connects and ends with the CONNACK.
        events.poll().await.map_err(|error| explain(error, spec))?;
        let (commands_in, commands) = mpsc::channel(COMMANDS);
        let (heard_in, heard) = watch::channel(Heard::default());
        let (acknowledged_in, acknowledged) = mpsc::channel(ACKNOWLEDGED);
        let task = tokio::spawn(run(events, commands_in, heard_in, acknowledged_in, spec.clone(), stats));
        Ok(Wire { client, task, commands, heard, acknowledged })
    }

    /// Asks for all commands; its SUBACK counts as `subacks`.
    pub(in crate::publishers) async fn subscribe(&self, filters: &[Arc<str>]) -> Result<(), Down> {
        // tck-id-message-flow-edge-node-ncmd-subscribe: QoS 1.
        let filters = filters.iter().map(|f| SubscribeFilter::new(f.to_string(), QoS::AtLeastOnce));
        self.client.subscribe_many(filters).await.map_err(|_| closing())
    }

    /// Hands a message to the event loop; waits while it is busy.
    pub(in crate::publishers) async fn publish(&self, message: Message) -> Result<(), Down> {
        let payload = Bytes::from(message.payload);
        let sent = self.client.publish_bytes(&*message.topic, QoS::AtMostOnce, false, payload);
        sent.await.map_err(|_| closing())
    }

    /// As `publish`, to be acknowledged: its PUBACK counts as `pubacks`.
    pub(in crate::publishers) async fn publish_acknowledged(&self, message: Message) -> Result<(), Down> {
        let payload = Bytes::from(message.payload);
        let sent = self.client.publish_bytes(&*message.topic, QoS::AtLeastOnce, false, payload);
        sent.await.map_err(|_| closing())
    }

    /// Hands any message to the event loop; waits while it is busy. Those with QoS 1 are counted from 1,
    /// and `acknowledged` tells their numbers.
    pub(in crate::publishers) async fn hand(
        &self,
        topic: &str,
        payload: Vec<u8>,
        acknowledged: bool,
        retain: bool,
    ) -> Result<(), Down> {
        let qos = if acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        self.client.publish_bytes(topic, qos, retain, Bytes::from(payload)).await.map_err(|_| closing())
    }

    /// Says DISCONNECT and waits until it is written.
    pub(in crate::publishers) async fn disconnect(&mut self) {
        if self.client.disconnect().await.is_ok() {
            // Its end is the only thing it can tell now.
            let _ = (&mut self.task).await;
        }
    }

    /// Why the connection ended; waits until it does. Not to be called again after it told.
    pub(in crate::publishers) async fn ended(&mut self) -> Down {
        match (&mut self.task).await {
            Ok(down) => down,
            Err(_) => Down::new("the MQTT client fell; connecting anew"),
        }
    }
}

impl Wire {
    /// Whether the event loop ended, or is about to.
    pub(in crate::publishers) fn is_over(&self) -> bool {
        self.heard.has_changed().is_err()
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

async fn run(
    mut events: EventLoop,
    commands: mpsc::Sender<Inbound>,
    heard: watch::Sender<Heard>,
    acknowledged: mpsc::Sender<u64>,
    spec: Spec,
    stats: Arc<PublisherStats>,
) -> Down {
    // Packet ids are used again; the count of messages is not.
    let (mut sent, mut numbers) = (0, HashMap::new());
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let inbound =
                    Inbound { topic: publish.topic, payload: publish.payload, retained: publish.retain };
                // A flood must stop neither data nor answers.
                if commands.try_send(inbound).is_err() {
                    stats.commands.bump();
                    stats.refused.bump();
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
                heard.send_modify(|h| {
                    h.subacks += 1;
                    h.refused |= refused;
                });
            }
            Ok(Event::Outgoing(Outgoing::Publish(id))) if id != 0 => {
                sent += 1;
                numbers.insert(id, sent);
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                heard.send_modify(|h| h.pubacks += 1);
                if let Some(number) = numbers.remove(&ack.pkid) {
                    // Full only where nobody wants to know.
                    let _ = acknowledged.try_send(number);
                }
            }
            Ok(Event::Outgoing(Outgoing::PingReq)) => heard.send_modify(|h| h.pings += 1),
            Ok(Event::Incoming(Packet::PingResp)) => heard.send_modify(|h| h.pongs += 1),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return Down::new("disconnected"),
            Ok(_) => {}
            Err(error) => return explain(error, &spec),
        }
    }
}

/// What happened, and what to do.
fn explain(error: ConnectionError, spec: &Spec) -> Down {
    let broker = format!("broker {}:{}", spec.host, spec.port);
    let down =
        |why: String, connect_sent, closed| Down { why: format!("{broker}: {why}"), connect_sent, closed };
    match error {
        ConnectionError::Io(error) => {
            down(format!("{error}; check that it runs and that the address is right"), false, false)
        }
        #[cfg(feature = "tls")]
        ConnectionError::Tls(error) => {
            down(format!("TLS: {error}; check `ca`, the host's name and the clock"), false, false)
        }
        ConnectionError::NetworkTimeout => {
            let within = Duration::from_secs(CONNECT_SECONDS);
            down(format!("no answer within {within:?}; check address, port, firewall and TLS"), true, false)
        }
        ConnectionError::FlushTimeout => down("it takes no more data".into(), true, false),
        ConnectionError::ConnectionRefused(code) => {
            let why = match code {
                ConnectReturnCode::BadUserNamePassword => {
                    "bad user name or password; check `username` and `password`"
                }
                ConnectReturnCode::NotAuthorized => {
                    "not authorised; check `username`, `password` and the broker's access list"
                }
                ConnectReturnCode::BadClientId => "it does not take this client id; set `client-id`",
                ConnectReturnCode::ServiceUnavailable => "it is there but says that it is unavailable",
                ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1",
                ConnectReturnCode::Success => "refused without a reason",
            };
            down(why.into(), true, false)
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            down("it does not answer pings".into(), true, false)
        }
        ConnectionError::MqttState(
            error @ (StateError::ConnectionAborted | StateError::Io(_) | StateError::Deserialization(_)),
        ) => {
            let why = match error {
                StateError::ConnectionAborted => "it closed the connection".into(),
                other => format!("the connection broke: {other}"),
            };
            down(why, true, true)
        }
        other => down(other.to_string(), true, false),
    }
}
