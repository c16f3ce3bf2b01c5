//! The `[[publish.sparkplug]]` table.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::model::{Mistake, Period, Secret, Size};
use crate::store::options::OutboxTable;

use super::form::Form;
use super::payload::Algorithm;

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
    /// How payloads are made up.
    pub form: Form,
}

/// MQTT keep-alive when the file does not say.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Packet limit when the file does not say.
const MAX_PACKET: usize = 1 << 20;
/// Largest client id; the specification of MQTT 3.1.1 allows 65,535 bytes, no broker wants so many.
const MAX_CLIENT_ID: usize = 256;

/// Checks the table; all mistakes at once.
pub fn compile(config: &Config) -> Result<Spec, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let span = config.broker.span();
    let (host, port, tls) = match address(config.broker.get_ref()) {
        Ok(address) => address,
        Err(Wrong(code, message, help)) => {
            mistakes.push(Mistake::new(code, span.clone(), message, help));
            (String::new(), 0, false)
        }
    };
    if config.ca.is_some() && !tls && !host.is_empty() {
        mistakes.push(Mistake::new(
            "ca-without-tls",
            span.clone(),
            "`ca` names an authority to trust, but mqtt:// is not encrypted",
            "write `mqtts://` for the broker, or leave `ca` out",
        ));
    }
    if config.password.is_some() && config.username.is_none() {
        mistakes.push(Mistake::new(
            "password-without-username",
            span,
            "there is a `password` but no `username`; MQTT 3.1.1 sends none without the other",
            "add `username`, or leave `password` out",
        ));
    }
    if let Some(id) = &config.client_id {
        let text = id.get_ref();
        if text.is_empty() || text.len() > MAX_CLIENT_ID || text.chars().any(char::is_control) {
            mistakes.push(Mistake::new(
                "bad-client-id",
                id.span(),
                "the client id is empty, too long or holds control characters",
                format!("write 1 to {MAX_CLIENT_ID} bytes of text; each client of a broker needs its own"),
            ));
        }
    }
    let mut period =
        |key: &str, value: &Option<Spanned<Period>>, default, least: Duration, most: Duration| {
            let Some(value) = value else { return default };
            let period = value.get_ref().0;
            if period < least || period > most {
                mistakes.push(Mistake::new(
                    "out-of-range",
                    value.span(),
                    format!("`{key}` is {period:?}"),
                    format!("write a duration from {least:?} to {most:?}"),
                ));
            }
            period
        };
    let keep_alive = period(
        "keep-alive",
        &config.keep_alive,
        KEEP_ALIVE,
        Duration::from_secs(5),
        Duration::from_secs(18 * 3600),
    );
    let max_delay =
        period("max-delay", &config.max_delay, Duration::ZERO, Duration::ZERO, Duration::from_secs(60));
    let max_packet = match &config.max_packet {
        None => MAX_PACKET,
        Some(size) if (1 << 10..=256 << 20).contains(&size.get_ref().0) => {
            usize::try_from(size.get_ref().0).unwrap_or(MAX_PACKET)
        }
        Some(size) => {
            mistakes.push(Mistake::new(
                "out-of-range",
                size.span(),
                format!("`max-packet` is {} bytes", size.get_ref().0),
                "write a size from \"1KiB\" to \"256MiB\", the largest packet of MQTT",
            ));
            MAX_PACKET
        }
    };
    let form = form(config, max_packet, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Spec {
        host,
        port,
        tls,
        ca: config.ca.clone(),
        client_id: config.client_id.as_ref().map(|id| id.get_ref().clone()),
        username: config.username.clone(),
        password: config.password.clone(),
        keep_alive,
        max_delay,
        max_packet,
        form,
    })
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

/// Code, message, help.
struct Wrong(&'static str, String, String);

/// Host, port, TLS.
fn address(text: &str) -> Result<(String, u16, bool), Wrong> {
    let example = || "write \"mqtt://host:1883\" or \"mqtts://host:8883\"".to_owned();
    let wrong = |message: String, help: String| Err(Wrong("bad-broker", message, help));
    let url = match url::Url::parse(text) {
        Ok(url) => url,
        Err(error) => return wrong(format!("`{text}` is no broker address: {error}"), example()),
    };
    let tls = match url.scheme() {
        "mqtt" => false,
        "mqtts" => true,
        other => return wrong(format!("the scheme `{other}://` is not known"), example()),
    };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return wrong(format!("`{text}` names no host"), example());
    };
    if !url.username().is_empty() || url.password().is_some() {
        return wrong(
            "user name and password do not belong into the address".into(),
            "use `username` and `password = { file = \"…\" }`".into(),
        );
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return wrong(format!("`{text}` goes on after the port"), example());
    }
    if url.port() == Some(0) {
        return wrong("port 0 cannot be reached".into(), example());
    }
    if tls && !cfg!(feature = "tls") {
        return Err(Wrong(
            "no-tls",
            "this program was built without TLS, so mqtts:// is not possible".into(),
            "use a build with the feature `tls`".into(),
        ));
    }
    Ok((host.to_owned(), url.port().unwrap_or(if tls { 8883 } else { 1883 }), tls))
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
        assert_eq!((spec.host.as_str(), spec.port, spec.tls), ("127.0.0.1", 1884, false));
        assert_eq!(
            (spec.keep_alive, spec.max_delay, spec.max_packet),
            (KEEP_ALIVE, Duration::ZERO, MAX_PACKET)
        );
        assert_eq!(compiled("broker = \"mqtt://scada\"").unwrap().port, 1883);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn mqtts_has_its_own_port() {
        let spec = compiled("broker = \"mqtts://scada\"\nca = \"/ca.pem\"").unwrap();
        assert_eq!((spec.port, spec.tls), (8883, true));
    }

    #[test]
    fn a_broker_address_has_a_known_scheme_a_host_and_a_port() {
        for bad in [
            "",
            "scada",
            "scada:1883",
            "http://scada",
            "mqtt://",
            "mqtt://scada:99999",
            "mqtt://scada:0",
            "mqtt://me:pw@scada",
            "mqtt://scada/topic",
        ] {
            assert_eq!(codes(&format!("broker = \"{bad}\"")), ["bad-broker"], "{bad}");
        }
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
}
