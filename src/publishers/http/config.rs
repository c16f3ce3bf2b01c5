//! The `[publish.http]` table.

use std::net::SocketAddr;

use serde::Deserialize;
use toml::Spanned;

use crate::model::Mistake;

/// As written in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Address and port to listen on; default `127.0.0.1:8080`. The page has no log-in, so loopback only.
    pub listen: Option<Spanned<String>>,
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// Checks the table; all mistakes at once.
pub fn compile(_config: &Config) -> Result<Spec, Vec<Mistake>> {
    Err(Vec::new())
}
