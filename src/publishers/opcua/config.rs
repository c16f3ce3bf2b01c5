//! The `[publish.opcua]` table.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::Range;

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
    pub user: Vec<UserTable>,
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

/// `[[publish.opcua.user]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UserTable {
    /// User name.
    pub name: Spanned<String>,
    /// Password, by reference.
    pub password: Secret,
    /// May write tags that can be written. Default false.
    #[serde(default)]
    pub write: bool,
}

/// Who may log in.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// User name.
    pub name: String,
    /// Password, by reference.
    pub password: Secret,
    /// May write tags that can be written.
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
    match listen {
        Some(listen) if mistakes.is_empty() => Ok(Spec { listen, security, anonymous, users, host }),
        _ => Err(mistakes),
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
        if name.trim().is_empty() || name.trim() != name || name.len() > 128 || name == RESERVED {
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
        users.push(User { name: name.clone(), password: user.password.clone(), write: user.write });
    }
    users
}

/// Every endpoint must let somebody in: users through the encrypted ones, others through `none`.
fn logins(config: &Config, security: &[Security], anonymous: bool, mistakes: &mut Vec<Mistake>) {
    let place = |one: Security| -> Range<usize> {
        let written = config.security.as_ref();
        written
            .and_then(|list| list.get_ref().iter().find(|s| *s.get_ref() == one))
            .map_or(written.map_or(0..0, |list| list.span()), |s| s.span())
    };
    let encrypted = security.iter().find(|one| **one != Security::None);
    if config.user.is_empty() && !anonymous {
        mistakes.push(Mistake::new(
            "no-login",
            config.security.as_ref().map_or(0..0, |list| list.span()),
            "nobody can log in: there is no user, and `anonymous` is not set",
            "add a [[publish.opcua.user]] with a name and a password; on loopback `security = [\"none\"]` with `anonymous = true` works, too",
        ));
    } else if let (true, Some(one)) = (config.user.is_empty(), encrypted) {
        mistakes.push(Mistake::new(
            "endpoint-without-user",
            place(*one),
            format!("nobody can log in at the endpoint `{}`: it needs a user", one.name()),
            "add a [[publish.opcua.user]], or write `security = [\"none\"]`",
        ));
    } else if security.contains(&Security::None) && !anonymous {
        mistakes.push(Mistake::new(
            "none-without-anonymous",
            place(Security::None),
            "nobody can log in at the endpoint `none`: a password never goes over it",
            "add `anonymous = true`, or remove \"none\"",
        ));
    }
    if let (false, None, Some(user)) = (security.is_empty(), encrypted, config.user.first()) {
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
mod tests {
    use super::*;

    const USER: &str = "[[user]]\nname = \"op\"\npassword = { env = \"P\" }\n";

    fn compiled(text: &str) -> Result<Spec, Vec<Mistake>> {
        compile(&toml::from_str(text).unwrap())
    }

    /// The codes of all mistakes, each with the text that it points at.
    fn mistakes(text: &str) -> Vec<(&'static str, &str)> {
        compiled(text).unwrap_err().iter().map(|m| (m.code, &text[m.span.clone()])).collect()
    }

    #[test]
    fn the_defaults_are_loopback_and_two_encrypted_endpoints() {
        let spec = compiled(USER).unwrap();
        assert_eq!(spec.listen.to_string(), "127.0.0.1:4840");
        assert_eq!(spec.security, [Security::Basic256Sha256, Security::Aes256]);
        assert!(!spec.anonymous && !spec.users[0].write);
    }

    #[test]
    fn anonymous_over_none_on_loopback_needs_no_user() {
        let spec = compiled("listen = \"localhost:0\"\nsecurity = [\"none\"]\nanonymous = true").unwrap();
        assert_eq!((spec.listen.port(), spec.security.len(), spec.anonymous), (0, 1, true));
    }

    #[test]
    fn an_address_has_an_ip_and_a_port() {
        for bad in ["4840", "127.0.0.1", "gateway:4840", "localhost:99999", ""] {
            let text = format!("listen = \"{bad}\"\n{USER}");
            assert_eq!(mistakes(&text), [("bad-listen", format!("\"{bad}\"").as_str())]);
        }
        assert!(compiled(&format!("listen = \"0.0.0.0:4840\"\n{USER}")).is_ok());
    }

    #[test]
    fn without_security_only_loopback_may_be_listened_on() {
        let text =
            format!("listen = \"0.0.0.0:4840\"\nsecurity = [\"aes256\", \"none\"]\nanonymous = true\n{USER}");
        assert_eq!(mistakes(&text), [("none-not-loopback", "\"none\"")]);
    }

    #[test]
    fn a_list_of_endpoints_is_not_empty_and_names_none_twice() {
        assert_eq!(mistakes(&format!("security = []\n{USER}")), [("no-security", "[]")]);
        let text = format!("security = [\"aes256\", \"aes256\"]\n{USER}");
        assert_eq!(mistakes(&text), [("duplicate-security", "\"aes256\"")]);
    }

    #[test]
    fn anonymous_goes_with_none_and_none_with_anonymous() {
        assert_eq!(mistakes(&format!("anonymous = true\n{USER}")), [("anonymous-without-none", "true")]);
        let text = format!("security = [\"none\", \"aes256\"]\n{USER}");
        assert_eq!(mistakes(&text), [("none-without-anonymous", "\"none\"")]);
    }

    #[test]
    fn every_endpoint_lets_somebody_in() {
        assert_eq!(mistakes("security = [\"aes256\"]"), [("no-login", "[\"aes256\"]")]);
        assert_eq!(mistakes(""), [("no-login", "")]);
        let text = "security = [\"none\", \"aes256\"]\nanonymous = true";
        assert_eq!(mistakes(text), [("endpoint-without-user", "\"aes256\"")]);
        let text = format!("security = [\"none\"]\nanonymous = true\n{USER}");
        assert_eq!(mistakes(&text), [("user-without-endpoint", "\"op\"")]);
    }

    #[test]
    fn users_have_names_of_their_own() {
        let text = format!("{USER}{USER}");
        assert_eq!(mistakes(&text), [("duplicate-user", "\"op\"")]);
        for bad in ["", " op", "ANONYMOUS"] {
            let text = USER.replace("\"op\"", &format!("\"{bad}\""));
            assert_eq!(mistakes(&text), [("bad-user-name", format!("\"{bad}\"").as_str())]);
        }
    }

    #[test]
    fn a_host_is_a_name_without_a_port() {
        assert_eq!(mistakes(&format!("host = \"gw:4840\"\n{USER}")), [("bad-host", "\"gw:4840\"")]);
        assert!(compiled(&format!("host = \"::1\"\n{USER}")).is_ok());
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let text =
            "listen = \"x\"\nsecurity = []\nhost = \"\"\n[[user]]\nname = \"\"\npassword = { env = \"P\" }\n";
        let codes: Vec<_> = mistakes(text).iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["bad-listen", "no-security", "bad-user-name", "bad-host"]);
    }
}
