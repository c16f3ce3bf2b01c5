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
