//! Values that may be written in more than one way.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// `0.5` in engineering units, or `"2%"` of the range `low` … `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deadband {
    /// Engineering units.
    Absolute(f64),
    /// Percent of the range.
    Percent(f64),
}

/// A number, a boolean or a text; a list of these for an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `true`
    Bool(bool),
    /// `42`
    Integer(i64),
    /// `42.5`
    Float(f64),
    /// `"text"`
    Text(String),
    /// `[42.5, 43.5]`
    List(Vec<Scalar>),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Bool(v) => write!(f, "{v}"),
            Scalar::Integer(v) => write!(f, "{v}"),
            Scalar::Float(v) => write!(f, "{v}"),
            Scalar::Text(v) => write!(f, "{v:?}"),
            Scalar::List(all) => {
                f.write_str("[")?;
                for (at, one) in all.iter().enumerate() {
                    write!(f, "{}{one}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

// Visitors instead of untagged enums, which would lose the place of a mistake.
impl<'de> Deserialize<'de> for Deadband {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Deadband, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Deadband;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number in engineering units or a percentage as \"2%\"")
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Deadband, E> {
                Ok(Deadband::Absolute(v as f64))
            }
            fn visit_f64<E: Error>(self, v: f64) -> Result<Deadband, E> {
                Ok(Deadband::Absolute(v))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Deadband, E> {
                let percent = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
                percent.map(Deadband::Percent).ok_or_else(|| {
                    E::custom(format!("`{text}` is no deadband: write a number, or a percentage as \"2%\""))
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, true, false, a text or a list of these")
            }
            fn visit_bool<E: Error>(self, v: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(v))
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(v))
            }
            fn visit_f64<E: Error>(self, v: f64) -> Result<Scalar, E> {
                Ok(Scalar::Float(v))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(v.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Scalar, A::Error> {
                let mut list = Vec::new();
                while let Some(one) = all.next_element()? {
                    list.push(one);
                }
                Ok(Scalar::List(list))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl JsonSchema for Deadband {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "deadband".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "x-type": "number or text",
            "pattern": r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)\s*%$",
        })
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Scalar>();
        json_schema!({
            "type": ["boolean", "number", "string", "array"],
            "x-type": "value or array",
            "description": "A number, true, false, a text or a list of these.",
            "items": one,
        })
    }
}
