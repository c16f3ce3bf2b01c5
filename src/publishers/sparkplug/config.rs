//! The `[[publish.sparkplug]]` table.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::model::{Mistake, Period, Secret, Size, Spanned};
use crate::publishers::mqtt_wire::config as mqtt_wire;
use crate::store::options::OutboxTable;

use super::commands::Control;
use super::form::Form;
use super::host::{Form as StateForm, PrimaryHost};
use super::payload::Algorithm;

/// As written in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Unique name of the publisher; its delivery state is kept under it.
    pub name: Spanned<String>,
    /// `mqtt://host:port` or `mqtts://host:port`, or `ws://` or `wss://` with a path; or several, tried in turn.
    pub broker: mqtt_wire::Brokers,
    /// MQTT client id; `GROUP-NODE-NAME` by default.
    pub client_id: Option<Spanned<String>>,
    /// User name at the broker.
    pub username: Option<String>,
    /// Password at the broker.
    pub password: Option<Secret>,
    /// File with the certificates of the authority to trust; the system's by default.
    pub ca: Option<PathBuf>,
    /// File with the gateway's own certificate, PEM; together with `key`.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<Secret>,
    /// Protocols offered in the TLS handshake; none by default.
    #[serde(default)]
    pub alpn: Vec<Spanned<String>>,
    /// `3.1.1` (default) or `5`.
    pub mqtt: Option<Spanned<String>>,
    /// MQTT keep-alive, 5 s to 18 h; default 30 s.
    pub keep_alive: Option<Spanned<Period>>,
    /// Longest wait to put more metrics into a message; default 0: none.
    pub max_delay: Option<Spanned<Period>>,
    /// Largest MQTT packet, 1 KiB to 256 MiB; default 1 MiB.
    pub max_packet: Option<Spanned<Size>>,
    /// The host whose STATE is awaited before the birth.
    pub primary_host: Option<Spanned<String>>,
    /// The form of STATE: `"3.0"` (default) or `"2.2"`.
    pub state_topics: Option<Spanned<StateForm>>,
    /// Node controls that hosts may use beside the rebirth; none by default.
    #[serde(default)]
    pub allow: Vec<Control>,
    /// How old anything may get that the broker owes an answer to, 1 s to 10 min; default 30 s, at most the keep-alive.
    pub ack_timeout: Option<Spanned<Period>>,
    /// Random wait up to this before the first connection, for fleets; at most 1 h, default 0: none.
    pub start_delay: Option<Spanned<Period>>,
    /// Most bytes of one data payload before it is compressed, from 1 KiB; default: the packet limit.
    pub max_bytes: Option<Spanned<Size>>,
    /// Devices of a profile are published as instances of a template; default false.
    #[serde(default)]
    pub templates: bool,
    /// Whether births have all properties; default true.
    pub properties: Option<bool>,
    /// Compression of payloads from 1 KiB on; default none.
    #[serde(default)]
    pub compression: Compression,
    /// What waits for it; compiled by the plan, over `[store]`.
    #[serde(default)]
    pub outbox: OutboxTable,
}

/// The word in the file for how payloads are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// They are not.
    #[default]
    None,
    /// See [`Algorithm::Gzip`].
    Gzip,
    /// See [`Algorithm::Deflate`].
    Deflate,
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The connection.
    pub mqtt: mqtt_wire::Spec,
    /// Batching delay.
    pub max_delay: Duration,
    /// The host that is awaited.
    pub primary_host: Option<PrimaryHost>,
    /// Node controls that are allowed.
    pub allow: Vec<Control>,
    /// How old an unanswered packet may get.
    pub ack_timeout: Duration,
    /// Longest wait before the first connection.
    pub start_delay: Duration,
    /// How payloads are made up.
    pub form: Form,
}

/// Checks the table; all mistakes at once.
pub fn compile(config: &Config) -> Result<Spec, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let keys = mqtt_wire::Keys {
        brokers: &config.broker,
        client_id: config.client_id.as_ref(),
        username: config.username.as_ref(),
        password: config.password.as_ref(),
        mqtt: config.mqtt.as_ref(),
        ca: config.ca.as_ref(),
        certificate: config.certificate.as_ref(),
        key: config.key.as_ref(),
        alpn: &config.alpn,
        keep_alive: config.keep_alive.as_ref(),
        max_packet: config.max_packet.as_ref(),
    };
    let mqtt = mqtt_wire::compile(keys, &mut mistakes);
    let delays = Duration::ZERO..=Duration::from_secs(60);
    let max_delay =
        mqtt_wire::period("max-delay", config.max_delay.as_ref(), Duration::ZERO, delays, &mut mistakes);
    let hour = Duration::ZERO..=Duration::from_secs(3600);
    let start_delay =
        mqtt_wire::period("start-delay", config.start_delay.as_ref(), Duration::ZERO, hour, &mut mistakes);
    let ack_timeout = mqtt_wire::period(
        "ack-timeout",
        config.ack_timeout.as_ref(),
        ACK_TIMEOUT,
        Duration::from_secs(1)..=Duration::from_secs(600),
        &mut mistakes,
    );
    // An answer stands in line with that to a ping, which is due by then.
    let ack_timeout = ack_timeout.min(mqtt.keep_alive);
    let primary_host = primary_host(config, &mut mistakes);
    let mut allow = config.allow.clone();
    allow.sort();
    allow.dedup();
    let form = form(config, mqtt.max_packet, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Spec { mqtt, max_delay, primary_host, allow, ack_timeout, start_delay, form })
}

/// How payloads are made up.
fn form(config: &Config, max_packet: usize, mistakes: &mut Vec<Mistake>) -> Form {
    let mut max_bytes = usize::MAX;
    if let Some(size) = &config.max_bytes {
        let bytes = size.get_ref().0;
        if !(1 << 10..=max_packet as u64).contains(&bytes) {
            mistakes.push(Mistake::new(
                "out-of-range",
                size.span(),
                format!("`max-bytes` is {bytes} bytes"),
                format!("write a size from \"1KiB\" to that of `max-packet`, {} KiB", max_packet >> 10),
            ));
        }
        max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    Form {
        templates: config.templates,
        properties: config.properties.unwrap_or(true),
        compression: match config.compression {
            Compression::None => None,
            Compression::Gzip => Some(Algorithm::Gzip),
            Compression::Deflate => Some(Algorithm::Deflate),
        },
        max_bytes,
    }
}

/// Longest time without an answer when the file does not say; with a shorter keep-alive, that.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest id of a host; a topic has room for 65,535 bytes, no host has so many.
const MAX_HOST_ID: usize = 256;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publishers::mqtt_wire::address::Address;

    fn compiled(rest: &str) -> Result<Spec, Vec<Mistake>> {
        compile(&toml::from_str(&format!("name = \"cloud\"\n{rest}")).unwrap())
    }

    fn codes(rest: &str) -> Vec<&'static str> {
        compiled(rest).unwrap_err().into_iter().map(|m| m.code).collect()
    }

    #[test]
    fn a_broker_alone_is_enough() {
        let spec = compiled("broker = \"mqtt://127.0.0.1:1884\"").unwrap();
        assert_eq!(spec.mqtt.brokers[0].to_string(), "mqtt://127.0.0.1:1884");
        assert_eq!(
            (spec.mqtt.keep_alive, spec.max_delay, spec.mqtt.max_packet),
            (Duration::from_secs(30), Duration::ZERO, 1 << 20)
        );
    }

    #[test]
    fn several_brokers_are_kept_in_their_order_and_each_mistake_has_its_place() {
        let spec = compiled("broker = [\"mqtt://b\", \"mqtt://a:1\"]").unwrap();
        assert_eq!(
            spec.mqtt.brokers.iter().map(Address::to_string).collect::<Vec<_>>(),
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
        assert_eq!(spec.primary_host, Some(PrimaryHost { id: "scada".into(), form: StateForm::V2 }));
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

    #[test]
    fn payloads_are_plain_and_with_properties_where_the_file_says_nothing() {
        assert_eq!(compiled("broker = \"mqtt://scada\"").unwrap().form, Form::default());
        let said = "broker = \"mqtt://scada\"\ntemplates = true\nproperties = false\ncompression = \"gzip\"\nmax-bytes = \"64KiB\"";
        let form = Form {
            templates: true,
            properties: false,
            compression: Some(Algorithm::Gzip),
            max_bytes: 64 << 10,
        };
        assert_eq!(compiled(said).unwrap().form, form);
        let over = "broker = \"mqtt://scada\"\nmax-packet = \"8KiB\"\nmax-bytes = \"9KiB\"";
        assert_eq!(codes(over), ["out-of-range"]);
        assert_eq!(codes("broker = \"mqtt://scada\"\nmax-bytes = \"1000B\""), ["out-of-range"]);
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

    #[test]
    fn a_certificate_has_its_key_and_both_need_encryption() {
        let mqtts = "broker = \"mqtts://scada\"\n";
        let key = "key = { env = \"KEY\" }\n";
        let certificate = "certificate = \"/own.pem\"\n";
        if cfg!(feature = "tls") {
            assert_eq!(codes(&format!("{mqtts}{certificate}")), ["certificate-without-key"]);
            assert_eq!(codes(&format!("{mqtts}{key}")), ["key-without-certificate"]);
            assert!(compiled(&format!("{mqtts}{certificate}{key}alpn = [\"mqtt\"]")).is_ok());
            assert_eq!(codes(&format!("{mqtts}alpn = [\"\"]")), ["bad-alpn"]);
        }
        let clear = format!("broker = \"mqtt://scada\"\n{certificate}{key}alpn = [\"mqtt\"]");
        assert_eq!(codes(&clear), ["certificate-without-tls", "alpn-without-tls"]);
    }

    #[test]
    fn mqtt_is_spoken_in_two_versions() {
        let with = |version: &str| compiled(&format!("broker = \"mqtt://scada\"\nmqtt = \"{version}\""));
        assert_eq!(with("5").unwrap().mqtt.version, mqtt_wire::Version::V5);
        assert_eq!(with("3.1.1").unwrap().mqtt.version, mqtt_wire::Version::V311);
        assert_eq!(with("4").unwrap_err()[0].code, "bad-mqtt");
    }
}
