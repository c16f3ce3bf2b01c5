//! The floors of the house: who may import whom, and which file alone names a protocol crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Room → what it may import. A room is a folder or file of `src`; itself is always allowed.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("telemetry", &["model"]),
    ("tls", &[]),
    ("notify", &[]),
    ("drivers", &["model", "telemetry", "tls"]),
    ("normalize", &["model", "telemetry"]),
    ("store", &["model", "telemetry"]),
    ("command", &["model", "telemetry"]),
    ("status", &["model", "telemetry", "store"]),
    ("poll", &["model", "telemetry", "drivers", "normalize", "store", "command"]),
    ("publishers", &["model", "telemetry", "tls", "store", "command", "status"]),
    // The TOML as data: of drivers and publishers only their config types.
    (
        "config",
        &[
            "model",
            "drivers::modbus::config",
            "publishers::*::config",
            "store::options",
            "store::Options",
            "store::Durability",
            "store::Replay",
            "store::WhenFull",
        ],
    ),
    (
        "plan",
        &["model", "telemetry", "drivers", "normalize", "store", "command", "poll", "publishers", "config"],
    ),
    ("supervisor", &["model", "telemetry", "notify", "store", "command", "poll", "publishers", "plan"]),
    ("simulate", &["model", "telemetry", "drivers", "normalize", "config", "plan"]),
    ("cli", &["*"]),
    ("main", &["cli"]),
    ("reference", &[]),
    ("lib", &[]),
];

/// A third-party crate that is one room's own business, and the only files that may name it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("rumqttc", &["publishers/mqtt_wire/"]),
    ("opcua::server", &["publishers/opcua/server"]),
    ("opcua::types", &["publishers/opcua/server"]),
    ("opcua::crypto", &["publishers/opcua/server"]),
    ("argon2", &["publishers/opcua/users/hash.rs"]),
    ("x509_cert", &["publishers/opcua/pki/x509.rs"]),
    ("rsa", &["publishers/opcua/pki/x509.rs"]),
    ("sha1", &["publishers/opcua/pki/x509.rs"]),
    ("sled", &["store/spool.rs"]),
    ("prost", &["publishers/sparkplug/payload"]),
    ("flate2", &["publishers/sparkplug/payload/compressed.rs"]),
    ("axum", &["publishers/http/server.rs"]),
    ("prometheus_client", &["publishers/http/metrics.rs"]),
    ("serial2", &["drivers/modbus/rs485.rs"]),
    ("tokio_rustls", &["drivers/modbus/tls.rs"]),
    ("sd_notify", &["notify.rs"]),
    ("annotate_snippets", &["plan/diagnostic.rs"]),
    ("clap", &["cli/"]),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&root).unwrap().to_path_buf(), text)
    };
    found.into_iter().map(read).collect()
}

/// The code without comments and without its test module.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
    text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Every path below `crate::` that a file names, groups in braces opened.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        open(&code[at + "crate::".len()..], String::new(), &mut found);
    }
    found
}

/// Reads one path from the start of `text`; gives the rest behind it.
fn open<'a>(text: &'a str, mut path: String, found: &mut BTreeSet<String>) -> &'a str {
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        path.push_str(&rest[..end]);
        rest = &rest[end..];
        let group = if path.is_empty() { rest.strip_prefix('{') } else { rest.strip_prefix("::{") };
        if let Some(after) = group {
            rest = after;
            while !rest.starts_with('}') && !rest.is_empty() {
                rest = rest.trim_start();
                if rest.starts_with('}') {
                    break;
                }
                let before = rest.len();
                let inner = if path.is_empty() { String::new() } else { format!("{path}::") };
                rest = open(rest, inner, found);
                rest = rest.trim_start().trim_start_matches(',').trim_start();
                if rest.len() == before {
                    rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
                }
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        match rest.strip_prefix("::") {
            Some(after) if after.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                path.push_str("::");
                rest = after;
            }
            _ => {
                found.insert(path);
                return rest;
            }
        }
    }
}

fn matches(rule: &str, path: &str) -> bool {
    let (mut rule, mut path) = (rule.split("::"), path.split("::"));
    loop {
        match (rule.next(), path.next()) {
            (None, _) => return true,
            (Some("*"), Some(_)) => {}
            (Some(r), Some(p)) if r == p => {}
            _ => return false,
        }
    }
}

fn room(file: &Path) -> String {
    let first = file.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn each_room_imports_only_what_its_floor_allows() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let room = room(&file);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: the room `{room}` has no floor", file.display()));
            continue;
        };
        for path in imports(&code(&text)) {
            let first = path.split("::").next().unwrap_or("");
            if first != room && !allowed.iter().any(|rule| matches(rule, &path)) {
                wrong.push(format!("{}: imports crate::{path}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that the floors forbid:\n{}", wrong.join("\n"));
}

#[test]
fn one_driver_or_publisher_does_not_know_another() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let parts: Vec<_> = file.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        let [room, own, ..] = parts.as_slice() else { continue };
        if !["drivers", "publishers"].contains(&room.as_str()) || own == "mod.rs" {
            continue;
        }
        let own = own.trim_end_matches(".rs");
        for path in imports(&code(&text)) {
            let mut steps = path.split("::");
            if steps.next() == Some(room)
                && let Some(other) = steps.next()
                && ![own, "driver", "publisher", "mqtt_wire", "words"].contains(&other)
            {
                wrong.push(format!("{}: imports crate::{path}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "neighbours that know each other:\n{}", wrong.join("\n"));
}

#[test]
fn a_protocol_crate_is_named_in_one_file_only() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let code = code(&text);
        for (name, files) in ONLY_IN {
            let named = code
                .match_indices(&format!("{name}::"))
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            let path = file.to_string_lossy();
            if named && !files.iter().any(|allowed| path.starts_with(allowed)) {
                wrong.push(format!("{path}: names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "crates named outside their file:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_in_its_first_line_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "files without a first line: {silent:?}");
}

#[test]
fn the_reader_of_imports_sees_groups_and_inline_paths() {
    let seen = imports("use crate::{model::{Tag, Value}, store};\nfn f() { crate::poll::run(); }");
    let seen: Vec<_> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, ["model::Tag", "model::Value", "poll::run", "store"]);
}
