//! What becomes of a value that a host sends as one type to a tag of another: every pair of them, at the edges.
//!
//! The rule is worked out here a second time, with numbers wide enough for all: a value arrives as it was meant, or not.

use fieldgate::model::{DataType, TagId, Timestamp, Value};
use fieldgate::publishers::sparkplug::commands::{self, Asked, Names};
use fieldgate::publishers::sparkplug::payload::{Metric, Payload, Raw};
use fieldgate::publishers::sparkplug::topic::Topics;

struct One(DataType);

impl Names for One {
    fn by_name(&self, _device: Option<&str>, name: &str) -> Option<(TagId, DataType)> {
        (name == "tag").then_some((TagId(1), self.0))
    }
    fn by_alias(&self, _device: Option<&str>, _alias: u64) -> Option<(TagId, DataType)> {
        None
    }
}

/// What a device would be told, by the gate's own step behind the command; `None`: refused.
fn told(sent_as: Option<u32>, raw: &Raw, tag: DataType) -> Option<Value> {
    let metric =
        Metric { name: Some("tag".into()), datatype: sent_as, value: Some(raw.clone()), ..Metric::default() };
    let topics = Topics::new(&"g".into(), &"n".into());
    let bytes = Payload { metrics: vec![metric], ..Payload::default() }.bytes();
    let asked = commands::read(&topics, &topics.device("DCMD", "d"), &bytes, false, Timestamp(0), &One(tag));
    match &asked[..] {
        [Asked::Write(TagId(1), value)] => value.coerce(tag),
        [Asked::Refused(_)] => None,
        other => panic!("{other:?}"),
    }
}

/// What was meant.
#[derive(Debug, Clone, PartialEq)]
enum Meant {
    Bool(bool),
    Whole(i128),
    Single(f32),
    Double(f64),
    Text(String),
}

/// Bits and sign of an integer type by its number (6.4.16).
fn integer(datatype: u32) -> Option<(u32, bool)> {
    Some(match datatype {
        1 => (8, true),
        2 => (16, true),
        3 => (32, true),
        4 => (64, true),
        5 => (8, false),
        6 => (16, false),
        7 => (32, false),
        8 => (64, false),
        _ => return None,
    })
}

/// What a value of this type means in this field; `None` where it cannot be told.
fn meant(datatype: u32, raw: &Raw) -> Option<Meant> {
    if let Some((bits, signed)) = integer(datatype) {
        let low = if signed { -(1_i128 << (bits - 1)) } else { 0 };
        let high = low + (1_i128 << bits) - 1;
        let number = match raw {
            // A field of 32 bits: two's complement of the type's own width, or extended to 32; a wide type has only small ones.
            Raw::Int(v) if signed && bits < 32 && i128::from(*v) < 1 << bits => {
                let v = i128::from(*v);
                if v > high { v - (1 << bits) } else { v }
            }
            Raw::Int(v) if signed && bits <= 32 => i128::from(*v as i32),
            Raw::Int(v) if signed && *v > i32::MAX as u32 => return None,
            Raw::Int(v) => i128::from(*v),
            Raw::Long(v) if signed => i128::from(*v as i64),
            Raw::Long(v) => i128::from(*v),
            _ => return None,
        };
        return (low..=high).contains(&number).then_some(Meant::Whole(number));
    }
    match (datatype, raw) {
        (9, Raw::Float(v)) => Some(Meant::Single(*v)),
        (10, Raw::Double(v)) => Some(Meant::Double(*v)),
        (10, Raw::Float(v)) => Some(Meant::Double(f64::from(*v))),
        (11, Raw::Bool(v)) => Some(Meant::Bool(*v)),
        (12 | 14, Raw::Text(v)) => Some(Meant::Text(v.clone())),
        _ => None,
    }
}

/// Whether a tag holds what was meant.
fn holds(tag: &Value, meant: &Meant) -> bool {
    match (meant, tag) {
        (Meant::Bool(b), Value::Bool(v)) => b == v,
        (Meant::Text(t), Value::Text(v)) => **t == **v,
        (Meant::Single(f), Value::F32(v)) => f.to_bits() == v.to_bits(),
        (Meant::Double(f), Value::F64(v)) => f.to_bits() == v.to_bits(),
        // The nearest single, within its range.
        (Meant::Double(f), Value::F32(v)) => (*f as f32).to_bits() == v.to_bits() && (*v != 0.0 || *f == 0.0),
        (Meant::Single(f), Value::F64(v)) => f64::from(*f).to_bits() == v.to_bits(),
        (Meant::Whole(n), Value::F32(v)) => f64::from(*v) == *n as f64 && *v as i128 == *n,
        (Meant::Whole(n), Value::F64(v)) => *v as i128 == *n,
        (Meant::Whole(n), v) => v.as_integer() == Some(*n),
        (Meant::Single(f), v) => v.as_integer().is_some_and(|n| n as f64 == f64::from(*f)),
        (Meant::Double(f), v) => v.as_integer().is_some_and(|n| n as f64 == *f && *f as i128 == n),
        _ => false,
    }
}

/// Whether a tag of this type could hold it at all.
fn could(tag: DataType, meant: &Meant) -> bool {
    let within = |n: i128| {
        let (bits, signed) = match tag {
            DataType::I8 => (8, true),
            DataType::I16 => (16, true),
            DataType::I32 => (32, true),
            DataType::I64 => (64, true),
            DataType::U8 => (8, false),
            DataType::U16 => (16, false),
            DataType::U32 => (32, false),
            DataType::U64 => (64, false),
            _ => return false,
        };
        let low = if signed { -(1_i128 << (bits - 1)) } else { 0 };
        (low..low + (1_i128 << bits)).contains(&n)
    };
    let whole = |f: f64| f.is_finite() && f.fract() == 0.0 && f.abs() < 1e20 && within(f as i128);
    match (meant, tag) {
        (Meant::Bool(_), DataType::Bool) | (Meant::Text(_), DataType::Text) => true,
        (Meant::Bool(_) | Meant::Text(_), _) | (_, DataType::Bool | DataType::Text | DataType::Array(..)) => {
            false
        }
        (Meant::Whole(n), DataType::F32) => (*n as f32) as i128 == *n && (*n as f64) as i128 == *n,
        (Meant::Whole(n), DataType::F64) => (*n as f64) as i128 == *n,
        (Meant::Whole(n), _) => within(*n),
        (Meant::Single(_), DataType::F32 | DataType::F64) | (Meant::Double(_), DataType::F64) => true,
        (Meant::Double(f), DataType::F32) => {
            !f.is_finite() || (*f as f32).is_finite() && (*f == 0.0 || *f as f32 != 0.0)
        }
        (Meant::Single(f), _) => whole(f64::from(*f)),
        (Meant::Double(f), _) => whole(*f),
    }
}

fn edges() -> Vec<Raw> {
    let whole = [
        0,
        1,
        2,
        127,
        128,
        200,
        255,
        256,
        32_767,
        32_768,
        65_535,
        65_536,
        16_777_216,
        16_777_217,
        0x7FFF_FFFF,
        0x8000_0000,
        0xFFFF_FF80,
        0xFFFF_8000,
        0xFFFF_FFFF,
    ];
    let long = [
        1 << 32,
        (1 << 53) - 1,
        1 << 53,
        (1 << 53) + 1,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
        -1_i64 as u64,
        -129_i64 as u64,
        i64::MIN as u64,
        u64::MAX - 1023,
        u64::MAX - 2047,
    ];
    let mut all: Vec<Raw> = whole.into_iter().map(Raw::Int).collect();
    all.extend(whole.into_iter().map(|v| Raw::Long(v.into())));
    all.extend(long.into_iter().map(Raw::Long));
    let floats = [
        0.0,
        -0.0,
        0.5,
        1.0,
        -1.0,
        127.0,
        128.0,
        -128.0,
        -129.0,
        255.0,
        256.0,
        65_536.0,
        16_777_216.0,
        16_777_217.0,
        4_294_967_295.0,
        9_007_199_254_740_992.0,
        9_223_372_036_854_775_807.0,
        18_446_744_073_709_551_615.0,
        1e20,
        -1e20,
        1e-300,
        1e-40,
        1e300,
        3.402_823_466_385_288_6e38,
        3.5e38,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    all.extend(floats.into_iter().map(Raw::Double));
    all.extend(floats.into_iter().map(|v| Raw::Float(v as f32)));
    all.extend([
        Raw::Bool(true),
        Raw::Bool(false),
        Raw::Text(String::new()),
        Raw::Text("42".into()),
        Raw::Text("x".repeat(5000)),
    ]);
    all.extend([Raw::Bytes(vec![]), Raw::Bytes(vec![1, 0, 0, 0])]);
    all
}

#[test]
fn a_value_arrives_as_it_was_meant_or_not_at_all_from_every_type_to_every_other() {
    let (mut arrived, mut refused) = (0, 0);
    for tag in DataType::ALL {
        for datatype in (1..=40).chain([255, u32::MAX]) {
            for raw in edges() {
                let what = || format!("{raw:?} sent as {datatype} to {tag:?}");
                // Arrays have their own tests; none of these fits one.
                let wanted = meant(datatype, &raw).filter(|meant| could(tag, meant));
                match (told(Some(datatype), &raw, tag), wanted) {
                    (Some(value), Some(meant)) => {
                        assert!(holds(&value, &meant), "{}: {value:?}, meant {meant:?}", what());
                        arrived += 1;
                    }
                    (None, None) => refused += 1,
                    (value, meant) => panic!("{}: {value:?}, meant {meant:?}", what()),
                }
            }
        }
    }
    assert!(arrived > 1000 && refused > 10_000, "{arrived}, {refused}");
}

#[test]
fn without_a_type_a_value_has_that_of_the_birth() {
    for tag in DataType::ALL {
        let own = fieldgate::publishers::sparkplug::payload::datatype(tag);
        for raw in edges() {
            let same = |value: Option<Value>| format!("{value:?}");
            assert_eq!(same(told(None, &raw, tag)), same(told(Some(own), &raw, tag)), "{raw:?} to {tag:?}");
            assert_eq!(
                same(told(Some(0), &raw, tag)),
                same(told(Some(own), &raw, tag)),
                "{raw:?} to {tag:?}"
            );
        }
    }
}

/// Of the cells of the guide's table: nothing arrives, all of it, or what the words say.
#[test]
fn the_table_of_the_guide_says_what_is_so() {
    let guide = include_str!("../../docs/sparkplug.md");
    let table: Vec<Vec<&str>> = guide
        .lines()
        .skip_while(|line| !line.starts_with("| sent as |"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let whole =
        |kind: &DataType| integer(fieldgate::publishers::sparkplug::payload::datatype(*kind)).is_some();
    let tags = |column: &str| -> Vec<DataType> {
        match column {
            "bool" => vec![DataType::Bool],
            "integers" => DataType::ALL.into_iter().filter(whole).collect(),
            "`f32`" => vec![DataType::F32],
            "`f64`" => vec![DataType::F64],
            "`string`" => vec![DataType::Text],
            other => panic!("a column {other}"),
        }
    };
    let sent_as = |row: &str| match row {
        "Boolean" => 11..=11,
        "Int8 … UInt64" => 1..=8,
        "Float" => 9..=9,
        "Double" => 10..=10,
        // 13 is a date and time.
        "String, Text" => 12..=14,
        other => panic!("a row {other}"),
    };
    let mut cells = 0;
    for row in &table[2..] {
        for (column, says) in table[0].iter().zip(row).skip(1) {
            let (mut arrived, mut refused) = (0, 0);
            for tag in tags(column) {
                for datatype in sent_as(row[0]).filter(|datatype| *datatype != 13) {
                    for raw in edges().iter().filter(|raw| meant(datatype, raw).is_some()) {
                        *(if told(Some(datatype), raw, tag).is_some() {
                            &mut arrived
                        } else {
                            &mut refused
                        }) += 1;
                    }
                }
            }
            let so = match (arrived, refused) {
                (0, _) => *says == "no",
                (_, 0) => *says == "yes",
                _ => !["yes", "no"].contains(says),
            };
            assert!(
                so,
                "{} to {column}: the guide says {says}; {arrived} arrived, {refused} did not",
                row[0]
            );
            cells += 1;
        }
    }
    assert_eq!(cells, 25);
}
