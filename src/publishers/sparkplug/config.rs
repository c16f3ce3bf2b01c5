//! The `[[publish.sparkplug]]` table.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::model::{Mistake, Period, Secret, Size};
use crate::store::options::OutboxTable;

use super::commands::Control;
use super::host::{Form, PrimaryHost};

/// As written in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Unique name of the publisher; its delivery state is kept under it.
    pub name: Spanned<String>,
    /// `mqtt://host:port` or `mqtts://host:port`; or several, tried in turn.
    pub broker: Brokers,
    /// MQTT client id; `GROUP-NODE-NAME` by default.
    pub client_id: Option<Spanned<String>>,
    /// User name at the broker.
    pub username: Option<String>,
    /// Password at the broker.
    pub password: Option<Secret>,
    /// File with the certificates of the authority to trust; the system's by default.
    pub ca: Option<PathBuf>,
    /// MQTT keep-alive, 5 s to 18 h; default 30 s.
    pub keep_alive: Option<Spanned<Period>>,
    /// Longest wait to put more metrics into a message; default 0: none.
    pub max_delay: Option<Spanned<Period>>,
    /// Largest MQTT packet, 1 KiB to 256 MiB; default 1 MiB.
    pub max_packet: Option<Spanned<Size>>,
    /// The host whose STATE is awaited before the birth.
    pub primary_host: Option<Spanned<String>>,
    /// The form of STATE: `"3.0"` (default) or `"2.2"`.
    pub state_topics: Option<Spanned<Form>>,
    /// Node controls that hosts may use beside the rebirth; none by default.
    #[serde(default)]
    pub allow: Vec<Control>,
    /// How old anything may get that the broker owes an answer to, 1 s to 10 min; default 30 s, at most the keep-alive.
    pub ack_timeout: Option<Spanned<Period>>,
    /// Random wait up to this before the first connection, for fleets; at most 1 h, default 0: none.
    pub start_delay: Option<Spanned<Period>>,
    /// What waits for it; compiled by the plan, over `[store]`.
    #[serde(default)]
    pub outbox: OutboxTable,
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

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS.
    pub tls: bool,
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "mqtts" } else { "mqtt" }, self.host, self.port)
    }
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Brokers, at least one, tried in turn.
    pub brokers: Vec<Broker>,
    /// Authority to trust.
    pub ca: Option<PathBuf>,
    /// MQTT client id.
    pub client_id: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Keep-alive.
    pub keep_alive: Duration,
    /// Batching delay.
    pub max_delay: Duration,
    /// Packet limit in bytes.
    pub max_packet: usize,
    /// The host that is awaited.
    pub primary_host: Option<PrimaryHost>,
    /// Node controls that are allowed.
    pub allow: Vec<Control>,
    /// How old an unanswered packet may get.
    pub ack_timeout: Duration,
    /// Longest wait before the first connection.
    pub start_delay: Duration,
}

/// MQTT keep-alive when the file does not say.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Packet limit when the file does not say.
const MAX_PACKET: usize = 1 << 20;
/// Longest time without an answer when the file does not say; with a shorter keep-alive, that.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest id of a host; a topic has room for 65,535 bytes, no host has so many.
const MAX_HOST_ID: usize = 256;
/// Largest client id; the specification of MQTT 3.1.1 allows 65,535 bytes, no broker wants so many.
const MAX_CLIENT_ID: usize = 256;

/// Checks the table; all mistakes at once.
pub fn compile(config: &Config) -> Result<Spec, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let brokers = brokers(&config.broker, &mut mistakes);
    let span = config.broker.0.first().map_or(0..0, Spanned::span);
    if config.ca.is_some() && !brokers.is_empty() && !brokers.iter().any(|broker| broker.tls) {
        mistakes.push(Mistake::new(
            "ca-without-tls",
            span.clone(),
            "`ca` names an authority to trust, but mqtt:// is not encrypted",
            "write `mqtts://` for the broker, or leave `ca` out",
        ));
    }
    if config.password.is_some() && config.username.is_none() {
        mistakes.push(Mistake::new(
            "password-without-username",
            span,
            "there is a `password` but no `username`; MQTT 3.1.1 sends none without the other",
            "add `username`, or leave `password` out",
        ));
    }
    if let Some(id) = &config.client_id {
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
    let mut period =
        |key: &str, value: &Option<Spanned<Period>>, default, least: Duration, most: Duration| {
            let Some(value) = value else { return default };
            let period = value.get_ref().0;
            if period < least || period > most {
                mistakes.push(Mistake::new(
                    "out-of-range",
                    value.span(),
                    format!("`{key}` is {period:?}"),
                    format!("write a duration from {least:?} to {most:?}"),
                ));
            }
            period
        };
    let keep_alive = period(
        "keep-alive",
        &config.keep_alive,
        KEEP_ALIVE,
        Duration::from_secs(5),
        Duration::from_secs(18 * 3600),
    );
    let max_delay =
        period("max-delay", &config.max_delay, Duration::ZERO, Duration::ZERO, Duration::from_secs(60));
    let start_delay =
        period("start-delay", &config.start_delay, Duration::ZERO, Duration::ZERO, Duration::from_secs(3600));
    let ack_timeout = period(
        "ack-timeout",
        &config.ack_timeout,
        ACK_TIMEOUT.min(keep_alive),
        Duration::from_secs(1),
        Duration::from_secs(600),
    );
    let max_packet = match &config.max_packet {
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
    let primary_host = primary_host(config, &mut mistakes);
    let mut allow = config.allow.clone();
    allow.sort();
    allow.dedup();
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Spec {
        brokers,
        ca: config.ca.clone(),
        client_id: config.client_id.as_ref().map(|id| id.get_ref().clone()),
        username: config.username.clone(),
        password: config.password.clone(),
        keep_alive,
        max_delay,
        max_packet,
        primary_host,
        allow,
        ack_timeout,
        start_delay,
    })
}

/// The brokers, as far as they are right.
fn brokers(written: &Brokers, mistakes: &mut Vec<Mistake>) -> Vec<Broker> {
    let mut brokers = Vec::new();
    for place in &written.0 {
        match address(place.get_ref()) {
            Ok(broker) if brokers.contains(&broker) => mistakes.push(Mistake::new(
                "duplicate-broker",
                place.span(),
                format!("`{broker}` is there twice"),
                "name each broker once, in the order in which they are to be tried",
            )),
            Ok(broker) => brokers.push(broker),
            Err(Wrong(code, message, help)) => {
                mistakes.push(Mistake::new(code, place.span(), message, help));
            }
        }
    }
    if written.0.is_empty() {
        mistakes.push(Mistake::new(
            "no-broker",
            0..0,
            "`broker` is an empty list",
            "name one broker at least, as \"mqtts://scada.example:8883\"",
        ));
    }
    brokers
}

fn primary_host(config: &Config, mistakes: &mut Vec<Mistake>) -> Option<PrimaryHost> {
    let form = config.state_topics.as_ref().map(|form| *form.get_ref()).unwrap_or_default();
    let Some(id) = &config.primary_host else {
        if let Some(form) = &config.state_topics {
            mistakes.push(Mistake::new(
                "no-primary-host",
                form.span(),
                "`state-topics` has no effect: no host is awaited",
                "name the host by `primary-host`, or leave `state-topics` out",
            ));
        }
        return None;
    };
    let text = id.get_ref();
    let wild = |c: char| matches!(c, '+' | '#' | '/') || c.is_control();
    if text.is_empty() || text.len() > MAX_HOST_ID || text.contains(wild) {
        mistakes.push(Mistake::new(
            "bad-primary-host",
            id.span(),
            "the id of the primary host is empty, too long, or holds `+`, `#`, `/` or control characters",
            "write the host id as it is set in the host, the last part of its STATE topic",
        ));
    }
    Some(PrimaryHost { id: text.clone(), form })
}

/// Code, message, help.
struct Wrong(&'static str, String, String);

fn address(text: &str) -> Result<Broker, Wrong> {
    let example = || "write \"mqtt://host:1883\" or \"mqtts://host:8883\"".to_owned();
    let wrong = |message: String, help: String| Err(Wrong("bad-broker", message, help));
    let url = match url::Url::parse(text) {
        Ok(url) => url,
        Err(error) => return wrong(format!("`{text}` is no broker address: {error}"), example()),
    };
    let tls = match url.scheme() {
        "mqtt" => false,
        "mqtts" => true,
        other => return wrong(format!("the scheme `{other}://` is not known"), example()),
    };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return wrong(format!("`{text}` names no host"), example());
    };
    if !url.username().is_empty() || url.password().is_some() {
        return wrong(
            "user name and password do not belong into the address".into(),
            "use `username` and `password = { file = \"…\" }`".into(),
        );
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return wrong(format!("`{text}` goes on after the port"), example());
    }
    if url.port() == Some(0) {
        return wrong("port 0 cannot be reached".into(), example());
    }
    if tls && !cfg!(feature = "tls") {
        return Err(Wrong(
            "no-tls",
            "this program was built without TLS, so mqtts:// is not possible".into(),
            "use a build with the feature `tls`".into(),
        ));
    }
    Ok(Broker { host: host.to_owned(), port: url.port().unwrap_or(if tls { 8883 } else { 1883 }), tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(rest: &str) -> Result<Spec, Vec<Mistake>> {
        compile(&toml::from_str(&format!("name = \"cloud\"\n{rest}")).unwrap())
    }

    fn codes(rest: &str) -> Vec<&'static str> {
        compiled(rest).unwrap_err().into_iter().map(|m| m.code).collect()
    }

    #[test]
    fn a_broker_alone_is_enough() {
        let spec = compiled("broker = \"mqtt://127.0.0.1:1884\"").unwrap();
        assert_eq!(spec.brokers, [Broker { host: "127.0.0.1".into(), port: 1884, tls: false }]);
        assert_eq!(
            (spec.keep_alive, spec.max_delay, spec.max_packet),
            (KEEP_ALIVE, Duration::ZERO, MAX_PACKET)
        );
        assert_eq!(compiled("broker = \"mqtt://scada\"").unwrap().brokers[0].port, 1883);
        assert_eq!((spec.primary_host, spec.allow), (None, vec![]));
        assert_eq!((spec.ack_timeout, spec.start_delay), (ACK_TIMEOUT, Duration::ZERO));
        let short = compiled("broker = \"mqtt://scada\"\nkeep-alive = \"5s\"").unwrap();
        assert_eq!(short.ack_timeout, Duration::from_secs(5));
    }

    #[test]
    fn several_brokers_are_kept_in_their_order_and_each_mistake_has_its_place() {
        let spec = compiled("broker = [\"mqtt://b\", \"mqtt://a:1\"]").unwrap();
        assert_eq!(
            spec.brokers.iter().map(Broker::to_string).collect::<Vec<_>>(),
            ["mqtt://b:1883", "mqtt://a:1"]
        );
        let text = "name = \"cloud\"\nbroker = [\"mqtt://a\", \"b\", \"mqtt://a:1883\"]";
        let mistakes = compile(&toml::from_str(text).unwrap()).unwrap_err();
        let places: Vec<_> = mistakes.iter().map(|m| (m.code, &text[m.span.clone()])).collect();
        assert_eq!(places, [("bad-broker", "\"b\""), ("duplicate-broker", "\"mqtt://a:1883\"")]);
        let text = "name = \"cloud\"\nbroker = \"b\"";
        assert_eq!(&text[compile(&toml::from_str(text).unwrap()).unwrap_err()[0].span.clone()], "\"b\"");
        assert_eq!(codes("broker = []"), ["no-broker"]);
        assert!(toml::from_str::<Config>("name = \"cloud\"\nbroker = 5").is_err());
    }

    #[test]
    fn a_primary_host_and_what_hosts_may_do_are_named() {
        let spec = compiled(
            "broker = \"mqtt://a\"\nprimary-host = \"scada\"\nstate-topics = \"2.2\"\n\
             allow = [\"reboot\", \"next-server\", \"reboot\"]\nack-timeout = \"2s\"\nstart-delay = \"1m\"",
        )
        .unwrap();
        assert_eq!(spec.primary_host, Some(PrimaryHost { id: "scada".into(), form: Form::V2 }));
        assert_eq!(spec.allow, [Control::NextServer, Control::Reboot]);
        assert_eq!((spec.ack_timeout, spec.start_delay), (Duration::from_secs(2), Duration::from_secs(60)));
        for bad in ["", "a/b", "a+", "#"] {
            let host = format!("broker = \"mqtt://a\"\nprimary-host = \"{bad}\"");
            assert_eq!(codes(&host), ["bad-primary-host"], "{bad}");
        }
        assert_eq!(codes("broker = \"mqtt://a\"\nstate-topics = \"3.0\""), ["no-primary-host"]);
        let wrong = "broker = \"mqtt://a\"\nack-timeout = \"0s\"\nstart-delay = \"2h\"";
        assert_eq!(codes(wrong), ["out-of-range", "out-of-range"]);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn mqtts_has_its_own_port() {
        let spec = compiled("broker = \"mqtts://scada\"\nca = \"/ca.pem\"").unwrap();
        assert_eq!((spec.brokers[0].port, spec.brokers[0].tls), (8883, true));
    }

    #[test]
    fn a_broker_address_has_a_known_scheme_a_host_and_a_port() {
        for bad in [
            "",
            "scada",
            "scada:1883",
            "http://scada",
            "mqtt://",
            "mqtt://scada:99999",
            "mqtt://scada:0",
            "mqtt://me:pw@scada",
            "mqtt://scada/topic",
        ] {
            assert_eq!(codes(&format!("broker = \"{bad}\"")), ["bad-broker"], "{bad}");
        }
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let wrong = codes(
            "broker = \"mqtt://scada\"\nclient-id = \"\"\nca = \"/ca.pem\"\npassword = { env = \"PW\" }\n\
             keep-alive = \"1s\"\nmax-delay = \"2m\"\nmax-packet = \"10B\"",
        );
        assert_eq!(
            wrong,
            [
                "ca-without-tls",
                "password-without-username",
                "bad-client-id",
                "out-of-range",
                "out-of-range",
                "out-of-range"
            ]
        );
    }
}
