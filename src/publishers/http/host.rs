//! Which `Host` headers are answered.
//!
//! The page listens on loopback and has no log-in. A web site could let its own name resolve to
//! 127.0.0.1 and then read the page with the visitor's browser (DNS rebinding); the browser would
//! send that name as `Host`, so only the names of loopback are answered.

use std::net::IpAddr;

/// Whether a `Host` header (with or without port) names this machine's loopback.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || is_port(port) => address,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_loopback_are_answered() {
        // Any port: a tunnel may bring the page to another one.
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.5:8080",
            "[::2]:8080",
            "[::1",
            "[::1]x",
            "localhost:x",
            "user@localhost",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
