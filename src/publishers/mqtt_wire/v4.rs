//! MQTT 3.1.1 by rumqttc.

use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing,
    Packet, QoS, StateError, SubscribeReasonCode,
};
use tokio::sync::watch;

use super::address::Address;
use super::client::{CONNECT_SECONDS, Down, Heard, Inbound, MAX_INCOMING, REQUESTS, broke, host, transport};
use super::config::Spec;
use super::credentials::Credentials;
use super::inbox::Inbox;
use super::message::{Publish, Qos};
use super::receipts::Receipts;

/// Connects and waits for the CONNACK.
pub(super) async fn open(
    spec: &Spec,
    address: &Address,
    credentials: Credentials,
    will: Option<Publish>,
    patience: Duration,
) -> Result<(AsyncClient, EventLoop), Down> {
    let transport = transport(address, &credentials);
    let mut options = MqttOptions::new(credentials.client_id, host(address), address.port);
    options
        .set_keep_alive(spec.keep_alive)
        // tck-id-principles-persistence-clean-session-311
        .set_clean_session(true)
        .set_max_packet_size(MAX_INCOMING.max(spec.max_packet), spec.max_packet + 1024)
        .set_transport(transport);
    if let Some(will) = will {
        options.set_last_will(LastWill::new(&*will.topic, will.payload, level(will.qos), will.retain));
    }
    if let Some(username) = &spec.username {
        options.set_credentials(username.clone(), credentials.password.unwrap_or_default());
    }
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    let mut network = events.network_options();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_SECONDS);
    events.set_network_options(network);
    // The first poll connects and ends with the CONNACK.
    events.poll().await.map_err(|error| explain(error, address))?;
    // Now the same option is how long a write to a full socket may take.
    let mut network = events.network_options();
    network.set_connection_timeout(patience.as_secs().max(1));
    events.set_network_options(network);
    Ok((client, events))
}

pub(super) fn level(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

pub(super) async fn run(
    mut events: EventLoop,
    inbox: Inbox,
    heard: watch::Sender<Heard>,
    mut receipts: Receipts,
    address: Address,
) -> Down {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let inbound = Inbound {
                    topic: publish.topic,
                    payload: publish.payload,
                    retained: publish.retain,
                    room: None,
                };
                if let Err(down) = inbox.put(inbound) {
                    return down;
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
                heard.send_modify(|h| {
                    h.subacks += 1;
                    h.refused |= refused;
                });
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                receipts.acknowledged(ack.pkid, true);
                heard.send_modify(|h| h.pubacks += 1);
            }
            Ok(Event::Outgoing(Outgoing::Publish(id))) => receipts.sent(id),
            Ok(Event::Outgoing(Outgoing::PingReq)) => heard.send_modify(|h| h.pings += 1),
            Ok(Event::Incoming(Packet::PingResp)) => heard.send_modify(|h| h.pongs += 1),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return Down::new("disconnected"),
            Ok(_) => {}
            Err(error) => return explain(error, &address),
        }
    }
}

/// What happened, and what to do.
fn explain(error: ConnectionError, address: &Address) -> Down {
    let broker = format!("broker {address}");
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
        #[cfg(feature = "websocket")]
        ConnectionError::Websocket(error) => {
            down(format!("websocket: {error}; check the path and the port"), false, false)
        }
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
                other => broke(&other),
            };
            down(why, true, true)
        }
        other => down(other.to_string(), true, false),
    }
}
