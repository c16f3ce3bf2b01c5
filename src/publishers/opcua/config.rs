//! The `[publish.opcua]` table.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addresses;
use crate::model::{Mistake, Secret, Spanned};

/// The OPC UA server; see docs/opcua.md.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Opcua", title = "[publish.opcua]")]
pub struct Config {
    /// Address and port to listen on.
    #[schemars(extend("default" = "127.0.0.1:4840", "examples" = ["192.0.2.1:4840"]))]
    pub listen: Option<Spanned<String>>,
    /// Endpoints offered.
    #[schemars(extend("default" = ["basic256sha256", "aes256"], "examples" = [["aes256"]]))]
    pub security: Option<Spanned<Vec<Spanned<Security>>>>,
    /// Clients without a user name; only together with `"none"`.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub anonymous: Option<Spanned<bool>>,
    /// Who may log in; others are added with `fieldgate user add`.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "operator", "password": {"file": "/etc/fieldgate/operator"}}]]))]
    pub user: Vec<UserTable>,
    /// Which certificates of clients are accepted.
    #[schemars(extend("default" = "required", "examples" = ["any"]))]
    pub trust: Option<Trust>,
    /// Host name that clients use, for the endpoint's address and the certificate.
    #[schemars(extend("x-default" = "that of the machine", "examples" = ["gateway-07.plant.example"]))]
    pub host: Option<Spanned<String>>,
    /// Tags that only an engineer may write: `device/tag`, or `device/folder/*` for all below.
    #[serde(default)]
    #[schemars(extend("examples" = [["pump-1/setpoint", "pump-1/limits/*"]]))]
    pub engineer_only: Vec<Spanned<String>>,
    /// Clients that the server dials (Reverse Connect): `opc.tcp://host:port`.
    #[serde(default)]
    #[schemars(extend("x-range" = "at most 16", "examples" = [["opc.tcp://scada.plant.example:4843"]]))]
    pub reverse_connect: Vec<Spanned<String>>,
    /// A discovery server to register at: `opc.tcp://host:port`.
    #[schemars(extend("examples" = ["opc.tcp://192.0.2.5:4840"]))]
    pub register_at: Option<Spanned<String>>,
    /// Most connections at a time; the oldest without a session makes room.
    #[schemars(range(min = 1, max = 1000), extend("default" = 200, "examples" = [20]))]
    pub max_connections: Option<Spanned<u32>>,
    /// Most connections of one address.
    #[schemars(range(min = 1, max = 1000), extend("default" = 50, "examples" = [5]))]
    pub max_connections_per_address: Option<Spanned<u32>>,
    /// Most sessions.
    #[schemars(range(min = 1, max = 1000), extend("default" = 100, "examples" = [10]))]
    pub max_sessions: Option<Spanned<u32>>,
}

/// What a user may do; each has what the one before has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Role {
    /// Reads.
    #[default]
    Observer,
    /// Writes tags that can be written.
    Operator,
    /// Writes the tags of `engineer-only`, too.
    Engineer,
}

impl Role {
    /// All, the least first.
    pub const ALL: [Role; 3] = [Role::Observer, Role::Operator, Role::Engineer];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Role::Observer => "observer",
            Role::Operator => "operator",
            Role::Engineer => "engineer",
        }
    }
}

/// A security policy, always sign-and-encrypt but for `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Security {
    /// No security: on loopback only.
    None,
    /// Basic256Sha256, sign-and-encrypt.
    Basic256Sha256,
    /// Aes256-Sha256-RsaPss, sign-and-encrypt.
    Aes256,
}

impl Security {
    /// The name in the configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Security::None => "none",
            Security::Basic256Sha256 => "basic256sha256",
            Security::Aes256 => "aes256",
        }
    }
}

/// Which certificates of clients are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Trust {
    /// Those that are trusted, themselves or by their authority: `fieldgate pki trust`.
    #[default]
    Required,
    /// Any that is well made and in its time: who comes, the log-in tells alone.
    Any,
}

/// Who may log in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "OpcuaUser", title = "[[publish.opcua.user]]")]
pub struct UserTable {
    /// User name.
    #[schemars(length(min = 1, max = 128), extend("examples" = ["operator"]))]
    pub name: Spanned<String>,
    /// Password; never in clear. It or `certificate`.
    #[schemars(extend("examples" = [{"file": "/etc/fieldgate/operator"}]))]
    pub password: Option<Secret>,
    /// File with the user's certificate, DER or PEM: the client shows that it has the private key.
    #[schemars(extend("examples" = ["/etc/fieldgate/operator.der"]))]
    pub certificate: Option<Spanned<PathBuf>>,
    /// What the user may do.
    #[serde(default)]
    #[schemars(extend("examples" = ["operator"]))]
    pub role: Role,
    /// As it was before there were roles; only to say what to write.
    #[schemars(skip)]
    write: Option<Spanned<bool>>,
}

/// Who may log in.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// User name.
    pub name: String,
    /// How it logs in.
    pub login: Login,
    /// What the user may do.
    pub role: Role,
}

/// With what a user shows who it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Login {
    /// A password, by reference.
    Password(Secret),
    /// The private key of the certificate in this file.
    Certificate(PathBuf),
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
    /// Which certificates of clients are accepted.
    pub trust: Trust,
    /// Host name for the endpoint's address.
    pub host: Option<String>,
    /// Tags that only an engineer may write: paths, or what they begin with up to a `*`.
    pub engineer_only: Vec<String>,
    /// Clients to dial: host and port.
    pub reverse_connect: Vec<(String, u16)>,
    /// A discovery server to register at.
    pub register_at: Option<String>,
    /// Bounds.
    pub bounds: Bounds,
}

/// How many may come at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Connections.
    pub connections: usize,
    /// Connections of one address.
    pub per_address: usize,
    /// Sessions.
    pub sessions: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { connections: 200, per_address: 50, sessions: 100 }
    }
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            listen: SocketAddr::from(([127, 0, 0, 1], 4840)),
            security: vec![Security::Basic256Sha256, Security::Aes256],
            anonymous: false,
            users: Vec::new(),
            host: None,
            trust: Trust::default(),
            engineer_only: Vec::new(),
            reverse_connect: Vec::new(),
            register_at: None,
            bounds: Bounds::default(),
        }
    }
}

const DEFAULT_LISTEN: &str = "127.0.0.1:4840";
/// How the library names clients without a user name; no user may have this name.
const RESERVED: &str = "ANONYMOUS";

/// Checks the table; all mistakes at once.
pub fn compile(config: &Config) -> Result<Spec, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let listen = match &config.listen {
        None => address(DEFAULT_LISTEN),
        Some(text) => {
            let parsed = address(text.get_ref());
            if parsed.is_none() {
                mistakes.push(Mistake::new(
                    "bad-listen",
                    text.span(),
                    format!("`{}` is no address to listen on", text.get_ref()),
                    "write an IP address and a port, as \"127.0.0.1:4840\" or \"0.0.0.0:4840\"",
                ));
            }
            parsed
        }
    };
    let security = security(config, listen, &mut mistakes);
    let anonymous = anonymous(config, &security, &mut mistakes);
    let users = users(config, &mut mistakes);
    logins(config, &security, anonymous, &mut mistakes);
    let host = config.host.as_ref().and_then(|host| host_name(host, &mut mistakes));
    let engineer_only = engineer_only(config, &mut mistakes);
    let reverse_connect = addresses::reverse_connect(config, &mut mistakes);
    let register_at = addresses::register_at(config, &mut mistakes);
    let bounds = bounds(config, &mut mistakes);
    match listen {
        Some(listen) if mistakes.is_empty() => {
            let trust = config.trust.unwrap_or_default();
            Ok(Spec {
                listen,
                security,
                anonymous,
                users,
                trust,
                host,
                engineer_only,
                reverse_connect,
                register_at,
                bounds,
            })
        }
        _ => Err(mistakes),
    }
}

/// Whether a user can have this name.
pub fn is_user_name(name: &str) -> bool {
    !name.trim().is_empty()
        && name.trim() == name
        && name.len() <= 128
        && name != RESERVED
        && !name.contains(char::is_control)
}

fn engineer_only(config: &Config, mistakes: &mut Vec<Mistake>) -> Vec<String> {
    let mut patterns = Vec::new();
    for pattern in &config.engineer_only {
        let text = pattern.get_ref();
        let path = text.strip_suffix("/*").unwrap_or(text);
        if path.is_empty() || path.contains('*') || (path == text && !path.contains('/')) {
            mistakes.push(Mistake::new(
                "bad-engineer-only",
                pattern.span(),
                format!("`{text}` names no tag"),
                "write \"device/tag\", or \"device/*\" or \"device/folder/*\" for all tags below",
            ));
        }
        patterns.push(text.strip_suffix('*').unwrap_or(text).to_owned());
    }
    patterns
}

/// Whether one of `engineer_only` means the tag of this path.
pub fn covers(pattern: &str, path: &str) -> bool {
    if pattern.ends_with('/') { path.starts_with(pattern) } else { path == pattern }
}

fn bounds(config: &Config, mistakes: &mut Vec<Mistake>) -> Bounds {
    let mut bound = |key: &str, written: &Option<Spanned<u32>>, default: usize, most: u32| match written {
        None => default,
        Some(value) => {
            if !(1..=most).contains(value.get_ref()) {
                mistakes.push(Mistake::new(
                    "out-of-range",
                    value.span(),
                    format!("`{key}` is {}", value.get_ref()),
                    format!("write 1 to {most}"),
                ));
            }
            usize::try_from(*value.get_ref()).unwrap_or(default)
        }
    };
    let default = Bounds::default();
    let connections = bound("max-connections", &config.max_connections, default.connections, 1000);
    let per_address = &config.max_connections_per_address;
    Bounds {
        connections,
        per_address: bound("max-connections-per-address", per_address, default.per_address, 1000)
            .min(connections),
        sessions: bound("max-sessions", &config.max_sessions, default.sessions, 1000),
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    // The usual name for the usual address; other names would need a resolver and could change.
    match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse().ok(),
        None => text.parse().ok(),
    }
}

/// The endpoints without repetitions.
fn security(config: &Config, listen: Option<SocketAddr>, mistakes: &mut Vec<Mistake>) -> Vec<Security> {
    let Some(written) = &config.security else {
        return vec![Security::Basic256Sha256, Security::Aes256];
    };
    if written.get_ref().is_empty() {
        mistakes.push(Mistake::new(
            "no-security",
            written.span(),
            "no endpoint is left",
            "write at least one of \"basic256sha256\", \"aes256\" and, on loopback, \"none\"",
        ));
    }
    let mut chosen = Vec::new();
    for one in written.get_ref() {
        if chosen.contains(one.get_ref()) {
            mistakes.push(Mistake::new(
                "duplicate-security",
                one.span(),
                format!("`{}` is written twice", one.get_ref().name()),
                "remove one of them",
            ));
            continue;
        }
        chosen.push(*one.get_ref());
        if let (Security::None, Some(listen)) = (one.get_ref(), listen)
            && !listen.ip().is_loopback()
        {
            mistakes.push(Mistake::new(
                "none-not-loopback",
                one.span(),
                format!("without security anybody who reaches {} could read along", listen.ip()),
                format!("remove \"none\", or listen on \"127.0.0.1:{}\"", listen.port()),
            ));
        }
    }
    chosen
}

fn anonymous(config: &Config, security: &[Security], mistakes: &mut Vec<Mistake>) -> bool {
    let Some(written) = config.anonymous.as_ref().filter(|written| *written.get_ref()) else { return false };
    if !security.contains(&Security::None) {
        mistakes.push(Mistake::new(
            "anonymous-without-none",
            written.span(),
            "clients without a user name come in through the endpoint `none` only, and it is not offered",
            "add \"none\" to `security` (on loopback), or remove `anonymous` and add a user",
        ));
    }
    true
}

fn users(config: &Config, mistakes: &mut Vec<Mistake>) -> Vec<User> {
    let mut seen = HashSet::new();
    let mut users = Vec::new();
    for user in &config.user {
        let name = user.name.get_ref();
        if !is_user_name(name) {
            mistakes.push(Mistake::new(
                "bad-user-name",
                user.name.span(),
                format!("`{name}` is no name for a user"),
                format!("write 1 to 128 characters without a space at an end; `{RESERVED}` is taken"),
            ));
        }
        if !seen.insert(name.as_str()) {
            mistakes.push(Mistake::new(
                "duplicate-user",
                user.name.span(),
                format!("there is another user `{name}`"),
                "remove or rename one of them",
            ));
        }
        if let Some(write) = &user.write {
            let role = if *write.get_ref() { Role::Operator } else { Role::Observer };
            mistakes.push(Mistake::new(
                "write-is-a-role",
                write.span(),
                "`write` of a user has become a role",
                format!("write `role = \"{}\"` in its place", role.name()),
            ));
        }
        let login = match (&user.password, &user.certificate) {
            (Some(password), None) => Login::Password(password.clone()),
            (None, Some(certificate)) => Login::Certificate(certificate.get_ref().clone()),
            (None, None) => {
                mistakes.push(Mistake::new(
                    "user-without-login",
                    user.name.span(),
                    format!("`{name}` has no password and no certificate that can be used"),
                    "add `password = { file = \"…\" }` or `certificate = \"…\"`",
                ));
                continue;
            }
            (Some(_), Some(certificate)) => {
                mistakes.push(Mistake::new(
                    "user-with-two-logins",
                    certificate.span(),
                    format!("`{name}` has a password and a certificate"),
                    "remove one of them, or make two users of it",
                ));
                continue;
            }
        };
        users.push(User { name: name.clone(), login, role: user.role });
    }
    users
}

/// Each endpoint must be able to let somebody in: users through the encrypted ones, others through `none`. Whether
/// there are users is known at run time only: `fieldgate user add` makes them.
fn logins(config: &Config, security: &[Security], anonymous: bool, mistakes: &mut Vec<Mistake>) {
    let place = |one: Security| -> Range<usize> {
        let written = config.security.as_ref();
        written
            .and_then(|list| list.get_ref().iter().find(|s| *s.get_ref() == one))
            .map_or(written.map_or(0..0, |list| list.span()), |s| s.span())
    };
    if security.contains(&Security::None) && !anonymous {
        mistakes.push(Mistake::new(
            "none-without-anonymous",
            place(Security::None),
            "nobody can log in at the endpoint `none`: a password never goes over it",
            "add `anonymous = true`, or remove \"none\"",
        ));
    }
    let encrypted = security.iter().any(|one| *one != Security::None);
    if let (false, false, Some(user)) = (security.is_empty(), encrypted, config.user.first()) {
        mistakes.push(Mistake::new(
            "user-without-endpoint",
            user.name.span(),
            "users log in at encrypted endpoints only, and none is offered",
            "add \"basic256sha256\" or \"aes256\" to `security`",
        ));
    }
}

fn host_name(host: &Spanned<String>, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let text = host.get_ref();
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if is_address || (!text.is_empty() && text.len() <= 253 && text.chars().all(name)) {
        return Some(text.clone());
    }
    mistakes.push(Mistake::new(
        "bad-host",
        host.span(),
        format!("`{text}` is no host name"),
        "write a name or an IP address without a port, as \"gateway.plant.example\"",
    ));
    None
}

#[cfg(test)]
mod tests;
