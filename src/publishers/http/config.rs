//! The `[publish.http]` table.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{Mistake, Spanned};

/// The page, its API and the metrics; see docs/http.md. It has no log-in, so it is on loopback only.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Http", title = "[publish.http]")]
pub struct Config {
    /// Address and port to listen on, on loopback only.
    #[schemars(extend("default" = "127.0.0.1:8080", "examples" = ["127.0.0.1:8081"]))]
    pub listen: Option<Spanned<String>>,
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// Where the page is when the file does not say.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Checks the table; all mistakes at once.
pub fn compile(config: &Config) -> Result<Spec, Vec<Mistake>> {
    let Some(listen) = &config.listen else { return Ok(Spec { listen: DEFAULT }) };
    match address(listen.get_ref()) {
        Ok(listen) => Ok(Spec { listen }),
        Err((code, message, help)) => Err(vec![Mistake::new(code, listen.span(), message, help)]),
    }
}

fn address(text: &str) -> Result<SocketAddr, (&'static str, String, String)> {
    // The usual name for the usual address; other names would need a resolver and could change.
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let Ok(address) = numeric.parse::<SocketAddr>() else {
        return Err((
            "bad-listen",
            format!("`{text}` is no address to listen on"),
            "write an IP address and a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"".into(),
        ));
    };
    if !address.ip().is_loopback() {
        return Err((
            "not-loopback",
            format!("the page has no log-in, so it cannot listen on {}", address.ip()),
            format!(
                "listen on \"127.0.0.1:{}\" and reach it through an SSH tunnel or a reverse proxy with a log-in",
                address.port()
            ),
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(listen: &str) -> Result<Spec, Vec<Mistake>> {
        compile(&toml::from_str(&format!("listen = \"{listen}\"")).unwrap())
    }

    #[test]
    fn the_page_listens_on_loopback_only() {
        for good in ["127.0.0.1:8080", "127.0.0.2:0", "[::1]:80", "localhost:9000"] {
            assert!(compiled(good).unwrap().listen.ip().is_loopback(), "{good}");
        }
        for open in ["0.0.0.0:8080", "[::]:8080", "192.168.1.5:80"] {
            assert_eq!(compiled(open).unwrap_err()[0].code, "not-loopback", "{open}");
        }
    }

    #[test]
    fn a_listen_address_has_an_ip_and_a_port() {
        for bad in ["8080", "127.0.0.1", "gateway:8080", "localhost:99999", ""] {
            let mistakes = compiled(bad).unwrap_err();
            assert_eq!(mistakes[0].code, "bad-listen", "{bad}");
            assert_eq!(mistakes[0].span, 9..11 + bad.len(), "{bad}");
        }
    }

    #[test]
    fn without_a_listen_key_the_page_is_on_8080() {
        let config: Config = toml::from_str("").unwrap();
        assert_eq!(compile(&config).unwrap().listen.to_string(), "127.0.0.1:8080");
    }
}
