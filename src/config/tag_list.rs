//! Tag lists: tags as rows of a CSV file, and as lines of TOML.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::ops::Range;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{Deserialize, IntoDeserializer};

use super::csv::{self, Field};
use super::leaf::Deadband;
use super::load::{MOST, form};
use super::{Report, Tag, closest, shift};
use crate::model::{Access, Class, Mistake, Order, Spanned};

/// The columns, in the order of an export; the keys of a tag, with `device` and `tag` before and the
/// address under its full name.
pub const COLUMNS: [&str; 19] = [
    "device",
    "tag",
    "address",
    "type",
    "order",
    "length",
    "scale",
    "offset",
    "unit",
    "low",
    "high",
    "deadband",
    "scan",
    "report",
    "max-silence",
    "class",
    "access",
    "labels",
    "description",
];

/// Columns that a list must have.
const NEEDED: [&str; 3] = ["tag", "address", "type"];

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// Whose tag; without it that of every device that uses the list.
    pub device: Option<Spanned<String>>,
    /// The tag's name.
    pub name: Spanned<String>,
    /// The tag.
    pub tag: Spanned<Tag>,
}

impl Row {
    /// Whether the row is for a device of this name.
    pub fn is_for(&self, device: &str) -> bool {
        self.device.as_ref().is_none_or(|own| own.get_ref() == device)
    }
}

/// Reads a list whose places start `at`, with all its mistakes.
pub fn read(text: &str, at: usize) -> (Vec<Row>, Vec<Mistake>) {
    let mut rows = match csv::read(text) {
        Ok(rows) => rows,
        Err(mut mistake) => {
            shift::range(&mut mistake.span, at);
            return (Vec::new(), vec![mistake]);
        }
    };
    rows.iter_mut().flatten().for_each(|field| shift::range(&mut field.span, at));
    let mut rows = rows.into_iter();
    let mut reader = Reader { columns: HashMap::new(), mistakes: Vec::new() };
    reader.header(&rows.next().unwrap_or_default(), at);
    if !reader.mistakes.is_empty() {
        return (Vec::new(), reader.mistakes);
    }
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    for row in rows {
        if reader.mistakes.len() >= MOST {
            break;
        }
        let Some(row) = reader.row(&row) else { continue };
        let device = row.device.as_ref().map(|d| d.get_ref().clone());
        if !seen.insert((device, row.name.get_ref().clone())) {
            let message = format!("there is another tag of the name `{}`", row.name.get_ref());
            reader.wrong("duplicate-tag", row.name.span(), message, "give it a name of its own");
        }
        list.push(row);
    }
    (list, reader.mistakes)
}

struct Reader {
    columns: HashMap<&'static str, usize>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn wrong(&mut self, code: &'static str, span: Range<usize>, message: String, help: impl Into<String>) {
        self.mistakes.push(Mistake::new(code, span, message, help));
    }

    fn header(&mut self, header: &[Field], at: usize) {
        for (position, field) in header.iter().enumerate().filter(|(_, field)| !field.text.is_empty()) {
            let name = field.text.to_lowercase().replace([' ', '_'], "-");
            match COLUMNS.iter().find(|column| **column == name) {
                Some(column) if self.columns.insert(column, position).is_some() => {
                    let message = format!("there is another column `{column}`");
                    self.wrong("duplicate-key", field.span.clone(), message, "remove one of them");
                }
                Some(_) => {}
                None => {
                    let help = match closest(&name, COLUMNS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("known here: {}", COLUMNS.join(", ")),
                    };
                    let message = format!("unknown column `{}`", field.text);
                    self.wrong("unknown-key", field.span.clone(), message, help);
                }
            }
        }
        let missing: Vec<_> = NEEDED.into_iter().filter(|name| !self.columns.contains_key(name)).collect();
        // A misspelt column is one mistake.
        if !missing.is_empty() && self.mistakes.is_empty() {
            let span = if header.is_empty() { at..at } else { place(header) };
            let message = format!("the first line lacks the column `{}`", missing.join("`, `"));
            self.wrong("missing-key", span, message, format!("the columns are: {}", COLUMNS.join(", ")));
        }
    }

    /// A field that is not empty.
    fn field<'a>(&self, row: &'a [Field], column: &str) -> Option<&'a Field> {
        row.get(*self.columns.get(column)?).filter(|field| !field.text.is_empty())
    }

    fn needed<'a>(&mut self, row: &'a [Field], column: &str) -> Option<&'a Field> {
        let found = self.field(row, column);
        if found.is_none() {
            let message = format!("the column `{column}` is empty here");
            self.wrong("missing-key", place(row), message, format!("write the tag's {column}"));
        }
        found
    }

    fn row(&mut self, row: &[Field]) -> Option<Row> {
        if let Some(field) = row.iter().skip(self.width()).find(|field| !field.text.is_empty()) {
            let message = "this line has more fields than the first one has columns".to_owned();
            let help = "put a text that holds the separator into quotes";
            self.wrong("syntax", field.span.clone(), message, help);
            return None;
        }
        let [name, at, kind] = NEEDED.map(|column| self.needed(row, column));
        let kind = kind.and_then(|field| self.word(field));
        let tag = Tag {
            scan: self.field(row, "scan").map(text),
            order: self.field(row, "order").and_then(|f| self.word(f)).map(Spanned::into_inner),
            length: self.number(row, "length", "a whole number of bytes"),
            scale: self.number(row, "scale", A_NUMBER),
            offset: self.number(row, "offset", A_NUMBER),
            unit: self.field(row, "unit").map(|f| f.text.clone()),
            low: self.number(row, "low", A_NUMBER),
            high: self.number(row, "high", A_NUMBER),
            deadband: self.field(row, "deadband").and_then(|field| match field.text.parse() {
                Ok(units) => Some(Spanned::new(field.span.clone(), Deadband::Absolute(units))),
                Err(_) => self.word(field),
            }),
            report: self
                .field(row, "report")
                .and_then(|f| self.word(f))
                .map(Spanned::into_inner)
                .unwrap_or_default(),
            max_silence: self.field(row, "max-silence").and_then(|f| self.word(f)),
            class: self.field(row, "class").and_then(|f| self.word::<Class>(f)).map(Spanned::into_inner),
            access: self
                .field(row, "access")
                .and_then(|f| self.word(f))
                .map(Spanned::into_inner)
                .unwrap_or_default(),
            labels: self.labels(row),
            // An alarm has more keys than a cell can hold well: it is written in the file.
            alarm: None,
            description: self.field(row, "description").map(|f| f.text.clone()),
            at: text(at?),
            kind: kind?,
        };
        let device = self.field(row, "device").map(text);
        Some(Row { device, name: text(name?), tag: Spanned::new(place(row), tag) })
    }

    fn width(&self) -> usize {
        self.columns.values().max().map_or(0, |last| last + 1)
    }

    /// What is one of several words, or a text of a certain form.
    fn word<'a, T: Deserialize<'a>>(&mut self, field: &'a Field) -> Option<Spanned<T>> {
        let deserializer: StrDeserializer<'_, Error> = field.text.as_str().into_deserializer();
        match T::deserialize(deserializer) {
            Ok(value) => Some(Spanned::new(field.span.clone(), value)),
            Err(error) => {
                self.mistakes.push(form(&error.to_string(), field.span.clone(), ""));
                None
            }
        }
    }

    /// `0=Idle; 1=Running`. All have the place of the field.
    fn labels(&mut self, row: &[Field]) -> Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>> {
        let field = self.field(row, "labels")?;
        let mut labels = BTreeMap::new();
        for one in field.text.split(';') {
            let Some((value, name)) = one.split_once('=') else {
                let message = format!("`{}` is no label", one.trim());
                self.wrong("wrong-value", field.span.clone(), message, "write `0=Idle; 1=Running`");
                return None;
            };
            let spanned = |text: &str| Spanned::new(field.span.clone(), text.trim().to_owned());
            if labels.insert(spanned(value), spanned(name)).is_some() {
                let message = format!("the value {} has another label", value.trim());
                self.wrong("label-twice", field.span.clone(), message, "remove one of them");
            }
        }
        Some(Spanned::new(field.span.clone(), labels))
    }

    fn number<T: std::str::FromStr>(
        &mut self,
        row: &[Field],
        column: &str,
        what: &str,
    ) -> Option<Spanned<T>> {
        let field = self.field(row, column)?;
        // Rust would read `nan` and `inf`, too.
        let digits = field.text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
        match field.text.parse() {
            Ok(value) if digits && !field.text.contains("inf") => {
                Some(Spanned::new(field.span.clone(), value))
            }
            _ => {
                let message = format!("`{}` is no {column}", field.text);
                self.wrong("wrong-value", field.span.clone(), message, format!("write {what}"));
                None
            }
        }
    }
}

const A_NUMBER: &str = "a number, with a point before its decimals: 0.1";

fn text(field: &Field) -> Spanned<String> {
    Spanned::new(field.span.clone(), field.text.clone())
}

fn place(row: &[Field]) -> Range<usize> {
    row.first().map_or(0, |f| f.span.start)..row.last().map_or(0, |f| f.span.end)
}

/// The first line of a list.
pub fn header() -> String {
    COLUMNS.join(",")
}

/// One tag as a line of a list. `inherited` is the order that its device or profile gives it.
pub fn row(device: &str, name: &str, tag: &Tag, inherited: Option<Order>) -> String {
    let mut fields = vec![("device", device.to_owned()), ("tag", name.to_owned())];
    let own = keys(tag, inherited);
    fields
        .extend(own.iter().map(|(key, value)| (if *key == "at" { "address" } else { *key }, value.plain())));
    let field = |column: &&str| {
        let value = fields.iter().find(|(key, _)| key == column);
        value.map_or_else(String::new, |(_, value)| csv::quoted(value))
    };
    COLUMNS.iter().map(field).collect::<Vec<_>>().join(",")
}

/// One tag as a line of TOML.
pub fn line(name: &str, tag: &Tag) -> String {
    let keys: Vec<String> =
        keys(tag, None).into_iter().map(|(key, value)| format!("{key} = {}", value.toml())).collect();
    format!("{} = {{ {} }}", key(name), keys.join(", "))
}

/// A name as a key of TOML.
pub fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { name.to_owned() } else { basic_string(name) }
}

enum Written {
    Text(String),
    Number(f64),
    Whole(u16),
    Labels(Vec<(String, String)>),
}

impl Written {
    fn plain(&self) -> String {
        match self {
            Written::Text(text) => text.clone(),
            Written::Number(number) => number.to_string(),
            Written::Whole(number) => number.to_string(),
            Written::Labels(all) => {
                all.iter().map(|(value, name)| format!("{value}={name}")).collect::<Vec<_>>().join("; ")
            }
        }
    }

    fn toml(&self) -> String {
        match self {
            Written::Text(text) => basic_string(text),
            Written::Number(number) => format!("{number:?}"),
            Written::Whole(number) => number.to_string(),
            Written::Labels(all) => {
                let all = all.iter().map(|(value, name)| format!("{} = {}", key(value), basic_string(name)));
                format!("{{ {} }}", all.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// The keys of a tag that differ from what is meant without them.
fn keys(tag: &Tag, inherited: Option<Order>) -> Vec<(&'static str, Written)> {
    let text = |text: &String| Written::Text(text.clone());
    let number = |number: &Option<Spanned<f64>>| number.as_ref().map(|n| Written::Number(*n.get_ref()));
    let word = |word: &str| Some(Written::Text(word.to_owned()));
    let kind = *tag.kind.get_ref();
    let order = tag.order.or(inherited.filter(|_| kind.is_wide()));
    let all = [
        ("at", Some(text(tag.at.get_ref()))),
        ("type", word(&kind.to_string())),
        ("order", order.and_then(|order| word(order.name()))),
        ("length", tag.length.as_ref().map(|n| Written::Whole(*n.get_ref()))),
        ("scale", number(&tag.scale)),
        ("offset", number(&tag.offset)),
        ("unit", tag.unit.as_ref().map(text)),
        ("low", number(&tag.low)),
        ("high", number(&tag.high)),
        (
            "deadband",
            tag.deadband.as_ref().map(|deadband| match deadband.get_ref() {
                Deadband::Absolute(units) => Written::Number(*units),
                Deadband::Percent(percent) => Written::Text(format!("{percent}%")),
            }),
        ),
        ("scan", tag.scan.as_ref().map(|scan| text(scan.get_ref()))),
        ("report", (tag.report == Report::Always).then(|| Written::Text("always".into()))),
        ("max-silence", tag.max_silence.as_ref().map(|period| Written::Text(period.get_ref().in_units()))),
        ("class", tag.class.and_then(|class| word(class.name()))),
        ("access", (tag.access != Access::Read).then(|| Written::Text(tag.access.name().into()))),
        (
            "labels",
            tag.labels.as_ref().map(|labels| {
                let text = |text: &Spanned<String>| text.get_ref().clone();
                Written::Labels(labels.get_ref().iter().map(|(v, name)| (text(v), text(name))).collect())
            }),
        ),
        ("description", tag.description.as_ref().map(text)),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// A TOML basic string.
fn basic_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
