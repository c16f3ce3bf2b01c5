//! `modbus-tcp://host:502/3/holding:40`: a register by its whole way, without a configuration file.

use std::str::FromStr;

use toml::{Table, Value};

/// A register of a unit on a link, as an address line of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The table under `[[link.…]]` that the scheme names.
    kind: String,
    /// Its keys.
    link: Table,
    /// The unit.
    unit: u8,
    /// The address, as in a tag's `at`.
    pub(super) at: String,
}

const HELP: &str = "write modbus-tcp://HOST[:PORT]/UNIT/ADDRESS, as modbus-tcp://10.0.0.5/3/holding:40, \
                    or modbus-rtu:///dev/ttyUSB0/UNIT/ADDRESS?baud=19200&parity=even";

/// Whether this is an address line and no file.
pub fn is_target(text: &str) -> bool {
    text.contains("://")
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let wrong = |why: &str| format!("`{text}`: {why}; {HELP}");
        let (kind, rest) = text.split_once("://").ok_or_else(|| wrong("there is no scheme"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, at) = place.rsplit_once('/').ok_or_else(|| wrong("there is no unit and address"))?;
        let (place, unit) = place.rsplit_once('/').ok_or_else(|| wrong("there is no unit and address"))?;
        let unit = unit.parse().map_err(|_| wrong("the unit is no number from 0 to 255"))?;
        let mut link = Table::new();
        if place.starts_with('/') {
            link.insert("port".into(), Value::String(place.to_owned()));
        } else {
            let (host, port) = host_and_port(place).map_err(|why| wrong(&why))?;
            link.insert("host".into(), Value::String(host));
            if let Some(port) = port {
                link.insert("port".into(), Value::Integer(port.into()));
            }
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| wrong("a `?key` has no `=value`"))?;
            if matches!(key, "name" | "host") || link.contains_key(key) {
                return Err(wrong(&format!("`{key}` does not belong behind the `?`")));
            }
            link.insert(key.to_owned(), scalar(value));
        }
        Ok(Target { kind: kind.to_owned(), link, unit, at: at.to_owned() })
    }
}

/// `host`, `host:502`, `[::1]:502`.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => {
                (host, Some(port.strip_prefix(':').ok_or("there is no `:` before the port")?))
            }
            None => return Err("the `[` is not closed".into()),
        },
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address is written in brackets, as [::1]:502".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("there is no host".into());
    }
    match port.map(str::parse).transpose() {
        Ok(Some(0)) | Err(_) => Err("the port is no number from 1 to 65535".into()),
        Ok(port) => Ok((host.to_owned(), port)),
    }
}

/// As TOML would read it; what is no number and no boolean is a text.
fn scalar(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::Integer(number);
    }
    match text {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        _ => Value::String(text.to_owned()),
    }
}

impl Target {
    /// The configuration file with this device, these tags and more keys of the device, as if somebody had written it: so an address
    /// line is checked, compiled and read exactly as a file is.
    pub fn file(&self, tags: Table, keys: Table) -> String {
        let text = |text: &str| Value::String(text.to_owned());
        let node = Table::from_iter([("group".into(), text("cli")), ("name".into(), text("cli"))]);
        let mut link = self.link.clone();
        link.insert("name".into(), text("link"));
        let links = Table::from_iter([(self.kind.clone(), Value::Array(vec![Value::Table(link)]))]);
        let mut device = Table::from_iter([
            ("name".into(), text("device")),
            ("link".into(), text("link")),
            ("unit".into(), Value::Integer(self.unit.into())),
            ("tag".into(), Value::Table(tags)),
        ]);
        device.extend(keys);
        let file = Table::from_iter([
            ("node".into(), Value::Table(node)),
            ("system".into(), Value::Table(Table::from_iter([("enabled".into(), Value::Boolean(false))]))),
            ("link".into(), Value::Table(links)),
            ("device".into(), Value::Array(vec![Value::Table(device)])),
        ]);
        file.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_behind_a_host_and_one_behind_a_port_are_understood() {
        let tcp: Target = "modbus-tcp://10.0.0.5:1502/3/holding:40?timeout=300ms".parse().unwrap();
        assert_eq!((tcp.kind.as_str(), tcp.unit, tcp.at.as_str()), ("modbus-tcp", 3, "holding:40"));
        assert_eq!(tcp.link.get("host"), Some(&Value::String("10.0.0.5".into())));
        assert_eq!(tcp.link.get("port"), Some(&Value::Integer(1502)));
        assert_eq!(tcp.link.get("timeout"), Some(&Value::String("300ms".into())));
        let rtu: Target = "modbus-rtu:///dev/ttyUSB0/247/40041?baud=9600&parity=none".parse().unwrap();
        assert_eq!((rtu.unit, rtu.at.as_str()), (247, "40041"));
        assert_eq!(rtu.link.get("port"), Some(&Value::String("/dev/ttyUSB0".into())));
        assert_eq!(rtu.link.get("baud"), Some(&Value::Integer(9600)));
    }

    #[test]
    fn what_is_no_address_line_is_told_with_how_to_write_one() {
        for bad in [
            "modbus-tcp://",
            "modbus-tcp://host",
            "modbus-tcp://host/3",
            "modbus-tcp:///3/holding:40",
            "modbus-tcp://host/300/holding:40",
            "modbus-tcp://host:0/3/holding:40",
            "modbus-tcp://host:99999/3/holding:40",
            "modbus-tcp://::1/3/holding:40",
            "modbus-tcp://[::1/3/holding:40",
            "modbus-tcp://host/3/holding:40?timeout",
            "modbus-tcp://host:502/3/holding:40?port=7",
        ] {
            let error = bad.parse::<Target>().map(|t| t.file(Table::new(), Table::new()));
            assert!(error.as_ref().is_err_and(|e| e.contains("modbus-rtu:///")), "{bad}: {error:?}");
        }
    }

    #[test]
    fn ipv6_needs_its_brackets() {
        assert_eq!(host_and_port("[fe80::1]:502"), Ok(("fe80::1".into(), Some(502))));
        assert_eq!(host_and_port("[::1]"), Ok(("::1".into(), None)));
    }
}
