//! The labels of a tag: which values they name, and what can be wrong with them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::config;
use crate::model::{DataType, Labels, Mistake, Spanned};

/// The longest label, in characters.
const LONGEST: usize = 100;
/// Most labels of one tag.
const MOST: usize = 1000;

/// The labels of a tag whose values go north as `kind`; all mistakes are noted. `incomplete`: some may have
/// been left out because of mistakes of form.
pub(super) fn labels(
    tag: &config::Tag,
    kind: DataType,
    incomplete: bool,
    mistakes: &mut Vec<Mistake>,
) -> Option<Labels> {
    let table = tag.labels.as_ref()?;
    let mut wrong = |code, span, message: String, help: &str| {
        mistakes.push(Mistake::new(code, span, message, help));
        None
    };
    let range = match kind {
        DataType::Bool => None,
        DataType::I8 => Some((i64::from(i8::MIN), i64::from(i8::MAX))),
        DataType::U8 => Some((0, i64::from(u8::MAX))),
        DataType::I16 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
        DataType::U16 => Some((0, i64::from(u16::MAX))),
        DataType::I32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        DataType::U32 => Some((0, i64::from(u32::MAX))),
        DataType::I64 => Some((i64::MIN, i64::MAX)),
        // What OPC UA has room for (Part 8 §5.3.3.4: EnumValueType has an Int64).
        DataType::U64 => Some((0, i64::MAX)),
        DataType::F32 | DataType::F64 | DataType::Text | DataType::Array(..) => {
            let scaled = tag.scale.is_some() || tag.offset.is_some();
            let why =
                if scaled { "with scale or offset it is no whole number" } else { "this tag has neither" };
            return wrong(
                "labels-without-states",
                table.span(),
                format!("labels belong to a `bool` or to whole numbers, and {why} (`{kind}`)"),
                "remove `labels`, or give the tag a type with states",
            );
        }
    };
    let entries = table.get_ref();
    if entries.is_empty() && !incomplete || entries.len() > MOST {
        let message = format!("{} labels", entries.len());
        return wrong("labels-number", table.span(), message, "write 1 to 1000 of them, or remove `labels`");
    }
    for name in entries.values() {
        let text = name.get_ref();
        let length = text.chars().count();
        // A tag list has all labels of a tag in one field, with semicolons between them.
        let odd = text.trim() != text || text.chars().any(|c| c.is_control() || c == ';');
        if odd || !(1..=LONGEST).contains(&length) {
            wrong(
                "label-text",
                name.span(),
                "this is no text that can be shown".into(),
                "write 1 to 100 characters in one line, without `;` and without spaces at its ends",
            );
        }
    }
    match range {
        None => switch(table, incomplete, mistakes),
        Some(range) => numbers(entries, kind, range, mistakes),
    }
}

type Table = BTreeMap<Spanned<String>, Spanned<String>>;

fn switch(table: &Spanned<Table>, incomplete: bool, mistakes: &mut Vec<Mistake>) -> Option<Labels> {
    let (mut off, mut on) = (None, None);
    for (key, name) in table.get_ref() {
        match key.get_ref().as_str() {
            "off" => off = Some(Arc::from(name.get_ref().as_str())),
            "on" => on = Some(Arc::from(name.get_ref().as_str())),
            other => mistakes.push(Mistake::new(
                "label-value",
                key.span(),
                format!("`{other}` is no value of a `bool`"),
                "write `off` and `on`",
            )),
        }
    }
    if let (Some(off), Some(on)) = (off, on) {
        return Some(Labels::Switch { off, on });
    }
    if incomplete {
        return None;
    }
    mistakes.push(Mistake::new(
        "labels-incomplete",
        table.span(),
        "a `bool` needs both labels",
        "write `labels = { off = \"…\", on = \"…\" }`",
    ));
    None
}

fn numbers(
    entries: &Table,
    kind: DataType,
    (least, most): (i64, i64),
    mistakes: &mut Vec<Mistake>,
) -> Option<Labels> {
    let mut names = BTreeMap::new();
    for (key, name) in entries {
        let mut wrong = |code, message: String, help: String| {
            mistakes.push(Mistake::new(code, key.span(), message, help));
        };
        let text = key.get_ref();
        let value = match text.parse::<i128>() {
            Ok(value) => value,
            Err(_) => {
                wrong(
                    "label-value",
                    format!("`{text}` is no whole number"),
                    "write the value that is called so: `0 = \"Idle\"`".into(),
                );
                continue;
            }
        };
        let Some(value) = i64::try_from(value).ok().filter(|value| (least..=most).contains(value)) else {
            wrong(
                "label-out-of-range",
                format!("a `{kind}` is never {text}"),
                format!("write a value from {least} to {most}"),
            );
            continue;
        };
        match names.entry(value) {
            Entry::Vacant(free) => {
                free.insert(Arc::from(name.get_ref().as_str()));
            }
            Entry::Occupied(_) => {
                let message = format!("the value {value} has another label");
                wrong("label-twice", message, "remove one of them".into());
            }
        }
    }
    Some(Labels::Numbers(names))
}
