//! Decode and encode are inverse for every type, order and scale, and known registers give known values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::sync::Arc;

use fieldgate::model::{
    Array, DataType, Missing, Order, Place, Quality, Raw, Stamp, TagId, Timestamp, Uncertain, Value,
};
use fieldgate::normalize::decode::{DecodeError, decode};
use fieldgate::normalize::encode::{EncodeError, encode};
use fieldgate::normalize::quality::of_value;
use fieldgate::normalize::{Normalizer, PlacedRule, Rule, Scaling};
use proptest::prelude::*;

const ORDERS: [Order; 4] = [Order::Abcd, Order::Badc, Order::Cdab, Order::Dcba];

fn rule(kind: DataType, order: Order) -> Rule {
    Rule { order, ..Rule::plain(TagId(0), kind) }
}

fn words(kind: DataType) -> usize {
    match kind {
        DataType::Array(DataType::I8 | DataType::U8, length) => usize::from(length).div_ceil(2),
        DataType::Array(of, length) => words(*of) * usize::from(length),
        DataType::I32 | DataType::U32 | DataType::F32 => 2,
        DataType::I64 | DataType::U64 | DataType::F64 => 4,
        DataType::Text => 8,
        _ => 1,
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<f32>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::F32),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::F64),
        "[a-zA-Z0-9äö€ ]{0,4}[a-z]?".prop_map(|t| Value::Text(Arc::from(t.trim_end()))),
    ]
}

/// Several of one type.
fn array() -> impl Strategy<Value = Value> {
    let element = prop_oneof![value(), any::<i8>().prop_map(Value::I8), any::<u8>().prop_map(Value::U8)];
    prop::collection::vec(element, 1..20).prop_map(|mut all| {
        let of = all[0].data_type();
        all.retain(|one| one.data_type() == of);
        Value::Array(Array::collect(of, all.into_iter()).unwrap())
    })
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(value in prop_oneof![value(), array()], order in prop::sample::select(ORDERS.to_vec())) {
        let kind = value.data_type();
        let place = Place::Words { at: 0, count: words(kind) };
        let mut raw = Raw::default();
        encode(&rule(kind, order), place, &value, &mut raw).unwrap();
        prop_assert_eq!(decode(&rule(kind, order), place, &raw, None).unwrap(), value);
    }

    #[test]
    fn a_scaled_value_comes_back_within_half_a_step(raw in any::<i16>(), scale in 0.001_f64..100.0, offset in -50.0_f64..50.0) {
        let rule = Rule { scaling: Some(Scaling { scale, offset }), ..Rule::plain(TagId(0), DataType::I16) };
        let place = Place::Words { at: 0, count: 1 };
        let wire = Raw { words: vec![raw as u16], ..Raw::default() };
        let value = decode(&rule, place, &wire, None).unwrap();
        let mut back = Raw::default();
        encode(&rule, place, &value, &mut back).unwrap();
        prop_assert_eq!(back.words, wire.words);
    }

    #[test]
    fn no_words_at_all_make_a_panic(words in prop::collection::vec(any::<u16>(), 0..6), at in 0_usize..8, count in 0_usize..8) {
        let raw = Raw { words, ..Raw::default() };
        let arrays = [1, 3, 2000].into_iter().flat_map(|length| DataType::ALL.map(|of| DataType::array(of, length).unwrap()));
        for kind in DataType::ALL.into_iter().chain(arrays) {
            for place in [Place::Words { at, count }, Place::Bits { at, count }, Place::WordBit { at, bit: 255 }, Place::HalfWord { at, high: true }, Place::Bit { at }] {
                let _ = decode(&rule(kind, Order::Cdab), place, &raw, None);
            }
        }
    }
}

/// Registers and values worked out by hand from IEEE 754 and two's complement.
#[test]
fn known_registers_give_known_values_in_all_four_orders() {
    let known: [(DataType, [&[u16]; 4], Value); 4] = [
        (
            DataType::F32,
            [&[0x4120, 0x0000], &[0x2041, 0x0000], &[0x0000, 0x4120], &[0x0000, 0x2041]],
            Value::F32(10.0),
        ),
        (
            DataType::U32,
            [&[0x1234, 0x5678], &[0x3412, 0x7856], &[0x5678, 0x1234], &[0x7856, 0x3412]],
            Value::U32(0x1234_5678),
        ),
        (
            DataType::I64,
            [
                &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE],
                &[0xFFFF, 0xFFFF, 0xFFFF, 0xFEFF],
                &[0xFFFE, 0xFFFF, 0xFFFF, 0xFFFF],
                &[0xFEFF, 0xFFFF, 0xFFFF, 0xFFFF],
            ],
            Value::I64(-2),
        ),
        (
            DataType::F64,
            [
                &[0x4009, 0x21FB, 0x5444, 0x2D18],
                &[0x0940, 0xFB21, 0x4454, 0x182D],
                &[0x2D18, 0x5444, 0x21FB, 0x4009],
                &[0x182D, 0x4454, 0xFB21, 0x0940],
            ],
            Value::F64(std::f64::consts::PI),
        ),
    ];
    for (kind, layouts, value) in known {
        for (order, layout) in ORDERS.into_iter().zip(layouts) {
            let raw = Raw { words: layout.to_vec(), ..Raw::default() };
            let place = Place::Words { at: 0, count: layout.len() };
            assert_eq!(
                decode(&rule(kind, order), place, &raw, None),
                Ok(value.clone()),
                "{kind:?} {order:?}"
            );
        }
    }
}

#[test]
fn bits_and_bytes_of_a_register_are_counted_from_the_least_significant() {
    let raw = Raw { words: vec![0x80F1], ..Raw::default() };
    let bit =
        |bit| decode(&rule(DataType::Bool, Order::Abcd), Place::WordBit { at: 0, bit }, &raw, None).unwrap();
    assert_eq!((bit(0), bit(1), bit(15)), (Value::Bool(true), Value::Bool(false), Value::Bool(true)));
    let half =
        |kind, high| decode(&rule(kind, Order::Abcd), Place::HalfWord { at: 0, high }, &raw, None).unwrap();
    assert_eq!(half(DataType::U8, true), Value::U8(0x80));
    assert_eq!(half(DataType::I8, true), Value::I8(-128));
    assert_eq!(half(DataType::I8, false), Value::I8(-15));
}

#[test]
fn an_infinite_float_and_broken_text_are_no_values() {
    let place = Place::Words { at: 0, count: 2 };
    for words in [[0x7F80, 0], [0xFF80, 0], [0x7FC0, 0]] {
        let raw = Raw { words: words.to_vec(), ..Raw::default() };
        assert_eq!(
            decode(&rule(DataType::F32, Order::Abcd), place, &raw, None),
            Err(DecodeError::NotANumber)
        );
    }
    let raw = Raw { words: vec![0xC328, 0x2020], ..Raw::default() };
    assert_eq!(decode(&rule(DataType::Text, Order::Abcd), place, &raw, None), Err(DecodeError::NotText));
}

fn list(of: DataType, numbers: &[f64]) -> Value {
    let elements = numbers.iter().map(|number| Value::F64(*number).coerce(of).unwrap());
    Value::Array(Array::collect(of, elements).unwrap())
}

fn of(kind: &str) -> DataType {
    kind.parse().unwrap()
}

#[test]
fn the_elements_of_an_array_lie_one_after_the_other_each_in_the_order_of_the_tag() {
    let read = |kind: &str, order, words: &[u16]| {
        let raw = Raw { words: [&[0xDEAD], words].concat(), ..Raw::default() };
        decode(&rule(of(kind), order), Place::Words { at: 1, count: words.len() }, &raw, None)
    };
    let pair = list(DataType::U32, &[1.0, 131_074.0]);
    assert_eq!(read("u32[2]", Order::Abcd, &[0, 1, 2, 2]), Ok(pair.clone()));
    assert_eq!(read("u32[2]", Order::Cdab, &[1, 0, 2, 2]), Ok(pair.clone()));
    assert_eq!(read("u32[2]", Order::Dcba, &[0x0100, 0, 0x0200, 0x0200]), Ok(pair));
    // Two bytes in a register, the first in the high one; the rest of the last register means nothing.
    let bytes = list(DataType::U8, &[1.0, 2.0, 3.0]);
    assert_eq!(read("u8[3]", Order::Abcd, &[0x0102, 0x03FF]), Ok(bytes.clone()));
    assert_eq!(read("u8[3]", Order::Badc, &[0x0201, 0xFF03]), Ok(bytes));
    let texts = ["ab", "c"].map(|text| Value::Text(text.into()));
    let texts = Value::Array(Array::collect(DataType::Text, texts.into_iter()).unwrap());
    assert_eq!(read("string[2]", Order::Abcd, &[0x6162, 0x6300]), Ok(texts));
    // A place that the type does not fill.
    assert_eq!(read("u32[2]", Order::Abcd, &[0, 1, 2]), Err(DecodeError::Missing));
    assert_eq!(read("u8[5]", Order::Abcd, &[0, 1]), Err(DecodeError::Missing));
}

#[test]
fn bits_of_coils_are_an_array_and_come_back() {
    let (rule, place) = (rule(of("bool[3]"), Order::Abcd), Place::Bits { at: 1, count: 3 });
    let raw = Raw { bits: vec![true, true, false, true, true], ..Raw::default() };
    let value = Value::Array(Array::Bool([true, false, true].into()));
    assert_eq!(decode(&rule, place, &raw, None), Ok(value.clone()));
    let short = Raw { bits: vec![true; 3], ..Raw::default() };
    assert_eq!(decode(&rule, place, &short, None), Err(DecodeError::Missing));
    let mut back = Raw::default();
    encode(&rule, place, &value, &mut back).unwrap();
    assert_eq!((back.bits, back.words), (vec![true, false, true], vec![]));
}

#[test]
fn an_array_is_scaled_element_by_element_and_is_as_bad_as_its_worst() {
    let scaling = Some(Scaling { scale: 0.1, offset: -1.0 });
    let scaled = Rule { scaling, ..Rule::plain(TagId(0), of("i16[2]")) };
    let place = Place::Words { at: 0, count: 2 };
    let raw = Raw { words: vec![20, 0xFFF6], ..Raw::default() };
    let value = list(DataType::F64, &[1.0, -2.0]);
    assert_eq!(decode(&scaled, place, &raw, None), Ok(value.clone()));
    let mut back = Raw::default();
    encode(&scaled, place, &value, &mut back).unwrap();
    assert_eq!(back.words, raw.words);
    let limited = Rule { low: Some(-1.5), ..scaled };
    assert_eq!(of_value(&limited, &value), Quality::Uncertain(Uncertain::OutOfLimits));
    assert_eq!(of_value(&limited, &list(DataType::F64, &[1.0, -1.0])), Quality::Good);
    let broken = Raw { words: vec![0x3F80, 0, 0x7FC0, 0], ..Raw::default() };
    let place = Place::Words { at: 0, count: 4 };
    assert_eq!(decode(&rule(of("f32[2]"), Order::Abcd), place, &broken, None), Err(DecodeError::NotANumber));
    let missing = vec![Missing { at: 1, count: 1, code: 2 }];
    let refused = Raw { words: vec![0; 4], missing, ..Raw::default() };
    assert_eq!(decode(&rule(of("f32[2]"), Order::Abcd), place, &refused, None), Err(DecodeError::Refused(2)));
}

#[test]
fn an_unchanged_array_is_the_same_memory() {
    let rule = rule(of("f32[2]"), Order::Cdab);
    let place = Place::Words { at: 0, count: 4 };
    let mut raw = Raw { words: vec![0, 0x3F80, 0, 0x4000], ..Raw::default() };
    let Ok(Value::Array(Array::F32(first))) = decode(&rule, place, &raw, None) else { panic!() };
    let last = Value::Array(Array::F32(first.clone()));
    let Ok(Value::Array(Array::F32(again))) = decode(&rule, place, &raw, Some(&last)) else { panic!() };
    assert!(Arc::ptr_eq(&first, &again));
    raw.words[3] = 0x4040;
    assert_eq!(decode(&rule, place, &raw, Some(&last)), Ok(list(DataType::F32, &[1.0, 3.0])));
}

#[test]
fn one_element_beyond_the_deadband_reports_the_array() {
    let rule = Rule { deadband: 2.0, ..rule(of("u16[3]"), Order::Abcd) };
    let placed = PlacedRule::new(Place::Words { at: 0, count: 3 }, rule);
    let mut normalizer = Normalizer::new([[placed].as_slice()]);
    let mut samples = Vec::new();
    for (second, words) in [[10, 20, 30], [12, 18, 31], [10, 20, 33], [13, 20, 33]].into_iter().enumerate() {
        let raw = Raw { words: words.to_vec(), ..Raw::default() };
        let now = (Timestamp(second as i64), Stamp::Synchronised);
        normalizer.apply(0, Ok(&raw), now, &mut samples);
    }
    assert_eq!(samples.iter().map(|sample| sample.at.0).collect::<Vec<_>>(), [0, 2, 3]);
}

#[test]
fn an_array_of_another_length_or_with_one_wrong_element_is_not_written() {
    let mut raw = Raw::default();
    let place = Place::Words { at: 0, count: 2 };
    let mut write = |value: &Value| encode(&rule(of("u16[2]"), Order::Abcd), place, value, &mut raw);
    assert_eq!(write(&list(DataType::F64, &[1.0, 65535.0])), Ok(()));
    assert_eq!(write(&list(DataType::F64, &[1.0, 65536.0])), Err(EncodeError::OutOfRange));
    assert_eq!(write(&list(DataType::F64, &[1.0])), Err(EncodeError::WrongType));
    assert_eq!(write(&list(DataType::F64, &[1.0, 2.0, 3.0])), Err(EncodeError::WrongType));
    assert_eq!(write(&Value::U16(1)), Err(EncodeError::WrongType));
}

#[test]
fn a_value_that_the_registers_cannot_hold_is_refused() {
    let mut raw = Raw::default();
    let one = Place::Words { at: 0, count: 1 };
    let mut try_it = |rule: &Rule, value: Value| encode(rule, one, &value, &mut raw);
    let scaled =
        Rule { scaling: Some(Scaling { scale: 0.1, offset: 0.0 }), ..Rule::plain(TagId(0), DataType::U16) };
    assert_eq!(try_it(&scaled, Value::F64(6553.5)), Ok(()));
    assert_eq!(try_it(&scaled, Value::F64(6553.6)), Err(EncodeError::OutOfRange));
    assert_eq!(try_it(&scaled, Value::F64(-0.1)), Err(EncodeError::OutOfRange));
    let text = Rule::plain(TagId(0), DataType::Text);
    assert_eq!(try_it(&text, Value::Text("abc".into())), Err(EncodeError::OutOfRange));
    assert_eq!(try_it(&text, Value::Bool(true)), Err(EncodeError::WrongType));
}
