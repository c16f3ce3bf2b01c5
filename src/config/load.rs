//! From the text to the tables, with every mistake of form at once.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::{Config, shift};
use crate::model::Mistake;
use crate::model::secret::IN_CLEAR;

/// What could be read of a file.
#[derive(Debug)]
pub struct Loaded<T = Config> {
    /// The tables, without what was wrong; `None` where too little is left.
    pub config: Option<T>,
    /// All mistakes of form.
    pub mistakes: Vec<Mistake>,
    /// Whole tables were left out: names that they would have defined are missing for that reason alone.
    pub incomplete: bool,
}

/// Mistakes reported at most; a file with more is no configuration.
pub(super) const MOST: usize = 200;

/// The code of a mistake whose text must be shown to nobody.
pub const SECRET_IN_CLEAR: &str = "secret-in-clear";

/// Reads the text. Serde stops at the first mistake, so the key or table that holds it is noted,
/// taken out, and the rest read again.
pub fn load(text: &str) -> Loaded {
    load_at(text, 0)
}

/// Reads the text of an included file, whose places start `at`.
pub(super) fn load_at<T: DeserializeOwned>(text: &str, at: usize) -> Loaded<T> {
    let mut loaded = read(text, at);
    loaded.mistakes.iter_mut().for_each(|mistake| shift::range(&mut mistake.span, at));
    loaded
}

/// Places of the tables start `at`, those of the mistakes at 0.
fn read<T: DeserializeOwned>(text: &str, at: usize) -> Loaded<T> {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // After a mistake of syntax nothing further down can be trusted to be where it was meant to be.
        let mistakes = errors.iter().map(|e| syntax(e, text)).collect();
        return Loaded { config: None, mistakes, incomplete: true };
    }
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut incomplete = false;
    loop {
        match T::deserialize(toml::Deserializer::from(root.clone())) {
            Ok(config) if at == 0 => return Loaded { config: Some(config), mistakes, incomplete },
            Ok(_) => {
                let config = T::deserialize(toml::Deserializer::from(shift::table(root, at))).ok();
                return Loaded { config, mistakes, incomplete };
            }
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let missing =
                    error.message().strip_prefix("missing field `").and_then(|m| m.split('`').next());
                // A key that was taken out is not missing: its own mistake has been told.
                if !missing.is_some_and(|key| taken_out(key, &span, &mistakes, text)) {
                    mistakes.push(form(error.message(), span.clone(), text));
                }
                // Who the gateway is matters to nothing else: all other mistakes are told, too.
                if missing.is_some_and(|key| stand_in(root.get_mut(), key, &span)) {
                    if mistakes.is_empty() || mistakes.len() >= MOST {
                        return Loaded { config: None, mistakes, incomplete: true };
                    }
                    continue;
                }
                let removed = take_out(root.get_mut(), &span);
                incomplete |= removed != Some(Removed::Leaf);
                if removed.is_none() || mistakes.len() >= MOST {
                    return Loaded { config: None, mistakes, incomplete: true };
                }
            }
        }
    }
}

/// Whether this key of the table at `table` was taken out before because of its value.
fn taken_out(key: &str, table: &Range<usize>, mistakes: &[Mistake], text: &str) -> bool {
    let value_of_key = |start: usize| {
        let before = text.get(..start).unwrap_or("").trim_end();
        let name = before.strip_suffix('=').map(|b| b.trim_end().trim_end_matches(['"', '\'']));
        let rest = name.and_then(|name| name.strip_suffix(key));
        rest.is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_')))
    };
    mistakes.iter().any(|mistake| {
        let start = mistake.span.start;
        // An inline table covers its keys; those of any other follow its header, before the next one.
        let inside = table.contains(&start)
            || text
                .get(table.end..start)
                .is_some_and(|b| !b.lines().any(|l| l.trim_start().starts_with('[')));
        inside && value_of_key(start)
    })
}

/// Puts a name where the gateway's own is missing.
fn stand_in(root: &mut DeTable<'_>, key: &str, table: &Range<usize>) -> bool {
    let here = |key: &'static str| Spanned::new(0..0, Cow::Borrowed(key));
    let name = || Spanned::new(0..0, DeValue::String(Cow::Borrowed("unnamed")));
    let node = root.iter_mut().find(|(key, _)| key.get_ref() == "node").map(|(_, value)| value);
    match (key, node) {
        ("node", None) => {
            let mut node = DeTable::new();
            node.insert(here("group"), name());
            node.insert(here("name"), name());
            root.insert(here("node"), Spanned::new(0..0, DeValue::Table(node)));
            true
        }
        ("group" | "name", Some(node)) if node.span() == *table || table.is_empty() => {
            let DeValue::Table(node) = node.get_mut() else { return false };
            node.insert(here(if key == "group" { "group" } else { "name" }), name());
            true
        }
        _ => false,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Removed {
    Leaf,
    Table,
}

/// Takes the innermost key or array element that covers `span` out of the table.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Removed> {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end && !span.is_empty();
    let key = table
        .iter()
        .find(|(key, value)| covers(key.span()) || covers(value.span()) || holds(value.get_ref(), span))
        .map(|(key, _)| key.clone())?;
    if !covers(key.span())
        && let Some(value) = table.get_mut(&key)
        && let Some(removed) = take_out_of(value.get_mut(), span)
    {
        return Some(removed);
    }
    table.remove(&key).map(|value| removed(value.get_ref()))
}

fn removed(value: &DeValue<'_>) -> Removed {
    if matches!(value, DeValue::Table(_) | DeValue::Array(_)) { Removed::Table } else { Removed::Leaf }
}

fn take_out_of<'i>(value: &mut DeValue<'i>, span: &Range<usize>) -> Option<Removed> {
    match value {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(array) => {
            let at = array.iter().position(|element| {
                let own = element.span();
                (own.start <= span.start && span.end <= own.end) || holds(element.get_ref(), span)
            })?;
            let mut elements: Vec<Spanned<DeValue<'i>>> =
                std::mem::replace(array, DeArray::new()).into_iter().collect();
            let removed = match elements.get_mut(at).and_then(|e| take_out_of(e.get_mut(), span)) {
                Some(removed) => removed,
                None => removed(elements.remove(at).get_ref()),
            };
            *array = elements.into_iter().collect();
            Some(removed)
        }
        _ => None,
    }
}

/// Whether something inside covers the span: a table's own span ends with its header, its keys lie behind it.
fn holds(value: &DeValue<'_>, span: &Range<usize>) -> bool {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    match value {
        DeValue::Table(table) => table
            .iter()
            .any(|(key, value)| covers(key.span()) || covers(value.span()) || holds(value.get_ref(), span)),
        DeValue::Array(array) => array.iter().any(|e| covers(e.span()) || holds(e.get_ref(), span)),
        _ => false,
    }
}

fn syntax(error: &toml::de::Error, text: &str) -> Mistake {
    let span = error.span().unwrap_or(text.len()..text.len());
    if error.message().contains("duplicate key") {
        let key = text.get(span.clone()).unwrap_or("").trim();
        let message = format!("`{key}` is there a second time");
        return Mistake::new(
            "duplicate-key",
            span,
            message,
            "remove one of them, or give it a name of its own",
        );
    }
    let help = "this is no TOML; every key needs a value, every text its quotes, every bracket its partner";
    Mistake::new("syntax", span, error.message().replace('\n', ", "), help)
}

/// What other programs and PLCs call our types.
fn other_name(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "bit" | "boolean" => "bool",
        "sint" | "int8" => "i8",
        "byte" | "usint" | "uint8" => "u8",
        "int" | "int16" | "short" => "i16",
        "word" | "uint" | "uint16" | "ushort" => "u16",
        "dint" | "int32" | "long" => "i32",
        "dword" | "udint" | "uint32" | "ulong" => "u32",
        "lint" | "int64" => "i64",
        "lword" | "ulint" | "uint64" => "u64",
        "float" | "float32" | "real" | "single" => "f32",
        "double" | "float64" | "lreal" => "f64",
        "text" | "str" | "char" => "string",
        _ => return None,
    })
}

/// The types of the program in the words of its users.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "f32" | "f64" => "a number",
        "a string" | "a path string" => "a text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "an array in brackets",
        other => other.strip_prefix("struct ").map_or(other, |_| "a table"),
    }
}

/// Serde's words made ours.
pub(super) fn form(message: &str, span: Range<usize>, text: &str) -> Mistake {
    let message = message.replace('\n', " ");
    let quoted = |message: &str| message.split('`').nth(1).unwrap_or("").to_owned();
    if message == IN_CLEAR {
        let help =
            "write where it is kept: `{ file = \"…\" }`, `{ env = \"…\" }` or `{ credential = \"…\" }`";
        return Mistake::new(SECRET_IN_CLEAR, span, message, help);
    }
    if message.starts_with("unknown field") {
        let key = quoted(&message);
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let help = match super::closest(&key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "remove it".to_owned(),
            None => format!("known here: {}", known.join(", ")),
        };
        return Mistake::new("unknown-key", span, format!("unknown key `{key}`"), help);
    }
    if message.starts_with("missing field") {
        let key = quoted(&message);
        if key == "node" {
            let help = "add a table `[node]` with `group`, the plant or site, and `name`, this gateway";
            return Mistake::new("missing-key", span, "the table `[node]` is missing", help);
        }
        let help = format!("add `{key} = …`");
        return Mistake::new("missing-key", span, format!("the key `{key}` is missing here"), help);
    }
    if message.starts_with("unknown variant") {
        let word = quoted(&message);
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let near = super::closest(&word, known.iter().copied()).or_else(|| other_name(&word));
        let help = match near.filter(|near| known.contains(near)) {
            Some(near) => format!("did you mean `{near}`? possible: {}", known.join(", ")),
            None => format!("possible: {}", known.join(", ")),
        };
        return Mistake::new("unknown-word", span, format!("`{word}` is not possible here"), help);
    }
    if let Some(rest) = message.strip_prefix("invalid type: ") {
        let (got, wanted) = rest.split_once(", expected ").unwrap_or((rest, "another type"));
        let wanted = in_words(wanted);
        let written = text.get(span.clone()).unwrap_or("").lines().next().unwrap_or("");
        return Mistake::new(
            "wrong-type",
            span,
            format!("{got} where {wanted} belongs"),
            format!("write {wanted} instead of `{written}`"),
        );
    }
    if message.starts_with("invalid value") {
        let (got, wanted) = message.split_once(", expected ").unwrap_or((&message, "another value"));
        return Mistake::new(
            "wrong-value",
            span,
            got.replace("invalid value: ", "") + " does not fit here",
            format!("write {}", in_words(wanted)),
        );
    }
    let (what, help) = message.split_once(": ").unwrap_or((&message, "correct or remove it"));
    Mistake::new("wrong-value", span, what, help)
}
