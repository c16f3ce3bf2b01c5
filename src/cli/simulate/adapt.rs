//! A copy of a configuration file that finds its devices in a simulation: the text, changed in few places.

use crate::model::Spanned;
use std::ops::Range;
use std::path::Path;

use crate::config::{self, Config};
use crate::simulate::plant::Endpoint;

/// What must be elsewhere.
pub(super) struct Places<'a> {
    /// Where the devices of a link are.
    pub(super) endpoint: &'a dyn Fn(&str) -> Option<Endpoint>,
    /// The folder of the file, where the copy lies in another one: what the file includes is found from there.
    pub(super) folder: Option<&'a Path>,
    /// The publishers and the store stay as they are.
    pub(super) keep_north: bool,
}

/// The text of the copy; an error says what stands in the way.
pub(super) fn adapt(text: &str, config: &Config, places: &Places<'_>) -> Result<String, String> {
    let mut edits = Vec::new();
    for link in config.link.modbus_tcp.iter().map(Spanned::get_ref) {
        let Some(Endpoint::Tcp(address)) = (places.endpoint)(link.name.get_ref()) else { continue };
        // Who waits for a modem to dial in has no host; nobody dials.
        let Some(old) = &link.host else { continue };
        let host = quoted(&address.ip().to_string());
        match &link.port {
            Some(port) => {
                edits.push((old.span(), host));
                edits.push((port.span(), address.port().to_string()));
            }
            None => {
                // A line of its own, where the table is not written in one line.
                let rest = text.get(old.span().end..).unwrap_or_default();
                let rest = rest.lines().next().unwrap_or_default().trim_start();
                let between = if rest.is_empty() || rest.starts_with('#') { "\n" } else { ", " };
                edits.push((old.span(), format!("{host}{between}port = {}", address.port())));
            }
        }
        // A real device must not be asked where the simulated one is silent; and it does not speak TLS.
        let backup = link.backup.as_ref().map(|b| ("backup", b.span()));
        for (key, value) in backup.into_iter().chain(link.tls.as_ref().map(|t| ("tls", t.span()))) {
            edits.extend(key_of(text, key, &value).map(|start| (start..value.end, String::new())));
        }
    }
    let serial = config.link.modbus_rtu.iter().chain(&config.link.modbus_ascii);
    for link in serial.map(Spanned::get_ref) {
        if let Some(Endpoint::Serial(path)) = (places.endpoint)(link.name.get_ref()) {
            edits.push((link.port.span(), quoted(&path.display().to_string())));
        }
    }
    if let Some(folder) = places.folder {
        let lists = config.device.iter().filter_map(|device| device.get_ref().tags.as_ref());
        for included in config.profiles.iter().chain(lists) {
            edits.push((included.span(), quoted(&folder.join(included.get_ref()).display().to_string())));
        }
    }
    let copy = edited(text, edits).ok_or("the file cannot be changed in place")?;
    let copy = if places.keep_north {
        copy
    } else {
        without(&copy, &["publish.sparkplug", "publish.mqtt", "publish.opcua", "store"])
    };
    check(&copy, places)?;
    Ok(copy)
}

/// The text with other text in these places.
fn edited(text: &str, mut edits: Vec<(Range<usize>, String)>) -> Option<String> {
    edits.sort_by_key(|(place, _)| place.start);
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (place, new) in edits {
        out.push_str(text.get(from..place.start)?);
        out.push_str(&new);
        from = place.end;
    }
    out.push_str(text.get(from..)?);
    Some(out)
}

/// Where the key of a value begins.
fn key_of(text: &str, key: &str, value: &Range<usize>) -> Option<usize> {
    let before = text.get(..value.start)?.trim_end().strip_suffix('=')?.trim_end();
    before.strip_suffix(key).map(str::len)
}

/// A text as TOML writes it: JSON's escapes are TOML's, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text without the tables of these names and all below them.
fn without(text: &str, names: &[&str]) -> String {
    let mut left_out = false;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if let Some(header) = header(line) {
            let plain = |part: &str| part.trim().trim_matches(['"', '\'']).to_owned();
            let header = header.split('.').map(plain).collect::<Vec<_>>().join(".") + ".";
            left_out = names.iter().any(|name| header.starts_with(&format!("{name}.")));
        }
        if !left_out {
            out.push_str(line);
        }
    }
    out
}

/// The name of the table that begins with this line.
fn header(line: &str) -> Option<&str> {
    let line = line.trim();
    let inner = line.strip_prefix("[[").or_else(|| line.strip_prefix('['))?;
    let (name, rest) = inner.split_once(']')?;
    let rest = rest.strip_prefix(']').unwrap_or(rest).trim();
    let starts_well = name.trim().starts_with(|c: char| c.is_alphabetic() || c == '"' || c == '\'');
    (starts_well && (rest.is_empty() || rest.starts_with('#'))).then_some(name.trim())
}

/// What was to be changed is changed, however the file is written.
fn check(copy: &str, places: &Places<'_>) -> Result<(), String> {
    let loaded = config::load(copy);
    let Some(config) = loaded.config.filter(|_| loaded.mistakes.is_empty()) else {
        return Err(
            "the file cannot be changed in place: write links, [publish.…] and [store] as tables of \
                    their own, not within braces"
                .into(),
        );
    };
    let links = || config.link.modbus_tcp.iter().map(Spanned::get_ref).filter(|link| link.host.is_some());
    if links().any(|link| link.backup.is_some() || link.tls.is_some()) {
        return Err("`backup` and `tls` cannot be left out: write each on a line of its own".into());
    }
    let north = &config.publish;
    let goes_north = !north.sparkplug.is_empty()
        || !north.mqtt.is_empty()
        || north.opcua.is_some()
        || config.store.path.is_some();
    if goes_north && !places.keep_north {
        return Err(
            "its publishers and store cannot be left out: write them as tables, as [publish.opcua]".into()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
profiles = ["meters/*.toml"]
[node]
group = "g"
name = "n"
[[link.modbus-tcp]]
name = "a" # the first
host = "10.0.0.1"   # no port
timeout = "1s"
[[link.modbus-tcp]]
name = "b"
port = 1502
host = "10.0.0.2"
backup = "10.0.0.3"
[[link.modbus-rtu]]
name = "c"
port = "/dev/ttyS0"
[store]
path = "/var/lib/x"
[[device]]
name = "d"
link = "c"
tags = "tags.csv"
[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://scada.example"
[publish.http]
listen = "127.0.0.1:1"
[system]
enabled = false
"#;

    fn endpoint(link: &str) -> Option<Endpoint> {
        match link {
            "a" => Some(Endpoint::Tcp(([127, 0, 0, 1], 5001).into())),
            "b" => Some(Endpoint::Tcp(([127, 0, 0, 1], 5002).into())),
            _ => Some(Endpoint::Serial("/dev/pts/7".into())),
        }
    }

    fn copy(keep_north: bool) -> String {
        let config = config::load(FILE).config.unwrap();
        let places = Places { endpoint: &endpoint, folder: Some(Path::new("/etc/x")), keep_north };
        adapt(FILE, &config, &places).unwrap()
    }

    #[test]
    fn only_places_change_and_nothing_goes_north() {
        let copy = copy(false);
        assert!(
            copy.contains("name = \"a\" # the first\nhost = \"127.0.0.1\"\nport = 5001   # no port\n"),
            "{copy}"
        );
        assert!(copy.contains("port = 5002\nhost = \"127.0.0.1\"\n\n[["), "{copy}");
        assert!(copy.contains("port = \"/dev/pts/7\"\n[[device]]"), "{copy}");
        assert!(copy.contains("profiles = [\"/etc/x/meters/*.toml\"]"), "{copy}");
        assert!(copy.contains("tags = \"/etc/x/tags.csv\"\n[publish.http]\n"), "{copy}");
        assert!(copy.ends_with("[system]\nenabled = false\n"), "{copy}");
        assert!(!copy.contains("sparkplug") && !copy.contains("/var/lib"), "{copy}");
    }

    #[test]
    fn publishers_and_store_stay_where_that_is_wished() {
        let copy = copy(true);
        assert!(copy.contains("broker = \"mqtt://scada.example\"") && copy.contains("/var/lib/x"), "{copy}");
    }

    #[test]
    fn publishers_that_cannot_be_left_out_are_told() {
        let text =
            "publish = { opcua = { listen = \"127.0.0.1:1\" } }\nnode = { group = \"g\", name = \"n\" }\n";
        let config = config::load(text).config.unwrap();
        let places = Places { endpoint: &endpoint, folder: None, keep_north: false };
        assert!(adapt(text, &config, &places).unwrap_err().contains("cannot be left out"));
    }
}
