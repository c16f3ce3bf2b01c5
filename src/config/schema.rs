//! The JSON Schema of the file, made of the structs that serde reads it into.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::{Config, Profile};

/// Of the whole file: JSON Schema, draft 2020-12.
pub fn schema() -> Schema {
    finished::<Config>(true)
}

/// Of a file of `profiles`.
pub fn profile_schema() -> Schema {
    finished::<Profile>(true)
}

fn finished<T: JsonSchema>(told: bool) -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    if let Some(root) = schema.as_object_mut() {
        for value in root.values_mut() {
            finish(value, told);
        }
    }
    schema
}

/// TOML has no null, and what no keyword of the standard says is told in words.
fn finish(value: &mut Value, told: bool) {
    let map = match value {
        Value::Array(all) => return all.iter_mut().for_each(|one| finish(one, told)),
        Value::Object(map) => map,
        _ => return,
    };
    let null = serde_json::json!({ "type": "null" });
    if let Some(Value::Array(any)) = map.get_mut("anyOf") {
        any.retain(|one| *one != null);
        if let [Value::Object(one)] = any.as_mut_slice() {
            let mut one = std::mem::take(one);
            map.remove("anyOf");
            one.append(map);
            *map = one;
        }
    }
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_mut_slice() {
            let one = one.take();
            map.insert("type".into(), one);
        }
    }
    if map.get("default").is_some_and(Value::is_null) {
        map.remove("default");
    }
    // Widths of integers, which their ranges say better.
    if map.get("format").is_some_and(Value::is_string) {
        map.remove("format");
    }
    if let Some(Value::String(text)) = map.get_mut("description") {
        // The ends of the lines of a comment.
        *text = text.replace('\n', " ");
    }
    if told {
        let words = [("x-range", "Range"), ("x-unit", "Unit"), ("x-default", "Default")];
        let said: Vec<String> = words
            .iter()
            .filter_map(|(key, head)| Some(format!("{head}: {}.", map.get(*key)?.as_str()?)))
            .collect();
        if let (false, Some(Value::String(text))) = (said.is_empty(), map.get_mut("description")) {
            text.push_str("\n\n");
            text.push_str(&said.join(" "));
        }
    }
    for (key, value) in map.iter_mut() {
        // Values of the file, not schemas.
        if !matches!(key.as_str(), "default" | "examples" | "enum" | "const") {
            finish(value, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use serde_json::Map;

    use super::*;

    /// As the tables follow each other in a file.
    const ORDER: &[&str] =
        &["node", "scan", "link", "device", "profiles", "profile", "store", "publish", "system", "test"];

    fn reference() -> String {
        let root = finished::<Config>(false).to_value();
        let mut text = String::from(
            "# Keys of the configuration file\n\n\
             <!-- Made from the structs of src/config: FIELDGATE_WRITE_DOCS=1 cargo test reference -->\n\n\
             Every key, as `fieldgate schema` says it; [config.md](../config.md) tells how the file is made up and how\n\
             durations, sizes, secrets and names are written. \"–\" as default: the key must be there; \"none\": without the\n\
             key there is no such thing. Keys that must be there come first.\n",
        );
        let mut seen = BTreeSet::new();
        section(&mut text, &root, &root, &mut seen);
        // All but the root itself, and the definition that is no table.
        assert_eq!(seen.len() - 1, root["$defs"].as_object().unwrap().len() - 1, "{seen:?}");
        text
    }

    /// A table, and those below it.
    fn section(text: &mut String, root: &Value, table: &Value, seen: &mut BTreeSet<String>) {
        let title = table["title"].as_str().unwrap();
        if !seen.insert(title.to_owned()) {
            return;
        }
        write!(text, "\n## {title}\n\n{}\n\n", prose(&table["description"])).unwrap();
        text.push_str("| Key | Type | Range | Default | Example | Meaning |\n|---|---|---|---|---|---|\n");
        let properties = table["properties"].as_object().unwrap();
        let required: Vec<&str> =
            table["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut keys: Vec<&String> = properties.keys().collect();
        keys.sort_by_key(|key| {
            let place = ORDER.iter().position(|known| known == key).filter(|_| title == "the file");
            (place, !required.contains(&key.as_str()))
        });
        for key in &keys {
            row(text, root, key, properties[*key].as_object().unwrap(), required.contains(&key.as_str()));
        }
        for key in keys {
            if let Some(below) = table_of(root, &properties[key]) {
                section(text, root, below, seen);
            }
        }
    }

    fn row(text: &mut String, root: &Value, key: &str, of: &Map<String, Value>, required: bool) {
        let word = |key: &str| of.get(key).and_then(Value::as_str);
        let bound = |least: &str, most: &str| match (of.get(least), of.get(most)) {
            (Some(least), Some(most)) => Some(format!("{least} to {most}")),
            (None, Some(most)) => Some(format!("at most {most}")),
            _ => None,
        };
        let range = word("x-range").map(str::to_owned).or_else(|| bound("minimum", "maximum"));
        let range =
            range.or_else(|| bound("minLength", "maxLength").map(|range| format!("{range} characters")));
        let range = [range, word("x-unit").map(str::to_owned)].into_iter().flatten().collect::<Vec<_>>();
        let default = match (word("x-default"), of.get("default")) {
            (Some(words), _) => words.to_owned(),
            (None, Some(value)) if !value.as_array().is_some_and(Vec::is_empty) => toml(value),
            (None, _) => if required { "–" } else { "none" }.to_owned(),
        };
        let example = &of.get("examples").unwrap_or_else(|| panic!("{key} has no example"))[0];
        let mut meaning = prose(&of["description"]);
        for one in words(of) {
            let about = prose(&one["description"]);
            write!(meaning, " {}: {}", toml(&one["const"]), about.trim_end_matches('.')).unwrap();
            meaning.push('.');
        }
        let cells = [kind(root, of), range.join(" "), default, toml(example), meaning];
        writeln!(text, "| `{key}` | {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();
    }

    fn words(of: &Map<String, Value>) -> Vec<&Value> {
        of.get("oneOf").and_then(Value::as_array).into_iter().flatten().collect()
    }

    /// The type in a reader's words.
    fn kind(root: &Value, of: &Map<String, Value>) -> String {
        let inner = |key: &str| of.get(key).filter(|inner| inner.is_object());
        if let Some(table) = of.get("$ref") {
            let table = defined(root, table);
            return match (table["title"].as_str(), table["x-type"].as_str()) {
                (Some(title), _) => format!("[table](#{})", anchor(title)),
                (None, Some(kind)) => kind.to_owned(),
                _ => panic!("{of:?}"),
            };
        }
        if let Some(kind) = of.get("x-type").and_then(Value::as_str) {
            return kind.to_owned();
        }
        if let Some(Value::Array(any)) = of.get("enum").or_else(|| of.get("anyOf")?[0].get("enum")) {
            return any.iter().map(toml).collect::<Vec<_>>().join(", ");
        }
        match of.get("type").and_then(Value::as_str) {
            None | Some("string") if of.contains_key("oneOf") => {
                words(of).iter().map(|one| toml(&one["const"])).collect::<Vec<_>>().join(", ")
            }
            Some("string") => "text".into(),
            Some("boolean") => "`true`, `false`".into(),
            Some("array") => {
                format!("array of: {}", kind(root, inner("items").unwrap().as_object().unwrap()))
            }
            Some("object") => {
                format!(
                    "by name: {}",
                    kind(root, inner("additionalProperties").unwrap().as_object().unwrap())
                )
            }
            Some(plain) => plain.to_owned(),
            None => panic!("{of:?} has no type"),
        }
    }

    fn defined<'a>(root: &'a Value, reference: &Value) -> &'a Value {
        root.pointer(&reference.as_str().unwrap()[1..]).unwrap()
    }

    /// The table that a key has, alone or many of.
    fn table_of<'a>(root: &'a Value, key: &'a Value) -> Option<&'a Value> {
        let inner = [key, &key["items"], &key["additionalProperties"]];
        let table = defined(root, inner.into_iter().find_map(|one| one.get("$ref"))?);
        table.get("title").map(|_| table)
    }

    /// As a heading is linked to.
    fn anchor(title: &str) -> String {
        let known = |c: &char| c.is_alphanumeric() || matches!(c, '-' | ' ' | '_');
        title.chars().filter(known).collect::<String>().to_lowercase().replace(' ', "-")
    }

    /// A value as one writes it in the file.
    fn toml(value: &Value) -> String {
        fn plain(value: &Value) -> String {
            let key = |key: &str| {
                let bare = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
                if bare { key.to_owned() } else { format!("{key:?}") }
            };
            match value {
                Value::Array(all) => format!("[{}]", all.iter().map(plain).collect::<Vec<_>>().join(", ")),
                Value::Object(map) if map.is_empty() => "{}".into(),
                Value::Object(map) => {
                    let all: Vec<_> = map.iter().map(|(k, v)| format!("{} = {}", key(k), plain(v))).collect();
                    format!("{{ {} }}", all.join(", "))
                }
                other => other.to_string(),
            }
        }
        format!("`{}`", plain(value))
    }

    /// Descriptions name documents from the root of the repository.
    fn prose(text: &Value) -> String {
        let text = text.as_str().unwrap_or_else(|| panic!("no description")).replace('\n', " ");
        let mut parts = text.split("docs/");
        let mut linked = parts.next().unwrap().to_owned();
        for part in parts {
            let end = part.find([',', ';', ' ']).unwrap_or(part.len());
            let end = if part[..end].ends_with('.') { end - 1 } else { end };
            let (file, rest) = part.split_at(end);
            write!(linked, "[{}](../{file}){rest}", file.split('#').next().unwrap()).unwrap();
        }
        linked
    }

    #[test]
    fn the_reference_of_keys_is_what_the_code_says() {
        crate::reference::says("config.md", &reference());
    }

    #[test]
    fn every_key_that_serde_takes_is_in_the_schema() {
        let root = schema().to_value();
        // serde tells the keys of a table that it knows when it meets one that it does not.
        let mut tables = vec![root.clone()];
        tables.extend(
            root["$defs"].as_object().unwrap().values().filter(|t| t.get("title").is_some()).cloned(),
        );
        let mut told = 0;
        for table in &tables {
            let title = table["title"].as_str().unwrap();
            let said: BTreeSet<String> = table["properties"].as_object().unwrap().keys().cloned().collect();
            assert_eq!(said, taken(title), "{title}");
            assert_eq!(table["additionalProperties"], false, "{title}");
            told += said.len();
        }
        assert!(told > 150, "{told}");
    }

    /// The keys that serde reads into the struct of this title.
    fn taken(title: &str) -> BTreeSet<String> {
        use crate::config as c;
        use crate::drivers::modbus::config as modbus;
        use crate::publishers::{http, mqtt, opcua, sparkplug};
        fn of<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
            let error = toml::from_str::<T>("no-such-key = 1").err().unwrap().to_string();
            let list = error.split("expected").nth(1).unwrap_or_else(|| panic!("{error}"));
            list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        }
        match title {
            "the file" => of::<c::Config>(),
            "[node]" => of::<c::Node>(),
            "[[link.…]]" => of::<c::Links>(),
            "[[device]]" => of::<c::Device>(),
            "[device.table]" => of::<c::Table>(),
            "[profile.NAME]" => of::<c::Profile>(),
            "[device.tag]" => of::<c::Tag>(),
            "[store]" => of::<c::Store>(),
            "[store.history]" => of::<c::History>(),
            "[publish.…]" => of::<c::Publishers>(),
            "[system]" => of::<c::System>(),
            "[[test]]" => of::<c::Test>(),
            "[[profile.NAME.test]]" => of::<c::ProfileTest>(),
            "alarm of a tag" => of::<c::alarm::Alarm>(),
            "[[link.modbus-tcp]]" => of::<modbus::TcpLink>(),
            "tls of a [[link.modbus-tcp]]" => of::<modbus::Tls>(),
            "[[link.modbus-rtu]], [[link.modbus-ascii]]" => of::<modbus::SerialLink>(),
            "[[publish.sparkplug]]" => of::<sparkplug::config::Config>(),
            "[[publish.mqtt]]" => of::<mqtt::config::Config>(),
            "outbox of a publisher" => of::<crate::store::options::OutboxTable>(),
            "[publish.opcua]" => of::<opcua::config::Config>(),
            "[[publish.opcua.user]]" => {
                // `write` is only there to say what to write in its place.
                let mut keys = of::<opcua::config::UserTable>();
                assert!(keys.remove("write"));
                keys
            }
            "[publish.http]" => of::<http::config::Config>(),
            other => panic!("{other} is not in this test"),
        }
    }
}
