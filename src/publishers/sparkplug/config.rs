//! The `[[publish.sparkplug]]` table.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::model::{Mistake, Period, Secret, Size};

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
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Broker host.
    pub host: String,
    /// Broker port.
    pub port: u16,
    /// TLS.
    pub tls: bool,
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
}

/// Checks the table; all mistakes at once.
pub fn compile(_config: &Config) -> Result<Spec, Vec<Mistake>> {
    Err(Vec::new())
}
