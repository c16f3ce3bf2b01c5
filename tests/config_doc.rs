//! What the schema says of keys is so, docs/config.md leads to them, and its examples are read without a mistake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use fieldgate::config::{load, schema};
use fieldgate::model::{Period, Size};
use fieldgate::plan::{GatewayPlan, compile};
use serde_json::Value;

/// A plant with one of each table.
const PLANT: &str = r#"
scan = { default = "1s", fast = "100ms", slow = "5s" }
[node]
group = "g"
name = "n"
[[link.modbus-tcp]]
name = "plc"
host = "192.0.2.10"
[[link.modbus-rtu]]
name = "bus"
port = "/dev/ttyS9"
[[device]]
name = "pump-1"
link = "plc"
profile = "drive"
table = { recipe = { columns = ["a"], rows = [["flow"]] } }
[device.tag]
flow = { at = "holding:40", type = "u16", low = 0, high = 10, alarm = { hi = 5.0 } }
plain = { at = "holding:80", type = "u16" }
far = { at = "holding:60", type = "u16", access = "read-write" }
bit = { at = "holding:50.3", type = "bool", access = "read-write" }
run = { at = "coil:7", type = "bool" }
[[device]]
name = "meter"
link = "bus"
tag = { power = { at = "input:0", type = "u16" } }
[profile.drive.tag]
speed = { at = "input:0", type = "i16" }
[[profile.drive.test]]
name = "speed"
given = { "input:0" = [7] }
expect = { speed = 7 }
[store]
path = "/var/lib/fieldgate"
history = { keep = "7d" }
[[publish.sparkplug]]
name = "scada"
broker = "mqtt://192.0.2.20"
outbox = {}
[[publish.mqtt]]
name = "cloud"
broker = "mqtt://192.0.2.21"
[publish.opcua]
[[publish.opcua.user]]
name = "op"
password = { env = "OP" }
[publish.http]
[system]
[[test]]
name = "it runs"
device = "pump-1"
given = { "coil:7" = [true] }
expect = { run = true }
"#;

/// The title of a table → where the plant has one.
const PLACES: &[(&str, &str)] = &[
    ("the file", ""),
    ("[node]", "/node"),
    ("[[link.…]]", "/link"),
    ("[[link.modbus-tcp]]", "/link/modbus-tcp/0"),
    ("tls of a [[link.modbus-tcp]]", "/link/modbus-tcp/0/tls"),
    ("[[link.modbus-rtu]], [[link.modbus-ascii]]", "/link/modbus-rtu/0"),
    ("[[device]]", "/device/0"),
    ("[device.table]", "/device/0/table/recipe"),
    ("[device.tag]", "/device/0/tag/plain"),
    ("alarm of a tag", "/device/0/tag/flow/alarm"),
    ("[profile.NAME]", "/profile/drive"),
    ("[[profile.NAME.test]]", "/profile/drive/test/0"),
    ("[store]", "/store"),
    ("[store.history]", "/store/history"),
    ("[publish.…]", "/publish"),
    ("[[publish.sparkplug]]", "/publish/sparkplug/0"),
    ("[[publish.mqtt]]", "/publish/mqtt/0"),
    ("outbox of a publisher", "/publish/sparkplug/0/outbox"),
    ("[publish.opcua]", "/publish/opcua"),
    ("[[publish.opcua.user]]", "/publish/opcua/user/0"),
    ("[publish.http]", "/publish/http"),
    ("[system]", "/system"),
    ("[[test]]", "/test/0"),
];

/// What must stand beside a key for it to have a meaning: table, key, the other key and its value.
const BESIDE: &[(&str, &str, &str, &str)] = &[
    // An order is one of 32 bits.
    (
        "[[device]]",
        "order",
        "tag",
        r#"{ "flow": { "at": "holding:40", "type": "u32" }, "run": { "at": "coil:7", "type": "bool" } }"#,
    ),
    ("[device.tag]", "length", "type", "\"string\""),
    ("[[link.modbus-rtu]], [[link.modbus-ascii]]", "rts-delay-before", "rts", "\"up\""),
    ("[[link.modbus-rtu]], [[link.modbus-ascii]]", "rts-delay-after", "rts", "\"up\""),
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// One key of the schema.
struct Key {
    table: String,
    name: String,
    of: Value,
}

impl Key {
    /// The plant with this key as said, and what must stand beside it; without a value it is left out.
    fn plant(&self, value: Option<&Value>) -> String {
        let mut plant: Value = serde_json::to_value(toml::from_str::<toml::Table>(PLANT).unwrap()).unwrap();
        let place = PLACES.iter().find(|(title, _)| *title == self.table);
        let place = place.unwrap_or_else(|| panic!("{} has no place in this test", self.table)).1;
        if plant.pointer(place).is_none() {
            let (above, last) = place.rsplit_once('/').unwrap();
            plant.pointer_mut(above).unwrap()[last] = Value::Object(Default::default());
        }
        let table = plant.pointer_mut(place).unwrap().as_object_mut().unwrap();
        for (_, _, other, said) in BESIDE.iter().filter(|(t, k, ..)| *t == self.table && *k == self.name) {
            table.insert((*other).into(), serde_json::from_str(said).unwrap());
        }
        match value {
            Some(value) => drop(table.insert(self.name.clone(), value.clone())),
            None => drop(table.remove(&self.name)),
        }
        toml::to_string(&plant).unwrap()
    }

    fn plan(&self, value: Option<&Value>) -> Result<GatewayPlan, String> {
        planned(&self.plant(value)).map_err(|why| format!("{} {} = {value:?}: {why}", self.table, self.name))
    }
}

fn planned(text: &str) -> Result<GatewayPlan, String> {
    let loaded = load(text);
    let Some(config) = loaded.config.filter(|_| loaded.mistakes.is_empty()) else {
        return Err(format!("{:?}", loaded.mistakes));
    };
    let mut plan = compile(&config, false, None).map_err(|mistakes| format!("{mistakes:?}"))?;
    // They have places, which move.
    plan.warnings.clear();
    Ok(plan)
}

/// All keys of all tables.
fn keys() -> Vec<Key> {
    let root = schema::schema().to_value();
    let tables = root["$defs"].as_object().unwrap().values().chain([&root]);
    let mut keys = Vec::new();
    for table in tables.filter(|table| table["title"].is_string()) {
        for (name, of) in table["properties"].as_object().unwrap() {
            let table = table["title"].as_str().unwrap().to_owned();
            keys.push(Key { table, name: name.clone(), of: of.clone() });
        }
    }
    assert!(keys.len() > 150, "{}", keys.len());
    keys
}

#[test]
fn the_default_that_is_said_of_a_key_is_the_one_that_is_used() {
    let mut wrong = Vec::new();
    let mut defaults = 0;
    for key in keys() {
        let Some(default) = key.of.get("default").filter(|default| !default.is_object()) else { continue };
        defaults += 1;
        match (key.plan(None), key.plan(Some(default))) {
            (Ok(without), Ok(with)) if without == with => {}
            (Ok(_), Ok(_)) => wrong.push(format!("{} {}: not {default}", key.table, key.name)),
            (without, with) => wrong.extend([without.err(), with.err()].into_iter().flatten()),
        }
        // Another value makes another plan, so that the two above could differ.
        if let (Ok(without), Ok(with)) = (key.plan(None), key.plan(Some(&key.of["examples"][0])))
            && without == with
            // The files are read by another.
            && key.name != "profiles"
        {
            wrong.push(format!("{} {}: its example changes nothing", key.table, key.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(defaults > 50, "{defaults}");
}

/// Just below and just above what is said to be the range; and its ends.
fn outside(of: &Value) -> Option<(Vec<Value>, Vec<Value>)> {
    if let (Some(least), Some(most)) = (of["minimum"].as_i64(), of["maximum"].as_i64()) {
        return Some((vec![(least - 1).into(), (most + 1).into()], vec![least.into(), most.into()]));
    }
    let range = of["x-range"].as_str()?;
    let ends: Vec<&str> = range.split('`').skip(1).step_by(2).map(|end| end.trim_matches('"')).collect();
    let written = |text: &str| Value::from(text);
    match (of["x-type"].as_str()?, ends.as_slice()) {
        ("duration", [least, most]) => {
            let micros = |text: &str| text.parse::<Period>().ok().map(|period| period.0.as_micros());
            let (least_us, most_us) = (micros(least)?, micros(most)?);
            let below = least_us.checked_sub(1).map(|us| Value::from(format!("{us}us")));
            let above = Value::from(format!("{}us", most_us + 1));
            Some((below.into_iter().chain([above]).collect(), vec![written(least), written(most)]))
        }
        ("size", [least, most @ ..]) => {
            let bytes = |text: &&str| text.parse::<Size>().ok().map(|size| size.0);
            let below = bytes(least)?.checked_sub(1)?;
            // The other end may be another key.
            let most: Vec<u64> = most.iter().filter_map(bytes).collect();
            let out = std::iter::once(below).chain(most.iter().map(|most| most + 1));
            let ends = ends.iter().filter(|end| bytes(end).is_some()).map(|end| written(end));
            Some((out.map(|bytes| Value::from(format!("{bytes}B"))).collect(), ends.collect()))
        }
        _ => None,
    }
}

/// Where one driver takes less: 7 data bits are for ASCII only.
const NARROWED: &[(&str, &str)] = &[("[[link.modbus-rtu]], [[link.modbus-ascii]]", "data-bits")];

#[test]
fn the_range_that_is_said_of_a_key_is_the_one_that_is_taken() {
    let mut wrong = Vec::new();
    let mut ranges = 0;
    for key in keys() {
        let Some((out, ends)) = outside(&key.of) else { continue };
        if NARROWED.contains(&(key.table.as_str(), key.name.as_str())) {
            continue;
        }
        ranges += 1;
        for value in out {
            if key.plan(Some(&value)).is_ok() {
                wrong.push(format!("{} {}: {value} is taken", key.table, key.name));
            }
        }
        wrong.extend(ends.iter().filter_map(|end| key.plan(Some(end)).err()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(ranges > 40, "{ranges}");
}

#[test]
fn the_example_of_each_key_is_read() {
    for key in keys() {
        for example in key.of["examples"].as_array().unwrap() {
            let loaded = load(&key.plant(Some(example)));
            assert!(loaded.mistakes.is_empty(), "{} {}: {:#?}", key.table, key.name, loaded.mistakes);
        }
    }
}

#[test]
fn the_guide_leads_to_every_table_of_the_reference() {
    let anchor = |title: &str| -> String {
        let known = |c: &char| c.is_alphanumeric() || matches!(c, '-' | ' ' | '_');
        title.chars().filter(known).collect::<String>().to_lowercase().replace(' ', "-")
    };
    let (guide, reference) = (read("docs/config.md"), read("docs/reference/config.md"));
    let titles = reference.lines().filter_map(|line| line.strip_prefix("## "));
    let titles: Vec<String> = titles.map(anchor).collect();
    let links: Vec<&str> =
        guide.split("(reference/config.md#").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    for link in &links {
        assert!(
            titles.iter().any(|title| title == link),
            "docs/config.md leads to #{link}, which is not there"
        );
    }
    // Those whose keys are tables themselves need no guide.
    for title in titles.iter().filter(|title| !["the-file", "link", "publish"].contains(&title.as_str())) {
        assert!(links.contains(&title.as_str()), "docs/config.md does not lead to #{title}");
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
            let loaded = load(&text);
            assert!(loaded.mistakes.is_empty(), "{file}: {:#?}\n{text}", loaded.mistakes);
            let plan = compile(&loaded.config.unwrap(), false, None);
            assert!(plan.is_ok(), "{file}: {:#?}\n{text}", plan.unwrap_err());
            examples += 1;
        }
    }
    assert!(examples >= 7, "{examples}");
}
