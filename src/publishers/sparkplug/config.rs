//! The `[[publish.sparkplug]]` table.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Mistake, Period, Secret, Size, Spanned};
use crate::publishers::mqtt_wire::config as mqtt_wire;
use crate::store::options::OutboxTable;

use super::commands::Control;
use super::form::Form;
use super::host::{Form as StateForm, PrimaryHost};
use super::payload::Algorithm;

/// MQTT Sparkplug B; see docs/sparkplug.md.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Sparkplug", title = "[[publish.sparkplug]]")]
pub struct Config {
    /// Unique among publishers; its delivery state is kept under it.
    #[schemars(length(min = 1, max = 128), extend("examples" = ["cloud"]))]
    pub name: Spanned<String>,
    /// `mqtt://host:port` or `mqtts://host:port`; over websockets `ws://host:port/path` or
    /// `wss://host:port/path`; several are tried in turn, see docs/sparkplug.md#several-brokers.
    #[schemars(extend("examples" = ["mqtts://broker.example.org:8883"]))]
    pub broker: mqtt_wire::Brokers,
    /// MQTT client id.
    #[schemars(extend("x-default" = "`GROUP-NODE-NAME`", "x-range" = "1 to 256 bytes", "examples" = ["water-07"]))]
    pub client_id: Option<Spanned<String>>,
    /// User name at the broker.
    #[schemars(extend("examples" = ["station-07"]))]
    pub username: Option<String>,
    /// Password at the broker.
    #[schemars(extend("examples" = [{"credential": "broker-password"}]))]
    pub password: Option<Secret>,
    /// File with the certificates of the authority to trust, PEM.
    #[schemars(extend("x-default" = "the system's", "examples" = ["/etc/fieldgate/ca.pem"]))]
    pub ca: Option<PathBuf>,
    /// File with the gateway's own certificate, PEM; together with `key`.
    #[schemars(extend("examples" = ["/etc/fieldgate/gateway.pem"]))]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM; read at each connect.
    #[schemars(extend("examples" = [{"file": "/etc/fieldgate/gateway.key"}]))]
    pub key: Option<Secret>,
    /// Protocols offered in the TLS handshake.
    #[serde(default)]
    #[schemars(extend("x-range" = "each 1 to 255 bytes", "examples" = [["mqtt"]]))]
    pub alpn: Vec<Spanned<String>>,
    /// Version of MQTT.
    #[schemars(extend("default" = "3.1.1", "enum" = ["3.1.1","5"], "examples" = ["5"]))]
    pub mqtt: Option<Spanned<String>>,
    /// MQTT keep-alive.
    #[schemars(extend("default" = "30s", "x-range" = "`\"5s\"` to `\"18h\"`", "examples" = ["60s"]))]
    pub keep_alive: Option<Spanned<Period>>,
    /// Longest wait to put more metrics into one message.
    #[schemars(extend("default" = "0s", "x-range" = "`\"0s\"` to `\"60s\"`", "examples" = ["500ms"]))]
    pub max_delay: Option<Spanned<Period>>,
    /// Largest MQTT packet.
    #[schemars(extend("default" = "1MiB", "x-range" = "`\"1KiB\"` to `\"256MiB\"`", "examples" = ["256KiB"]))]
    pub max_packet: Option<Spanned<Size>>,
    /// Id of the host whose STATE is awaited before the birth; see docs/sparkplug.md#primary-host.
    #[schemars(extend("x-range" = "1 to 256 bytes without `+`, `#`, `/`", "examples" = ["scada"]))]
    pub primary_host: Option<Spanned<String>>,
    /// Form of the STATE of `primary-host`.
    #[schemars(extend("x-default" = "`\"3.0\"`", "examples" = ["2.2"]))]
    pub state_topics: Option<Spanned<StateForm>>,
    /// What hosts may do beside a rebirth; see docs/sparkplug.md#commands.
    #[serde(default)]
    #[schemars(extend("examples" = [["next-server", "reboot"]]))]
    pub allow: Vec<Control>,
    /// How old anything may get that the broker owes an answer to, before the connection is made anew; never
    /// more than `keep-alive`, for a ping at most half of it.
    #[schemars(extend("default" = "30s", "x-range" = "`\"1s\"` to `\"10m\"`", "examples" = ["10s"]))]
    pub ack_timeout: Option<Spanned<Period>>,
    /// Random wait up to this before the first connection, so that a fleet does not come at once.
    #[schemars(extend("default" = "0s", "x-range" = "`\"0s\"` to `\"1h\"`", "examples" = ["1m"]))]
    pub start_delay: Option<Spanned<Period>>,
    /// Most bytes of one message with data, before it is compressed; a single metric is never cut.
    #[schemars(extend("x-default" = "that of `max-packet`", "x-range" = "`\"1KiB\"` to `max-packet`", "examples" = ["64KiB"]))]
    pub max_bytes: Option<Spanned<Size>>,
    /// `true`: the devices of a profile are instances of a template, see docs/sparkplug.md#templates.
    #[serde(default)]
    #[schemars(extend("examples" = [true]))]
    pub templates: bool,
    /// `false`: births without properties, but for what has to be said.
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub properties: Option<bool>,
    /// Of payloads from 1 KiB on, where it makes them smaller.
    #[serde(default)]
    #[schemars(extend("examples" = ["gzip"]))]
    pub compression: Compression,
    /// How what waits for this publisher is kept.
    #[serde(default)]
    #[schemars(extend("x-default" = "as `[store]`", "examples" = [{"max-bytes": "200MiB", "max-age": "3d"}]))]
    pub outbox: OutboxTable,
}

/// The word in the file for how payloads are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Compression {
    /// Never.
    #[default]
    None,
    /// With gzip.
    Gzip,
    /// With zlib (DEFLATE).
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
