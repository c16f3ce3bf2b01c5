//! A text with `{placeholders}`: the topics and the payloads that a plant writes itself. Pure.

use std::io::Write;

use crate::model::{Directory, Quality, Sample, Tag, Value, rfc3339};
use crate::publishers::words::{self, Shown};

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The Sparkplug group, from `[node]`.
    Group,
    /// The gateway's name.
    Node,
    /// The device's name.
    Device,
    /// The tag's name within the device.
    Tag,
    /// `device/tag`.
    Path,
    /// The value; `null` where there is none.
    Value,
    /// `good`, `uncertain`, `bad`.
    Quality,
    /// Why it is not good; empty where it is.
    Reason,
    /// The engineering unit; empty where it has none.
    Unit,
    /// Milliseconds since 1970.
    Timestamp,
    /// RFC 3339, to the microsecond.
    Time,
    /// `true` for what comes late, from the outbox.
    Historical,
    /// Whether the time is from a synchronised clock.
    Synchronised,
}

impl Field {
    const ALL: [(&'static str, Field); 13] = [
        ("group", Field::Group),
        ("node", Field::Node),
        ("device", Field::Device),
        ("tag", Field::Tag),
        ("path", Field::Path),
        ("value", Field::Value),
        ("quality", Field::Quality),
        ("reason", Field::Reason),
        ("unit", Field::Unit),
        ("timestamp", Field::Timestamp),
        ("time", Field::Time),
        ("historical", Field::Historical),
        ("synchronised", Field::Synchronised),
    ];
    /// Those that a topic may have.
    pub(super) const OF_TOPICS: &'static str = "{group}, {node}, {device} and {tag}";

    /// Whether it is a name, as topics have them.
    pub(super) fn is_of_topics(self) -> bool {
        matches!(self, Field::Group | Field::Node | Field::Device | Field::Tag)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    /// A placeholder, as it is or encoded as JSON.
    Field(Field, bool),
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern(Vec<Piece>);

impl Pattern {
    /// Reads `{name}`, `{name:json}`, and `{{` and `}}` for braces; what is wrong otherwise.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some(inner) = brace.strip_prefix('{') {
                let Some((name, after)) = inner.split_once('}') else {
                    return Err("a `{` is not closed".into());
                };
                let (word, json) = match name.split_once(':') {
                    None => (name, false),
                    Some((word, "json")) => (word, true),
                    Some((_, other)) => return Err(format!("`{{{name}}}`: `:{other}` is not known")),
                };
                let known = Field::ALL.iter().find(|(known, _)| *known == word);
                let Some((_, field)) = known else { return Err(format!("`{{{name}}}` is not known")) };
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Field(*field, json));
                rest = after;
            } else {
                return Err("a `}` closes nothing".into());
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Pattern(pieces))
    }

    /// Whether it names this.
    pub fn has(&self, field: Field) -> bool {
        self.fields().any(|(f, _)| f == field)
    }

    /// All placeholders, and whether each is encoded as JSON.
    pub(super) fn fields(&self) -> impl Iterator<Item = (Field, bool)> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Field(field, json) => Some((*field, *json)),
            Piece::Text(_) => None,
        })
    }

    /// All that is no placeholder.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Field(..) => None,
        })
    }

    /// The text with names only; what has no name here is left out.
    pub fn names(&self, directory: &Directory, device: Option<&str>, tag: Option<&str>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(plain) => plain,
                Piece::Field(Field::Group, _) => &directory.group,
                Piece::Field(Field::Node, _) => &directory.node,
                Piece::Field(Field::Device, _) => device.unwrap_or_default(),
                Piece::Field(Field::Tag, _) => tag.unwrap_or_default(),
                Piece::Field(..) => "",
            });
        }
        text
    }

    /// Writes what it says of a sample.
    pub(super) fn write(&self, directory: &Directory, said: &Said<'_>, into: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => into.extend_from_slice(plain.as_bytes()),
                Piece::Field(field, json) => field.write(directory, said, *json, into),
            }
        }
    }
}

/// A sample with its names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) device: &'a str,
    pub(super) tag: &'a Tag,
    pub(super) sample: &'a Sample,
    pub(super) historical: bool,
}

impl Field {
    fn write(self, directory: &Directory, said: &Said<'_>, json: bool, into: &mut Vec<u8>) {
        let sample = said.sample;
        let mut text = |text: &str| match json {
            true => encode(text, into),
            false => into.extend_from_slice(text.as_bytes()),
        };
        match self {
            Field::Group => text(&directory.group),
            Field::Node => text(&directory.node),
            Field::Device => text(said.device),
            Field::Tag => text(&said.tag.name),
            Field::Path => text(&said.tag.path),
            Field::Quality => text(words::quality(quality(sample))),
            Field::Reason => text(words::reason(quality(sample)).as_deref().unwrap_or_default()),
            Field::Unit => text(said.tag.unit.as_deref().unwrap_or_default()),
            Field::Time => text(&rfc3339::text(sample.at)),
            Field::Value => match &sample.value {
                Some(Value::Text(value)) => text(value),
                Some(value @ Value::Array(_)) => encode(&Shown(value.clone()), into),
                // A whole number beyond 2^53 is text in JSON, and bare digits where no JSON was asked for.
                Some(value) if !json && finite(value) => print(into, value),
                Some(value) => encode(&Shown(value.clone()), into),
                None => into.extend_from_slice(b"null"),
            },
            Field::Timestamp => print(into, sample.at.millis()),
            Field::Historical => print(into, said.historical),
            Field::Synchronised => print(into, sample.stamp.is_synchronised()),
        }
    }
}

/// Into memory, which takes all.
fn print(into: &mut Vec<u8>, what: impl std::fmt::Display) {
    let _ = write!(into, "{what}");
}

/// As JSON, which names, values and qualities always can be.
pub(super) fn encode(what: &(impl serde::Serialize + ?Sized), into: &mut Vec<u8>) {
    let _ = serde_json::to_writer(into, what);
}

fn finite(value: &Value) -> bool {
    match value {
        Value::Array(elements) => elements.iter().all(|element| finite(&element)),
        single => single.as_f64().is_none_or(f64::is_finite),
    }
}

/// The sample's quality: never good without a number that can be said.
pub(super) fn quality(sample: &Sample) -> Quality {
    match &sample.value {
        Some(value) if !finite(value) => Quality::Bad(crate::model::Bad::NotANumber),
        _ => sample.quality,
    }
}
