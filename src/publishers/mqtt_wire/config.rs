//! The keys of a connection, the same for each publisher that speaks MQTT.
//!
//! Each publisher's table names them itself: `serde(flatten)` would lose the places of mistakes.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::model::{Mistake, Period, Secret, Size, Spanned};

use super::address::Address;

/// As written in the file.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// `broker`: one or more addresses.
    pub brokers: &'a Brokers,
    /// `client-id`.
    pub client_id: Option<&'a Spanned<String>>,
    /// `username`.
    pub username: Option<&'a String>,
    /// `password`.
    pub password: Option<&'a Secret>,
    /// `mqtt`.
    pub mqtt: Option<&'a Spanned<String>>,
    /// `ca`.
    pub ca: Option<&'a PathBuf>,
    /// `certificate`.
    pub certificate: Option<&'a PathBuf>,
    /// `key`.
    pub key: Option<&'a Secret>,
    /// `alpn`.
    pub alpn: &'a [Spanned<String>],
    /// `keep-alive`.
    pub keep_alive: Option<&'a Spanned<Period>>,
    /// `max-packet`.
    pub max_packet: Option<&'a Spanned<Size>>,
}

/// The brokers as written: one address, or several in the order in which they are tried.
#[derive(Debug, Clone)]
pub struct Brokers(pub Vec<Spanned<String>>);

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Brokers, D::Error> {
        struct OneOrMany;
        impl<'de> serde::de::Visitor<'de> for OneOrMany {
            type Value = Vec<Spanned<String>>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a broker's address, or an array of them")
            }

            fn visit_str<E>(self, address: &str) -> Result<Self::Value, E> {
                // Its place is known outside only.
                Ok(vec![Spanned::new(0..0, address.to_owned())])
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(address) = seq.next_element()? {
                    all.push(address);
                }
                Ok(all)
            }
        }
        struct Whole(Vec<Spanned<String>>);
        impl<'de> Deserialize<'de> for Whole {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
                deserializer.deserialize_any(OneOrMany).map(Whole)
            }
        }
        let whole = Spanned::<Whole>::deserialize(deserializer)?;
        let span = whole.span();
        let placed = |address: Spanned<String>| match address.span() {
            place if place.is_empty() => Spanned::new(span.clone(), address.into_inner()),
            _ => address,
        };
        Ok(Brokers(whole.into_inner().0.into_iter().map(placed).collect()))
    }
}

impl JsonSchema for Brokers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "brokers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "x-type": "text, or array of texts",
            "items": { "type": "string" },
            "minItems": 1,
        })
    }
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The brokers, in the order in which they are tried; never empty.
    pub brokers: Vec<Address>,
    /// Version of the protocol.
    pub version: Version,
    /// Authority to trust.
    pub ca: Option<PathBuf>,
    /// The gateway's own certificate, and its key.
    pub identity: Option<(PathBuf, Secret)>,
    /// Protocols offered in the TLS handshake, the best first.
    pub alpn: Vec<String>,
    /// MQTT client id.
    pub client_id: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Keep-alive.
    pub keep_alive: Duration,
    /// Packet limit in bytes.
    pub max_packet: usize,
}

/// Version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// MQTT keep-alive when the file does not say.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Packet limit when the file does not say.
const MAX_PACKET: usize = 1 << 20;
/// Largest client id; MQTT 3.1.1 allows 65,535 bytes, no broker wants so many.
const MAX_CLIENT_ID: usize = 256;

/// Checks the keys; all mistakes go into `mistakes`, and then what is given back is of no use.
pub fn compile(keys: Keys<'_>, mistakes: &mut Vec<Mistake>) -> Spec {
    let mut brokers = Vec::new();
    for broker in &keys.brokers.0 {
        match Address::parse(broker.get_ref()) {
            Ok(address) => brokers.push(address),
            Err(wrong) => {
                mistakes.push(Mistake::new(wrong.code, broker.span(), wrong.message, wrong.help));
            }
        }
    }
    several(keys.brokers, &brokers, mistakes);
    let place = || keys.brokers.0.first().map_or(0..0, Spanned::span);
    // With none, another mistake is told already.
    let encrypted = brokers.is_empty() || brokers.iter().any(|b| b.tls);
    let mut tls_only = |given: bool, code, key: &str| {
        if given && !encrypted {
            mistakes.push(Mistake::new(
                code,
                place(),
                format!("`{key}` is for TLS, but mqtt:// and ws:// are not encrypted"),
                format!("write `mqtts://` or `wss://` for the broker, or leave `{key}` out"),
            ));
        }
    };
    tls_only(keys.ca.is_some(), "ca-without-tls", "ca");
    tls_only(keys.certificate.is_some(), "certificate-without-tls", "certificate");
    tls_only(keys.certificate.is_none() && keys.key.is_some(), "key-without-tls", "key");
    tls_only(!keys.alpn.is_empty(), "alpn-without-tls", "alpn");
    let identity = match (keys.certificate, keys.key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => {
            mistakes.push(Mistake::new(
                "certificate-without-key",
                place(),
                "there is a `certificate` but no `key`; a certificate proves nothing without its key",
                "add `key = { file = \"…\" }`, or leave `certificate` out",
            ));
            None
        }
        (None, Some(_)) => {
            mistakes.push(Mistake::new(
                "key-without-certificate",
                place(),
                "there is a `key` but no `certificate`",
                "add `certificate = \"…\"`, or leave `key` out",
            ));
            None
        }
    };
    for protocol in keys.alpn {
        if !(1..=255).contains(&protocol.get_ref().len()) {
            mistakes.push(Mistake::new(
                "bad-alpn",
                protocol.span(),
                "a protocol's name in `alpn` has 1 to 255 bytes",
                "write for example `alpn = [\"mqtt\"]`",
            ));
        }
    }
    let version = match keys.mqtt.map(|v| (v.get_ref().as_str(), v.span())) {
        None | Some(("3.1.1", _)) => Version::V311,
        Some(("5", _)) => Version::V5,
        Some((other, span)) => {
            mistakes.push(Mistake::new(
                "bad-mqtt",
                span,
                format!("`{other}` is no version of MQTT that is spoken here"),
                "write `mqtt = \"3.1.1\"` or `mqtt = \"5\"`",
            ));
            Version::V311
        }
    };
    if keys.password.is_some() && keys.username.is_none() {
        mistakes.push(Mistake::new(
            "password-without-username",
            place(),
            "there is a `password` but no `username`; MQTT 3.1.1 sends none without the other",
            "add `username`, or leave `password` out",
        ));
    }
    if let Some(id) = keys.client_id {
        let text = id.get_ref();
        if text.is_empty() || text.len() > MAX_CLIENT_ID || text.chars().any(char::is_control) {
            mistakes.push(Mistake::new(
                "bad-client-id",
                id.span(),
                "the client id is empty, too long or holds control characters",
                format!("write 1 to {MAX_CLIENT_ID} bytes of text; each client of a broker needs its own"),
            ));
        }
    }
    let keep_alives = Duration::from_secs(5)..=Duration::from_secs(18 * 3600);
    let keep_alive = period("keep-alive", keys.keep_alive, KEEP_ALIVE, keep_alives, mistakes);
    let max_packet = match keys.max_packet {
        None => MAX_PACKET,
        Some(size) if (1 << 10..=256 << 20).contains(&size.get_ref().0) => {
            usize::try_from(size.get_ref().0).unwrap_or(MAX_PACKET)
        }
        Some(size) => {
            mistakes.push(Mistake::new(
                "out-of-range",
                size.span(),
                format!("`max-packet` is {} bytes", size.get_ref().0),
                "write a size from \"1KiB\" to \"256MiB\", the largest packet of MQTT",
            ));
            MAX_PACKET
        }
    };
    Spec {
        brokers,
        version,
        ca: keys.ca.cloned(),
        identity,
        alpn: keys.alpn.iter().map(|p| p.get_ref().clone()).collect(),
        client_id: keys.client_id.map(|id| id.get_ref().clone()),
        username: keys.username.cloned(),
        password: keys.password.cloned(),
        keep_alive,
        max_packet,
    }
}

/// Each broker once, and one at least.
fn several(written: &Brokers, brokers: &[Address], mistakes: &mut Vec<Mistake>) {
    if written.0.is_empty() {
        mistakes.push(Mistake::new(
            "no-broker",
            0..0,
            "`broker` is an empty list",
            "name one broker at least, as \"mqtts://scada.example:8883\"",
        ));
    }
    for (at, broker) in brokers.iter().enumerate() {
        if brokers.iter().take(at).any(|other| other == broker) {
            let same = |text: &&Spanned<String>| Address::parse(text.get_ref()).is_ok_and(|a| a == *broker);
            mistakes.push(Mistake::new(
                "duplicate-broker",
                written.0.iter().rfind(same).map_or(0..0, Spanned::span),
                format!("`{broker}` is there twice"),
                "name each broker once, in the order in which they are to be tried",
            ));
        }
    }
}

/// A duration within its range.
pub fn period(
    key: &str,
    value: Option<&Spanned<Period>>,
    default: Duration,
    range: RangeInclusive<Duration>,
    mistakes: &mut Vec<Mistake>,
) -> Duration {
    let Some(value) = value else { return default };
    let period = value.get_ref().0;
    if !range.contains(&period) {
        mistakes.push(Mistake::new(
            "out-of-range",
            value.span(),
            format!("`{key}` is {period:?}"),
            format!("write a duration from {:?} to {:?}", range.start(), range.end()),
        ));
    }
    period
}
