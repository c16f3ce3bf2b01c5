//! MQTT 5 by rumqttc.

use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, DisconnectReasonCode, Filter, LastWill, Packet, PubAckReason,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use tokio::sync::watch;

use super::address::Address;
use super::client::{
    CONNECT_SECONDS, Down, Heard, Inbound, Limits, MAX_INCOMING, REQUESTS, broke, host, transport,
};
use super::config::Spec;
use super::credentials::Credentials;
use super::inbox::Inbox;
use super::message::{Publish, Qos};
use super::receipts::Receipts;

/// Messages of QoS 1 under way at most, as with MQTT 3.1.1; fewer where the broker says so.
const INFLIGHT: u16 = 100;

/// Connects and waits for the CONNACK.
pub(super) async fn open(
    spec: &Spec,
    address: &Address,
    credentials: Credentials,
    will: Option<Publish>,
) -> Result<(AsyncClient, EventLoop, Limits), Down> {
    let transport = transport(address, &credentials);
    let mut options = MqttOptions::new(credentials.client_id, host(address), address.port);
    let mut properties = ConnectProperties::new();
    // tck-id-principles-persistence-clean-session-50, with the clean start below.
    properties.session_expiry_interval = Some(0);
    properties.max_packet_size = u32::try_from(MAX_INCOMING.max(spec.max_packet)).ok();
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options
        .set_keep_alive(spec.keep_alive)
        .set_clean_start(true)
        .set_connect_properties(properties)
        .set_outgoing_inflight_upper_limit(INFLIGHT)
        .set_network_options(network)
        .set_transport(transport);
    options.set_connection_timeout(CONNECT_SECONDS);
    if let Some(will) = will {
        options.set_last_will(LastWill::new(&*will.topic, will.payload, level(will.qos), will.retain, None));
    }
    if let Some(username) = &spec.username {
        options.set_credentials(username.clone(), credentials.password.unwrap_or_default());
    }
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    // The first poll connects and ends with the CONNACK.
    let first = events.poll().await.map_err(|error| explain(error, address))?;
    let theirs = match first {
        Event::Incoming(Packet::ConnAck(ack)) => ack.properties.and_then(|p| p.max_packet_size),
        _ => None,
    };
    if events.options.keep_alive().is_zero() {
        // "No keep-alive", says the broker; rumqttc would ping without a pause. We want to know that it is there.
        events.options.set_keep_alive(spec.keep_alive);
    }
    let theirs = theirs.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    Ok((client, events, Limits { max_packet: spec.max_packet.min(theirs) }))
}

pub(super) fn level(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

pub(super) fn filter(filter: &str) -> Filter {
    Filter::new(filter, QoS::AtLeastOnce)
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
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                let inbound =
                    Inbound { topic, payload: publish.payload, retained: publish.retain, room: None };
                if let Err(down) = inbox.put(inbound) {
                    return down;
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refused = ack.return_codes.iter().any(|c| !matches!(c, SubscribeReasonCode::Success(_)));
                heard.send_modify(|h| {
                    h.subacks += 1;
                    h.refused |= refused;
                });
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                let taken = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                receipts.acknowledged(ack.pkid, taken);
                heard.send_modify(|h| {
                    h.pubacks += 1;
                    h.rejected += u64::from(!taken);
                });
            }
            Ok(Event::Outgoing(Outgoing::Publish(id))) => receipts.sent(id),
            Ok(Event::Outgoing(Outgoing::PingReq)) => heard.send_modify(|h| h.pings += 1),
            Ok(Event::Incoming(Packet::PingResp(_))) => heard.send_modify(|h| h.pongs += 1),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return Down::new("disconnected"),
            Ok(_) => {}
            Err(error) => return explain(error, &address),
        }
    }
}

/// What happened, and what to do.
fn explain(error: ConnectionError, address: &Address) -> Down {
    let down = |why: String, connect_sent, closed| Down {
        why: format!("broker {address}: {why}"),
        connect_sent,
        closed,
    };
    match error {
        ConnectionError::Io(error) => {
            down(format!("{error}; check that it runs and that the address is right"), false, false)
        }
        #[cfg(feature = "tls")]
        ConnectionError::Tls(error) => {
            down(format!("TLS: {error}; check `ca`, the host's name and the clock"), false, false)
        }
        #[cfg(feature = "websocket")]
        ConnectionError::Websocket(error) => {
            down(format!("websocket: {error}; check the path and the port"), false, false)
        }
        ConnectionError::Timeout(_) => {
            let within = Duration::from_secs(CONNECT_SECONDS);
            down(format!("no answer within {within:?}; check address, port, firewall and TLS"), true, false)
        }
        ConnectionError::ConnectionRefused(code) => down(refused(code), true, false),
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            down("it does not answer pings".into(), true, false)
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let said = reason_string.map(|said| format!(" (it says: {said})")).unwrap_or_default();
            down(format!("{}{said}", disconnected(reason_code)), true, true)
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            down("it closed the connection".into(), true, true)
        }
        ConnectionError::MqttState(error @ (StateError::Io(_) | StateError::Deserialization(_))) => {
            down(broke(&error), true, true)
        }
        other => down(other.to_string(), true, false),
    }
}

/// Why it refused the CONNECT (MQTT 5, 3.2.2.2).
fn refused(code: ConnectReturnCode) -> String {
    use ConnectReturnCode as Code;
    let why = match code {
        Code::BadUserNamePassword => "bad user name or password; check `username` and `password`",
        Code::NotAuthorized => "not authorised; check `username`, `password` and the broker's access list",
        Code::BadClientId | Code::ClientIdentifierNotValid => {
            "it does not take this client id; set `client-id`"
        }
        Code::ServiceUnavailable | Code::ServerUnavailable | Code::ServerBusy => {
            "it is there but says that it is unavailable"
        }
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            "it does not speak MQTT 5; leave `mqtt` out"
        }
        Code::Banned => "this client is banned; ask its administrator",
        Code::ConnectionRateExceeded => {
            "too many connections in a short time; a `start-delay` spreads a fleet's"
        }
        Code::QuotaExceeded => "its quota is used up; ask its administrator",
        Code::PacketTooLarge => "the CONNECT is larger than it allows",
        other => return format!("it refuses the connection: {other:?}"),
    };
    why.to_owned()
}

/// Why it ended the connection (MQTT 5, 3.14.2.1).
fn disconnected(code: DisconnectReasonCode) -> String {
    use DisconnectReasonCode as Code;
    let why = match code {
        Code::SessionTakenOver => {
            "another client with the same client id took its place (0x8E); give each gateway its own `client-id`"
        }
        Code::NotAuthorized => "not authorised (0x87); check the broker's access list",
        Code::PacketTooLarge => "a packet was larger than it allows (0x95); lower `max-packet`",
        Code::MessageRateTooHigh => "too many messages (0x96); raise `max-delay`",
        Code::QuotaExceeded => "its quota is used up (0x97); ask its administrator",
        Code::ConnectionRateExceeded => "too many connections in a short time (0x9F)",
        Code::ServerShuttingDown => "it shuts down (0x8B)",
        Code::ServerBusy => "it is busy (0x89)",
        Code::KeepAliveTimeout => "it heard nothing for one and a half keep-alives (0x8D); check the link",
        Code::AdministrativeAction => "its administrator ended the connection (0x98)",
        other => return format!("it ended the connection: {other:?} (0x{:02X})", other as u8),
    };
    why.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_take_over_is_named_and_counts_as_closed_by_the_broker() {
        let error = StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            reason_string: Some("bye".into()),
        };
        let down = explain(ConnectionError::MqttState(error), &Address::parse("mqtt://scada").unwrap());
        assert!(down.closed && down.connect_sent);
        assert!(
            down.why.contains("another client with the same client id") && down.why.contains("bye"),
            "{down:?}"
        );
    }

    #[test]
    fn reasons_say_what_to_do() {
        assert!(disconnected(DisconnectReasonCode::PacketTooLarge).contains("max-packet"));
        assert!(disconnected(DisconnectReasonCode::ServerMoved).contains("0x9D"));
        assert!(refused(ConnectReturnCode::NotAuthorized).contains("access list"));
        assert!(refused(ConnectReturnCode::UnsupportedProtocolVersion).contains("MQTT 5"));
    }
}
