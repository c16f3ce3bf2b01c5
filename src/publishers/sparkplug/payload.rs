//! The Sparkplug B payload on the wire (it alone names prost; field numbers: `sparkplug_b.proto`).

mod compressed;
pub mod direct;
mod shapes;
pub mod weigh;

pub use compressed::{Algorithm, COMPRESSED, compressed};
pub use shapes::{Cell, CellValue, DataSet, Parameter, Row, Template};

use prost::{Message, Oneof};

use super::arrays;
use crate::model::{DataType, Labels, Quality, Sample, Tag, Timestamp, Value};

/// A payload (Sparkplug 3.0, 6.4.1).
#[derive(Clone, PartialEq, Message)]
pub struct Payload {
    /// Milliseconds since 1970, when it was made.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// The metrics.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
    /// 0 to 255.
    #[prost(uint64, optional, tag = "3")]
    pub seq: Option<u64>,
    /// What kind of payload it is; here only that it is compressed.
    #[prost(string, optional, tag = "4")]
    pub uuid: Option<String>,
    /// Another payload, compressed.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub body: Option<Vec<u8>>,
}

/// A metric (6.4.6).
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// The name; in births, and where there is no alias.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// The number that stands for the name after a birth.
    #[prost(uint64, optional, tag = "2")]
    pub alias: Option<u64>,
    /// Milliseconds since 1970, when the value was read.
    #[prost(uint64, optional, tag = "3")]
    pub timestamp: Option<u64>,
    /// The type; in births and commands.
    #[prost(uint32, optional, tag = "4")]
    pub datatype: Option<u32>,
    /// Only ever `Some(true)`.
    #[prost(bool, optional, tag = "5")]
    pub is_historical: Option<bool>,
    /// No value.
    #[prost(bool, optional, tag = "7")]
    pub is_null: Option<bool>,
    /// Quality, unit, limits.
    #[prost(message, optional, tag = "9")]
    pub properties: Option<PropertySet>,
    /// The value.
    #[prost(oneof = "Raw", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
    pub value: Option<Raw>,
}

/// The value of a metric as it lies on the wire.
#[derive(Clone, PartialEq, Oneof)]
pub enum Raw {
    /// Int8 to Int32 (sign-extended), UInt8, UInt16.
    #[prost(uint32, tag = "10")]
    Int(u32),
    /// Int64, UInt32, UInt64.
    #[prost(uint64, tag = "11")]
    Long(u64),
    /// Float.
    #[prost(float, tag = "12")]
    Float(f32),
    /// Double.
    #[prost(double, tag = "13")]
    Double(f64),
    /// Boolean.
    #[prost(bool, tag = "14")]
    Bool(bool),
    /// String.
    #[prost(string, tag = "15")]
    Text(String),
    /// Arrays.
    #[prost(bytes = "vec", tag = "16")]
    Bytes(Vec<u8>),
    /// DataSet.
    #[prost(message, tag = "17")]
    Set(DataSet),
    /// Template.
    #[prost(message, tag = "18")]
    Template(Template),
}

/// Properties of a metric (6.4.11).
#[derive(Clone, PartialEq, Message)]
pub struct PropertySet {
    /// As many as values.
    #[prost(string, repeated, tag = "1")]
    pub keys: Vec<String>,
    /// As many as keys.
    #[prost(message, repeated, tag = "2")]
    pub values: Vec<PropertyValue>,
}

/// One property.
#[derive(Clone, PartialEq, Message)]
pub struct PropertyValue {
    /// The type.
    #[prost(uint32, optional, tag = "1")]
    pub kind: Option<u32>,
    /// The value.
    #[prost(oneof = "Property", tags = "3, 4, 6, 7, 8")]
    pub value: Option<Property>,
}

/// The value of a property.
#[derive(Clone, PartialEq, Oneof)]
pub enum Property {
    /// Int32.
    #[prost(uint32, tag = "3")]
    Int(u32),
    /// UInt32, which lies in `long_value` (6.4.17).
    #[prost(uint64, tag = "4")]
    Long(u64),
    /// Double.
    #[prost(double, tag = "6")]
    Double(f64),
    /// Boolean.
    #[prost(bool, tag = "7")]
    Bool(bool),
    /// String.
    #[prost(string, tag = "8")]
    Text(String),
}

/// Numbers of the data types (6.4.16).
pub const INT32: u32 = 3;
/// See above.
pub const INT64: u32 = 4;
/// See above.
pub const UINT32: u32 = 7;
/// See above.
pub const DOUBLE: u32 = 10;
/// See above.
pub const BOOLEAN: u32 = 11;
/// See above.
pub const STRING: u32 = 12;
/// See above.
pub const DATA_SET: u32 = 16;
/// See above.
pub const TEMPLATE: u32 = 19;

/// The Sparkplug number of a type of ours.
pub fn datatype(kind: DataType) -> u32 {
    match kind {
        DataType::I8 => 1,
        DataType::I16 => 2,
        DataType::I32 => INT32,
        DataType::I64 => INT64,
        DataType::U8 => 5,
        DataType::U16 => 6,
        DataType::U32 => UINT32,
        DataType::U64 => 8,
        DataType::F32 => 9,
        DataType::F64 => DOUBLE,
        DataType::Bool => BOOLEAN,
        DataType::Text => STRING,
        DataType::Array(of, _) => self::datatype(*of) + arrays::BEFORE,
    }
}

/// The type of ours that has this number. An array is as long as the tag for which it is meant.
pub fn kind(datatype: u32, tag: DataType) -> Option<DataType> {
    let (of, array) = match datatype.checked_sub(arrays::BEFORE) {
        Some(of @ 1..) => (of, true),
        _ => (datatype, false),
    };
    // Text (14) differs from String in nothing that a tag has.
    let of = if of == 14 && !array { STRING } else { of };
    let of = DataType::ALL.into_iter().find(|k| self::datatype(*k) == of)?;
    if array { DataType::array(of, tag.length()?.into()) } else { Some(of) }
}

/// The Quality property (6.4.12): 192 good, 0 bad, 500 stale: a value to be used with care.
pub fn quality(quality: Quality) -> u32 {
    match quality {
        Quality::Good => 192,
        Quality::Uncertain(_) => 500,
        Quality::Bad(_) => 0,
    }
}

/// Milliseconds as Sparkplug counts them; before 1970 is 1970.
pub fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.millis()).unwrap_or(0)
}

impl From<&Value> for Raw {
    fn from(value: &Value) -> Raw {
        match value {
            Value::Bool(v) => Raw::Bool(*v),
            // Two's complement, sign-extended to 32 bits, as Tahu sends them.
            Value::I8(v) => Raw::Int(i32::from(*v) as u32),
            Value::I16(v) => Raw::Int(i32::from(*v) as u32),
            Value::I32(v) => Raw::Int(*v as u32),
            Value::U8(v) => Raw::Int(u32::from(*v)),
            Value::U16(v) => Raw::Int(u32::from(*v)),
            // Tahu, Ignition and the TCK want it here.
            Value::U32(v) => Raw::Long(u64::from(*v)),
            Value::I64(v) => Raw::Long(*v as u64),
            Value::U64(v) => Raw::Long(*v),
            Value::F32(v) => Raw::Float(*v),
            Value::F64(v) => Raw::Double(*v),
            Value::Text(v) => Raw::Text(v.to_string()),
            Value::Array(v) => Raw::Bytes(arrays::pack(v)),
        }
    }
}

impl Raw {
    /// Reads it as this type; `None` where it does not lie in a field of the type, or not within its range.
    pub fn value(&self, kind: DataType) -> Option<Value> {
        // Hosts send UInt32 in either field; a narrow signed value comes sign-extended or not.
        let unsigned = || match self {
            Raw::Int(v) => Some(u64::from(*v)),
            Raw::Long(v) => Some(*v),
            _ => None,
        };
        let signed = |bits: u32| match self {
            Raw::Int(v) if bits < 32 && *v < 1 << bits => Some((*v << (32 - bits)) as i32 >> (32 - bits)),
            Raw::Int(v) => Some(*v as i32),
            Raw::Long(v) => i32::try_from(*v as i64).ok(),
            _ => None,
        };
        Some(match kind {
            DataType::Bool => match self {
                Raw::Bool(v) => Value::Bool(*v),
                _ => return None,
            },
            DataType::I8 => Value::I8(signed(8)?.try_into().ok()?),
            DataType::I16 => Value::I16(signed(16)?.try_into().ok()?),
            DataType::I32 => Value::I32(signed(32)?),
            DataType::U8 => Value::U8(unsigned()?.try_into().ok()?),
            DataType::U16 => Value::U16(unsigned()?.try_into().ok()?),
            DataType::U32 => Value::U32(unsigned()?.try_into().ok()?),
            DataType::I64 => match self {
                // Above that it may be a large number or a negative one that was not extended: nobody knows.
                Raw::Int(v) => Value::I64(i64::from(i32::try_from(*v).ok()?)),
                _ => Value::I64(unsigned()? as i64),
            },
            DataType::U64 => Value::U64(unsigned()?),
            DataType::F32 => match self {
                Raw::Float(v) => Value::F32(*v),
                _ => return None,
            },
            DataType::F64 => match self {
                Raw::Double(v) => Value::F64(*v),
                Raw::Float(v) => Value::F64(f64::from(*v)),
                _ => return None,
            },
            DataType::Text => match self {
                Raw::Text(v) => Value::Text(v.as_str().into()),
                _ => return None,
            },
            DataType::Array(of, _) => match self {
                Raw::Bytes(v) => Value::Array(arrays::unpack(*of, v).filter(|a| a.data_type() == kind)?),
                _ => return None,
            },
        })
    }
}

impl PropertySet {
    fn push(&mut self, key: &str, kind: u32, value: Property) {
        self.keys.push(key.to_owned());
        self.values.push(PropertyValue { kind: Some(kind), value: Some(value) });
    }

    fn quality(quality: Quality) -> PropertySet {
        let mut set = PropertySet::default();
        set.say_quality(self::quality(quality));
        set
    }

    /// Type 3 by the text of the specification; some versions of the TCK want 4.
    pub fn say_quality(&mut self, code: u32) {
        self.push("Quality", INT32, Property::Int(code));
    }

    /// Whether the time stamp is from a synchronised clock: said where it is not, and where it is `again`.
    fn clock(&mut self, sample: &Sample, again: bool) {
        let is = sample.stamp.is_synchronised();
        if again || !is {
            self.say_clock(is);
        }
    }

    /// See above.
    pub fn say_clock(&mut self, synchronised: bool) {
        self.push("ClockSynchronised", BOOLEAN, Property::Bool(synchronised));
    }

    /// A property by name.
    pub fn get(&self, key: &str) -> Option<&Property> {
        let at = self.keys.iter().position(|k| k == key)?;
        self.values.get(at)?.value.as_ref()
    }
}

/// What data say besides the value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Say {
    /// The quality.
    pub quality: bool,
    /// That the clock is synchronised; that it is not is always said.
    pub clock: bool,
}

impl Metric {
    /// A tag in a birth: name, alias, type, value, all properties; or those alone that cannot be left out.
    pub fn birth(tag: &Tag, alias: u64, sample: &Sample, all: bool) -> Metric {
        let name = Some(tag.name.to_string());
        let datatype = Some(datatype(tag.kind));
        if !all {
            // What is not said counts as good, and null says that it is bad.
            let say = Say { quality: matches!(sample.quality, Quality::Uncertain(_)), clock: false };
            return Metric { name, datatype, ..Metric::data(alias, sample, false, say) };
        }
        let mut properties = PropertySet::quality(sample.quality);
        properties.clock(sample, false);
        if let Some(unit) = &tag.unit {
            properties.push("engUnit", STRING, Property::Text(unit.to_string()));
        }
        for (key, limit) in [("engLow", tag.low), ("engHigh", tag.high)] {
            if let Some(limit) = limit {
                properties.push(key, DOUBLE, Property::Double(limit));
            }
        }
        if let Some(description) = &tag.description {
            properties.push("description", STRING, Property::Text(description.to_string()));
        }
        Metric {
            name,
            datatype,
            properties: Some(properties),
            ..Metric::data(alias, sample, false, Say::default())
        }
    }

    /// The same with what its values are called, where it has properties.
    pub fn labelled(mut self, labels: Option<&Labels>, all: bool) -> Metric {
        if let (Some(labels), Some(properties), true) = (labels, &mut self.properties, all) {
            let all: Vec<_> = labels.iter().map(|(value, name)| format!("{value}={name}")).collect();
            properties.push("labels", STRING, Property::Text(all.join("; ")));
        }
        self
    }

    /// A tag in NDATA or DDATA: alias and value; quality and clock where they have to be said.
    pub fn data(alias: u64, sample: &Sample, history: bool, say: Say) -> Metric {
        let mut properties =
            if say.quality { PropertySet::quality(sample.quality) } else { PropertySet::default() };
        properties.clock(sample, say.clock);
        Metric {
            alias: Some(alias),
            timestamp: Some(millis(sample.at)),
            is_historical: history.then_some(true),
            is_null: sample.value.is_none().then_some(true),
            properties: Some(properties).filter(|set| !set.keys.is_empty()),
            value: sample.value.as_ref().map(Raw::from),
            ..Metric::default()
        }
    }

    /// A metric that is no tag; null without a value.
    pub fn own(name: &str, datatype: u32, value: impl Into<Option<Raw>>, at: Timestamp) -> Metric {
        let value = value.into();
        Metric {
            name: Some(name.to_owned()),
            timestamp: Some(millis(at)),
            datatype: Some(datatype),
            is_null: value.is_none().then_some(true),
            value,
            ..Metric::default()
        }
    }

    /// Bytes in a payload, with tag and length.
    pub fn size(&self) -> usize {
        // A length of up to 256 MiB takes four bytes.
        self.encoded_len() + 5
    }
}

impl Payload {
    /// Bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// What others sent; `None` when it is no payload.
    pub fn parse(bytes: &[u8]) -> Option<Payload> {
        Payload::decode(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_from_its_field() {
        let values = [
            Value::Bool(true),
            Value::I8(-1),
            Value::I8(-128),
            Value::U8(255),
            Value::I16(-2),
            Value::U16(65535),
            Value::I32(i32::MIN),
            Value::U32(u32::MAX),
            Value::I64(i64::MIN),
            Value::U64(u64::MAX),
            Value::F32(0.1),
            Value::F64(-1e300),
            Value::Text("Füller".into()),
            Value::Array(crate::model::Array::F32([0.1, -1.0].into())),
        ];
        for value in values {
            let raw = Raw::from(&value);
            assert_eq!(raw.value(value.data_type()), Some(value.clone()), "{raw:?}");
            let own = value.data_type();
            assert_eq!(kind(datatype(own), own), Some(own));
        }
        assert_eq!(Raw::from(&Value::I8(-1)), Raw::Int(u32::MAX));
        assert_eq!(Raw::from(&Value::U32(7)), Raw::Long(7));
    }

    #[test]
    fn a_birth_says_what_values_are_called_unless_properties_are_off() {
        let labels = Labels::Switch { off: "Stopped".into(), on: "Running".into() };
        let metric = |properties| Metric { properties, ..Metric::default() };
        let said = metric(Some(PropertySet::default())).labelled(Some(&labels), true);
        let said = said.properties.unwrap();
        assert_eq!(said.get("labels"), Some(&Property::Text("off=Stopped; on=Running".into())));
        let silent = metric(Some(PropertySet::default())).labelled(Some(&labels), false);
        assert!(silent.properties.unwrap().keys.is_empty());
        assert_eq!(metric(None).labelled(Some(&labels), true).properties, None);
    }

    #[test]
    fn each_type_of_array_has_its_number() {
        let numbers = DataType::ALL.map(|of| datatype(DataType::array(of, 2).unwrap()));
        // BooleanArray, Int8Array, UInt8Array, … FloatArray, DoubleArray, StringArray (6.4.16).
        assert_eq!(numbers, [32, 22, 26, 23, 27, 24, 28, 25, 29, 30, 31, 33]);
        let pair = DataType::array(DataType::U16, 2).unwrap();
        assert_eq!(kind(27, pair), Some(pair));
        // No array for a tag that is none; dates and what there is not.
        assert_eq!(kind(27, DataType::U16), None);
        assert_eq!([13, 21, 34, 35].map(|number| kind(number, pair)), [None; 4]);
        let three = Raw::from(&Value::Array(crate::model::Array::U16([1, 2, 3].into())));
        assert_eq!(three.value(pair), None);
    }

    #[test]
    fn a_command_may_send_narrow_integers_and_uint32_in_either_field() {
        assert_eq!(Raw::Int(0xFF).value(DataType::I8), Some(Value::I8(-1)));
        assert_eq!(Raw::Int(0xFFFF).value(DataType::I16), Some(Value::I16(-1)));
        assert_eq!(Raw::Int(7).value(DataType::U32), Some(Value::U32(7)));
        assert_eq!(Raw::Long(7).value(DataType::U16), Some(Value::U16(7)));
        assert_eq!(Raw::Int(300).value(DataType::U8), None);
        assert_eq!(Raw::Int(300).value(DataType::I8), None);
        assert_eq!(Raw::Text("fast".into()).value(DataType::U16), None);
    }

    #[test]
    fn garbage_is_no_payload_or_an_empty_one() {
        assert_eq!(Payload::parse(&[0xFF; 40]), None);
        assert_eq!(Payload::parse(&[0; 12_000]), None);
        assert_eq!(Payload::parse(b""), Some(Payload::default()));
    }
}
