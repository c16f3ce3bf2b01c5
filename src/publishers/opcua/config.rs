//! The `[publish.opcua]` table.

use std::net::SocketAddr;

use serde::Deserialize;
use toml::Spanned;

use crate::model::{Mistake, Secret};

/// As written in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Address and port to listen on; default `127.0.0.1:4840`.
    pub listen: Option<Spanned<String>>,
    /// Endpoints offered; default `["basic256sha256", "aes256"]`, both sign-and-encrypt. `none` on loopback only.
    pub security: Option<Spanned<Vec<Spanned<Security>>>>,
    /// Clients without a user name; only together with `none`. Default false.
    #[serde(default)]
    pub anonymous: Option<Spanned<bool>>,
    /// Who may log in.
    #[serde(default)]
    pub user: Vec<User>,
    /// Host name that clients use, for the endpoint's address and the certificate; default that of the machine.
    pub host: Option<Spanned<String>>,
}

/// A security policy, always sign-and-encrypt but for `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// No security: loopback only.
    None,
    /// Basic256Sha256.
    Basic256Sha256,
    /// Aes256-Sha256-RsaPss.
    Aes256,
}

/// `[[publish.opcua.user]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// User name.
    pub name: String,
    /// Password, by reference.
    pub password: Secret,
    /// May write tags that are read-write. Default false.
    #[serde(default)]
    pub write: bool,
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Endpoints offered.
    pub security: Vec<Security>,
    /// Clients without a user name.
    pub anonymous: bool,
    /// Who may log in.
    pub users: Vec<User>,
    /// Host name for the endpoint's address.
    pub host: Option<String>,
}

/// Checks the table; all mistakes at once.
pub fn compile(_config: &Config) -> Result<Spec, Vec<Mistake>> {
    Err(Vec::new())
}
