//! A host and a port as one text: `10.0.0.6:502`, `[fe80::1]:502`, with or without the port.

use std::fmt;
use std::net::Ipv6Addr;

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Target {
    /// Reads `text`; without a port it is `port`. The error says what is wrong with it.
    pub fn parse(text: &str, port: u16) -> Result<Target, String> {
        let (host, given) = if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or("the `]` is missing")?;
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(format!("`{host}` is no IPv6 address"));
            }
            match rest.strip_prefix(':') {
                None if !rest.is_empty() => return Err(format!("`{rest}` behind the `]` is no port")),
                given => (host, given),
            }
        } else {
            text.split_once(':').map_or((text, None), |(host, given)| (host, Some(given)))
        };
        if host.is_empty() {
            return Err("the host is empty".into());
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@[]".contains(c)) {
            return Err(format!("`{host}` is no host name and no IP address"));
        }
        let port = match given {
            None => port,
            Some(given) => match given.parse() {
                Ok(port) if port != 0 && given.bytes().all(|b| b.is_ascii_digit()) => port,
                _ => return Err(format!("`{given}` is no port: 1 to 65535")),
            },
        };
        Ok(Target { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out_and_ipv6_stands_in_brackets() {
        for (text, shown) in [
            ("10.0.0.6", "10.0.0.6:502"),
            ("10.0.0.6:1502", "10.0.0.6:1502"),
            ("plc.plant.example:1", "plc.plant.example:1"),
            ("[::1]:65535", "[::1]:65535"),
            ("[::1]", "[::1]:502"),
            ("fe80::1", "[fe80::1]:502"),
        ] {
            assert_eq!(Target::parse(text, 502).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_host_or_no_port_is_told() {
        for text in [
            "",
            ":502",
            "host:",
            "host:0",
            "host:65536",
            "host:+5",
            "a b",
            "tcp://host",
            "[::1",
            "[::1]502",
            "[plc]:502",
            "1:2:3",
        ] {
            assert!(Target::parse(text, 502).is_err(), "{text}");
        }
    }
}
