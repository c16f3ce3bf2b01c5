//! The `[[publish.sparkplug]]` table.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::model::{Mistake, Period, Secret, Size};
use crate::publishers::mqtt_wire::config as mqtt_wire;
use crate::store::options::OutboxTable;

/// As written in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Unique name of the publisher; its delivery state is kept under it.
    pub name: Spanned<String>,
    /// `mqtt://host:port` or `mqtts://host:port`, or `ws://` or `wss://` with a path.
    pub broker: Spanned<String>,
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
    /// What waits for it; compiled by the plan, over `[store]`.
    #[serde(default)]
    pub outbox: OutboxTable,
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The connection.
    pub mqtt: mqtt_wire::Spec,
    /// Batching delay.
    pub max_delay: Duration,
}

/// Checks the table; all mistakes at once.
pub fn compile(config: &Config) -> Result<Spec, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let keys = mqtt_wire::Keys {
        brokers: std::slice::from_ref(&config.broker),
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
    if mistakes.is_empty() { Ok(Spec { mqtt, max_delay }) } else { Err(mistakes) }
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
        assert_eq!(spec.mqtt.brokers[0].to_string(), "mqtt://127.0.0.1:1884");
        assert_eq!(
            (spec.mqtt.keep_alive, spec.max_delay, spec.mqtt.max_packet),
            (Duration::from_secs(30), Duration::ZERO, 1 << 20)
        );
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
