//! The type of a tag's value.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

use super::Array;

/// The type of a tag's value, named as in the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// One bit.
    Bool,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 64 bits.
    U64,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// Text of a fixed number of bytes on the wire, UTF-8 here.
    Text,
    /// So many of one of the types above, which lie one after the other; made by [`DataType::array`].
    Array(&'static DataType, u16),
}

/// The names of [`DataType::ALL`].
const WORDS: &[&str] =
    &["bool", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64", "string"];

/// Why a word is no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoType {
    /// No type has this name.
    #[error("there is no type `{0}`; known: {known}, and with a length `f32[8]`", known = WORDS.join(", "))]
    Unknown(String),
    /// The length of an array is no number, 0, or too large.
    #[error("`{0}` is no array: write the number of its elements, 1 to {most}, as `f32[8]`", most = Array::MOST)]
    Length(String),
}

impl DataType {
    /// Every type but the arrays, in the order of the documentation.
    pub const ALL: [DataType; 12] = [
        DataType::Bool,
        DataType::I8,
        DataType::U8,
        DataType::I16,
        DataType::U16,
        DataType::I32,
        DataType::U32,
        DataType::I64,
        DataType::U64,
        DataType::F32,
        DataType::F64,
        DataType::Text,
    ];

    /// An array of 1 to [`Array::MOST`] elements; there are none of arrays.
    pub fn array(of: DataType, length: usize) -> Option<DataType> {
        const ELEMENTS: &[DataType] = &DataType::ALL;
        let of = ELEMENTS.iter().find(|kind| **kind == of)?;
        let length = u16::try_from(length).ok().filter(|length| (1..=Array::MOST).contains(length))?;
        Some(DataType::Array(of, length))
    }

    /// The type of the elements of an array; any other is its own.
    pub fn element(self) -> DataType {
        if let DataType::Array(of, _) = self { *of } else { self }
    }

    /// How many elements an array has.
    pub fn length(self) -> Option<u16> {
        if let DataType::Array(_, length) = self { Some(length) } else { None }
    }

    /// The same, an array or not, of elements of another type.
    pub fn of(self, element: DataType) -> DataType {
        self.length().and_then(|length| DataType::array(element, length.into())).unwrap_or(element)
    }

    /// Whether scale, offset, limits and deadband make sense for it; those of an array are for each element.
    pub fn is_number(self) -> bool {
        !matches!(self.element(), DataType::Bool | DataType::Text)
    }

    /// Whether it takes several registers, so that a device has an order for their words.
    pub fn is_wide(self) -> bool {
        use DataType::*;
        matches!(self.element(), I32 | U32 | I64 | U64 | F32 | F64)
    }

    /// The name of an element.
    fn word(self) -> &'static str {
        match self {
            DataType::Bool => "bool",
            DataType::I8 => "i8",
            DataType::U8 => "u8",
            DataType::I16 => "i16",
            DataType::U16 => "u16",
            DataType::I32 => "i32",
            DataType::U32 => "u32",
            DataType::I64 => "i64",
            DataType::U64 => "u64",
            DataType::F32 => "f32",
            DataType::F64 => "f64",
            DataType::Text => "string",
            DataType::Array(of, _) => of.word(),
        }
    }
}

/// The name in the configuration file.
impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Array(of, length) => write!(f, "{}[{length}]", of.word()),
            scalar => f.write_str(scalar.word()),
        }
    }
}

impl FromStr for DataType {
    type Err = NoType;

    fn from_str(text: &str) -> Result<DataType, NoType> {
        let (name, length) = match text.split_once('[') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let of = DataType::ALL.into_iter().find(|kind| kind.word() == name);
        let of = of.ok_or_else(|| NoType::Unknown(name.to_owned()))?;
        let Some(rest) = length else { return Ok(of) };
        let digits = rest.strip_suffix(']').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok());
        length.and_then(|length| DataType::array(of, length)).ok_or_else(|| NoType::Length(text.to_owned()))
    }
}

impl Serialize for DataType {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DataType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<DataType, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = DataType;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type as \"f32\", or with a length \"f32[8]\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<DataType, E> {
                text.parse().map_err(|error| match error {
                    NoType::Unknown(name) => E::unknown_variant(&name, WORDS),
                    length => E::custom(length),
                })
            }
        }
        from.deserialize_str(Word)
    }
}

impl JsonSchema for DataType {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "type".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let array = format!(r"^({})\[[0-9]+\]$", WORDS.join("|"));
        json_schema!({
            "type": "string",
            "anyOf": [{ "enum": WORDS }, { "pattern": array }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_comes_back_from_its_name() {
        let arrays = DataType::ALL.into_iter().filter_map(|of| DataType::array(of, 8));
        assert_eq!(DataType::ALL.map(DataType::word), WORDS);
        for kind in DataType::ALL.into_iter().chain(arrays) {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("f32[8]".parse(), Ok(DataType::Array(&DataType::F32, 8)));
    }

    #[test]
    fn what_is_no_type_is_told_apart() {
        for text in ["float", "", "[8]", "f32 [8]"] {
            assert!(matches!(text.parse::<DataType>(), Err(NoType::Unknown(_))), "{text}");
        }
        for text in
            ["f32[", "f32[]", "f32[0]", "f32[-1]", "f32[+8]", "f32[8", "f32[8] ", "f32[2001]", "f32[8][8]"]
        {
            assert_eq!(text.parse::<DataType>(), Err(NoType::Length(text.into())), "{text}");
        }
    }

    #[test]
    fn there_is_no_array_of_arrays() {
        let array = DataType::array(DataType::U8, 3).unwrap();
        assert_eq!(DataType::array(array, 3), None);
        assert_eq!(array.of(DataType::F64), DataType::Array(&DataType::F64, 3));
    }
}
