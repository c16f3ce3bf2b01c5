//! Decode and encode are inverse for every type, order and scale, and known registers give known values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::sync::Arc;

use fieldgate::model::{DataType, Order, Place, Raw, TagId, Value};
use fieldgate::normalize::decode::{DecodeError, decode};
use fieldgate::normalize::encode::{EncodeError, encode};
use fieldgate::normalize::{Rule, Scaling};
use proptest::prelude::*;

const ORDERS: [Order; 4] = [Order::Abcd, Order::Badc, Order::Cdab, Order::Dcba];

fn rule(kind: DataType, order: Order) -> Rule {
    Rule { order, ..Rule::plain(TagId(0), kind) }
}

fn words(kind: DataType) -> usize {
    match kind {
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

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(value in value(), order in prop::sample::select(ORDERS.to_vec())) {
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
        for kind in DataType::ALL {
            for place in [Place::Words { at, count }, Place::WordBit { at, bit: 255 }, Place::HalfWord { at, high: true }, Place::Bit { at }] {
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
