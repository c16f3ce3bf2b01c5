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
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub broker: Spanned<String>,
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
        ca: config.ca.as_ref(),
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
}
