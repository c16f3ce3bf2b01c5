//! From the text to the tables, with every mistake of form at once.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::{Config, shift};
use crate::model::Mistake;

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
                mistakes.push(form(error.message(), span.clone(), text));
                let removed = take_out(root.get_mut(), &span);
                incomplete |= removed != Some(Removed::Leaf);
                if removed.is_none() || mistakes.len() >= MOST {
                    return Loaded { config: None, mistakes, incomplete: true };
                }
            }
        }
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
    let value = table.remove(&key)?;
    Some(if matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)) {
        Removed::Table
    } else {
        Removed::Leaf
    })
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
                None => {
                    elements.remove(at);
                    Removed::Table
                }
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
    let help = "this is no TOML; every key needs a value, every text its quotes, every bracket its partner";
    Mistake::new("syntax", span, error.message().replace('\n', ", "), help)
}

/// Serde's words made ours.
pub(super) fn form(message: &str, span: Range<usize>, text: &str) -> Mistake {
    let message = message.replace('\n', " ");
    let quoted = |message: &str| message.split('`').nth(1).unwrap_or("").to_owned();
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
        return Mistake::new(
            "missing-key",
            span,
            format!("the key `{key}` is missing here"),
            format!("add `{key} = …`"),
        );
    }
    if message.starts_with("unknown variant") {
        let word = quoted(&message);
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let help = match super::closest(&word, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? possible: {}", known.join(", ")),
            None => format!("possible: {}", known.join(", ")),
        };
        return Mistake::new("unknown-word", span, format!("`{word}` is not possible here"), help);
    }
    if let Some(rest) = message.strip_prefix("invalid type: ") {
        let (got, wanted) = rest.split_once(", expected ").unwrap_or((rest, "another type"));
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
            format!("write {wanted}"),
        );
    }
    let (what, help) = message.split_once(": ").unwrap_or((&message, "correct or remove it"));
    Mistake::new("wrong-value", span, what, help)
}
