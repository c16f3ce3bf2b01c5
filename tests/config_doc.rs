//! docs/config.md names every key that there is, and its examples are read without a mistake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Struct of a file → the heading of its section; an empty one: its keys are headings themselves.
const SECTIONS: &[(&str, &str, &str)] = &[
    ("src/config/tables.rs", "Config", ""),
    ("src/config/tables.rs", "Node", "[node]"),
    ("src/config/tables.rs", "Links", ""),
    ("src/config/tables.rs", "Device", "[[device]]"),
    ("src/config/tables.rs", "Table", "[device.table]"),
    ("src/config/tables.rs", "Profile", "[profile.NAME]"),
    ("src/config/tables.rs", "ProfileTest", "[[profile.NAME.test]]"),
    ("src/config/tables.rs", "Tag", "[device.tag]"),
    ("src/config/alarm.rs", "Alarm", "alarm of a tag"),
    ("src/config/tables.rs", "Store", "[store]"),
    ("src/config/tables.rs", "History", "[store.history]"),
    ("src/config/tables.rs", "Publishers", ""),
    ("src/config/tables.rs", "System", "[system]"),
    ("src/config/tables.rs", "Test", "[[test]]"),
    ("src/drivers/modbus/config.rs", "TcpLink", "[[link.modbus-tcp]]"),
    ("src/drivers/modbus/config.rs", "Tls", "tls of a [[link.modbus-tcp]]"),
    ("src/drivers/modbus/config.rs", "SerialLink", "[[link.modbus-rtu]]"),
    ("src/publishers/sparkplug/config.rs", "Config", "[[publish.sparkplug]]"),
    ("src/publishers/mqtt/config.rs", "Config", "[[publish.mqtt]]"),
    ("src/store/options.rs", "OutboxTable", "outbox of a publisher"),
    ("src/publishers/opcua/config.rs", "Config", "[publish.opcua]"),
    ("src/publishers/opcua/config.rs", "UserTable", "[[publish.opcua.user]]"),
    ("src/publishers/http/config.rs", "Config", "[publish.http]"),
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Struct → keys, of all structs that serde reads strictly.
fn keys(source: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut strict, mut inside, mut renamed, mut skip) = (false, None, None, false);
    for line in source.lines() {
        let line = line.trim();
        if line.starts_with("#[serde(deny_unknown_fields") {
            strict = true;
        } else if let Some(name) = line.strip_prefix("#[serde(rename = \"") {
            renamed = name.split('"').next().map(str::to_owned);
        } else if line == "#[serde(skip)]" {
            skip = true;
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = rest.split([' ', '<']).next().unwrap().to_owned();
            inside = std::mem::take(&mut strict).then_some(name);
        } else if line == "}" {
            inside = None;
        } else if let (Some(name), Some(field)) = (&inside, line.strip_prefix("pub ")) {
            if std::mem::take(&mut skip) {
                continue;
            }
            let key = field.split(':').next().unwrap().replace('_', "-");
            found.entry(name.clone()).or_default().push(renamed.take().unwrap_or(key));
        }
    }
    found
}

/// Heading → text until the next one.
fn sections(document: &str) -> BTreeMap<&str, &str> {
    document.split("\n## ").skip(1).map(|part| part.split_once('\n').unwrap()).collect()
}

#[test]
fn every_key_of_the_file_is_documented_where_one_looks_for_it() {
    let document = read("docs/config.md");
    let sections = sections(&document);
    let mut missing = Vec::new();
    let mut known = 0;
    for file in SECTIONS.iter().map(|(file, ..)| *file).collect::<std::collections::BTreeSet<_>>() {
        for (name, keys) in keys(&read(file)) {
            let entry = SECTIONS.iter().find(|(f, s, _)| (*f, *s) == (file, name.as_str()));
            let Some((_, _, heading)) = entry else { panic!("{file}: {name} has no section in this test") };
            for key in keys {
                known += 1;
                let there = if heading.is_empty() {
                    sections.keys().any(|h| h.contains(&key))
                } else {
                    sections[heading].contains(&format!("\n| `{key}` |"))
                };
                if !there {
                    missing.push(format!("{heading} {key}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "docs/config.md lacks {missing:#?}");
    assert!(known > 80, "only {known} keys were found in the sources");
}

#[test]
fn every_documented_key_is_one() {
    let document = read("docs/config.md");
    for (heading, text) in sections(&document) {
        let structs: Vec<_> = SECTIONS.iter().filter(|(.., h)| *h == heading).collect();
        let Some((file, name, _)) = structs.first() else { continue };
        let keys = &keys(&read(file))[*name];
        for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
            let key = row.split('`').next().unwrap();
            assert!(keys.iter().any(|k| k == key), "{heading} has no key {key}");
        }
    }
}

#[test]
fn every_example_of_the_documentation_is_read_without_a_mistake() {
    let mut examples = 0;
    for file in ["docs/config.md", "docs/modbus.md", "docs/mqtt.md", "README.md"] {
        let document = read(file);
        for block in document.split("```toml\n").skip(1) {
            let text = block.split("```").next().unwrap();
            let node = if text.contains("[node]") || text.starts_with("node = ") {
                ""
            } else {
                "[node]\ngroup = \"g\"\nname = \"n\"\n"
            };
            let text = format!("{node}{text}");
            let loaded = fieldgate::config::load(&text);
            assert!(loaded.mistakes.is_empty(), "{file}: {:#?}\n{text}", loaded.mistakes);
            let plan = fieldgate::plan::compile(&loaded.config.unwrap(), false, None);
            assert!(plan.is_ok(), "{file}: {:#?}\n{text}", plan.unwrap_err());
            examples += 1;
        }
    }
    assert!(examples >= 7, "{examples}");
}
