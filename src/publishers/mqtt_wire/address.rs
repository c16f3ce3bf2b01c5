//! The address of a broker.

use std::fmt;

/// Where a broker is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Over TLS.
    pub tls: bool,
    /// Over websockets, with this path.
    pub path: Option<String>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.path.is_some(), self.tls) {
            (false, false) => "mqtt",
            (false, true) => "mqtts",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        let path = self.path.as_deref().unwrap_or_default();
        write!(f, "{scheme}://{}:{}{path}", self.host, self.port)
    }
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Code of the mistake.
    pub code: &'static str,
    /// What is so.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Address {
    /// Reads `mqtt://host:port` or `mqtts://host:port`, or `ws://host:port/path` or `wss://host:port/path`.
    pub fn parse(text: &str) -> Result<Address, Wrong> {
        let example =
            || "write \"mqtt://host:1883\", \"mqtts://host:8883\" or \"wss://host/mqtt\"".to_owned();
        let wrong = |message: String, help: String| Err(Wrong { code: "bad-broker", message, help });
        let url = match url::Url::parse(text) {
            Ok(url) => url,
            Err(error) => return wrong(format!("`{text}` is no broker address: {error}"), example()),
        };
        let (tls, websocket, usual) = match url.scheme() {
            "mqtt" => (false, false, 1883),
            "mqtts" => (true, false, 8883),
            "ws" => (false, true, 80),
            "wss" => (true, true, 443),
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
        if !websocket && !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some()
        {
            return wrong(format!("`{text}` goes on after the port"), example());
        }
        if url.port() == Some(0) {
            return wrong("port 0 cannot be reached".into(), example());
        }
        if tls && !cfg!(feature = "tls") {
            return Err(Wrong {
                code: "no-tls",
                message: "this program was built without TLS, so it cannot encrypt".into(),
                help: "use a build with the feature `tls`".into(),
            });
        }
        if websocket && !cfg!(feature = "websocket") {
            return Err(Wrong {
                code: "no-websocket",
                message: "this program was built without websockets".into(),
                help: "use a build with the feature `websocket`, or mqtt:// or mqtts://".into(),
            });
        }
        let path = websocket.then(|| url.path().to_owned());
        Ok(Address { host: host.to_owned(), port: url.port().unwrap_or(usual), tls, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "ftp://scada",
            "wss://scada/mqtt?signature=secret",
        ] {
            assert_eq!(Address::parse(bad).unwrap_err().code, "bad-broker", "{bad}");
        }
    }

    #[test]
    fn a_port_that_is_not_written_is_the_usual_one() {
        assert_eq!(Address::parse("mqtt://scada").unwrap().to_string(), "mqtt://scada:1883");
        #[cfg(feature = "tls")]
        assert_eq!(Address::parse("mqtts://scada").unwrap().to_string(), "mqtts://scada:8883");
        #[cfg(feature = "websocket")]
        for (written, meant) in [
            ("ws://scada/mqtt", "ws://scada:80/mqtt"),
            ("wss://scada/mqtt", "wss://scada:443/mqtt"),
            ("ws://scada:9001", "ws://scada:9001/"),
        ] {
            assert_eq!(Address::parse(written).unwrap().to_string(), meant);
        }
    }
}
