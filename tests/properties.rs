//! What holds for all requests, addresses, tags and values, not only for those that one thought of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::time::Duration;

use fieldgate::drivers::driver::Request as Asked;
use fieldgate::drivers::modbus::address::{Address, Area};
use fieldgate::drivers::modbus::config::{Framing, ModbusDevice, TcpLink};
use fieldgate::drivers::modbus::pdu::{self, Request};
use fieldgate::drivers::modbus::{compile_tcp, rtu, tcp};
use fieldgate::model::{DataType, Fault, Order, Place, Raw, TagId, Value};
use fieldgate::normalize::Rule;
use fieldgate::normalize::decode::decode;
use fieldgate::normalize::encode::encode;
use fieldgate::simulate::modbus::bank::{Bank, Sizes};
use proptest::prelude::*;

fn area() -> impl Strategy<Value = Area> {
    prop::sample::select(vec![Area::Coil, Area::Discrete, Area::Input, Area::Holding])
}

fn read() -> impl Strategy<Value = Request> {
    (area(), any::<u16>(), any::<u16>()).prop_map(|(area, start, count)| {
        let most = if area.is_bits() { pdu::MOST_BITS } else { pdu::MOST_REGISTERS };
        Request::Read { area, start, count: count % most + 1 }
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        read(),
        (any::<u16>(), any::<bool>()).prop_map(|(at, on)| Request::WriteCoil { at, on }),
        (any::<u16>(), any::<u16>()).prop_map(|(at, word)| Request::WriteRegister { at, word }),
        (any::<u16>(), prop::collection::vec(any::<bool>(), 1..=1968))
            .prop_map(|(at, bits)| Request::WriteCoils { at, bits }),
        (any::<u16>(), prop::collection::vec(any::<u16>(), 1..=123))
            .prop_map(|(at, words)| Request::WriteRegisters { at, words }),
        (any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(at, and, or)| Request::MaskRegister {
            at,
            and,
            or
        }),
        write_then_read(),
    ]
}

fn write_then_read() -> impl Strategy<Value = Request> {
    (any::<u16>(), 1..=125_u16, any::<u16>(), prop::collection::vec(any::<u16>(), 1..=121))
        .prop_map(|(start, count, at, words)| Request::WriteThenRead { start, count, at, words })
}

fn order() -> impl Strategy<Value = Order> {
    prop::sample::select(vec![Order::Abcd, Order::Badc, Order::Cdab, Order::Dcba])
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<f32>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::F32),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::F64),
    ]
}

fn words_of(kind: DataType) -> usize {
    match kind {
        DataType::I16 | DataType::U16 => 1,
        DataType::I32 | DataType::U32 | DataType::F32 => 2,
        _ => 4,
    }
}

/// A tag of any type at an address that fits it.
fn tag() -> impl Strategy<Value = (String, DataType, u16, bool)> {
    let bit = (prop::sample::select(vec!["coil", "discrete"]), 0..4000_u16)
        .prop_map(|(area, at)| (format!("{area}:{at}"), DataType::Bool, 0, area == "coil"));
    let bits = (prop::sample::select(vec!["coil", "discrete"]), 0..4000_u16, 1..=200_usize).prop_map(
        |(area, at, count)| {
            (format!("{area}:{at}"), DataType::array(DataType::Bool, count).unwrap(), 0, area == "coil")
        },
    );
    let numbers = DataType::ALL.into_iter().filter(|k| k.is_number()).collect::<Vec<_>>();
    let array = (
        prop::sample::select(vec!["input", "holding"]),
        0..600_u16,
        prop::sample::select(numbers),
        1..=5_usize,
    )
        .prop_map(|(area, at, of, count)| {
            (format!("{area}:{at}"), DataType::array(of, count).unwrap(), 0, area == "holding")
        });
    let kinds = DataType::ALL.into_iter().filter(|k| *k != DataType::Bool).collect::<Vec<_>>();
    let word =
        (prop::sample::select(vec!["input", "holding"]), 0..600_u16, prop::sample::select(kinds), 1..=40_u16)
            .prop_map(|(area, at, kind, length)| {
                let small = matches!(kind, DataType::I8 | DataType::U8);
                let length = if kind == DataType::Text { length } else { 0 };
                (format!("{area}:{at}"), kind, length, area == "holding" && !(small && at % 2 == 0))
            });
    let bit_of_word = (0..600_u16, 0..16_u8, any::<bool>())
        .prop_map(|(at, bit, writable)| (format!("holding:{at}.{bit}"), DataType::Bool, 0, writable));
    prop_oneof![bit, bits, word, array, bit_of_word]
}

fn link() -> TcpLink {
    toml::from_str("name = \"l\"\nhost = \"h\"").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_request_is_read_by_a_device_as_it_was_meant(request in any_request(), unit: u8, transaction: u16) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        prop_assert!(bytes.len() <= pdu::MOST);
        prop_assert_eq!(pdu::request_length(&bytes), Ok(Some(bytes.len())));
        prop_assert_eq!(Request::decode(&bytes), Ok(request.clone()));
        let mut frame = Vec::new();
        rtu::encode(unit, &mut frame, |out| request.encode(out));
        prop_assert!(frame.len() <= rtu::MOST);
        prop_assert_eq!(rtu::decode(&frame), Some((unit, &bytes[..])));
        frame.clear();
        tcp::encode(transaction, unit, &mut frame, |out| request.encode(out));
        let found = tcp::decode(&frame).unwrap().unwrap();
        prop_assert_eq!((found.transaction, found.unit, found.pdu, found.used), (transaction, unit, &bytes[..], frame.len()));
    }

    #[test]
    fn the_answer_to_a_read_gives_what_the_device_has_and_no_other_answer_does(
        request in read(), seed: u64, spoiled in 0_usize..2, by in 1_u8..,
    ) {
        let Request::Read { area, count, .. } = request else { unreachable!() };
        let word = |i: u16| (seed >> (i % 48)) as u16 ^ i.wrapping_mul(40_503);
        let mut has = Raw::default();
        if area.is_bits() {
            has.bits = (0..count).map(|i| word(i) & 1 == 1).collect();
        } else {
            has.words = (0..count).map(word).collect();
        }
        let mut bytes = Vec::new();
        pdu::encode_read_answer(area, &has, request.function(), &mut bytes);
        prop_assert_eq!(request.answer_length(&bytes), Ok(Some(bytes.len())));
        let mut got = Raw::default();
        prop_assert_eq!(request.answer(&bytes, &mut got), Ok(()));
        prop_assert_eq!(&got, &has);
        for end in 0..bytes.len() {
            prop_assert!(request.answer(&bytes[..end], &mut Raw::default()).is_err());
        }
        // Function and byte count have one right value each.
        bytes[spoiled] ^= by;
        prop_assert!(request.answer(&bytes, &mut Raw::default()).is_err());
    }

    #[test]
    fn a_simulated_device_answers_every_request_as_its_master_expects(request in any_request()) {
        let all = Sizes { coils: u16::MAX, discretes: u16::MAX, inputs: u16::MAX, holdings: u16::MAX };
        let mut bank = Bank::new(all);
        let (mut asked, mut answered, mut raw) = (Vec::new(), Vec::new(), Raw::default());
        request.encode(&mut asked);
        bank.answer(&asked, &mut answered);
        prop_assert!(answered.len() <= pdu::MOST);
        prop_assert_eq!(request.answer_length(&answered), Ok(Some(answered.len())));
        match request.answer(&answered, &mut raw) {
            Ok(()) => {}
            // Past the last register there is none.
            Err(fault) => prop_assert_eq!(fault, Fault::Refused(2)),
        }
        if let Request::MaskRegister { at, and, or } = request && at < u16::MAX {
            prop_assert_eq!(bank.holding(at), or & !and);
        }
        if let Request::WriteThenRead { start, count, at, words } = &request && !raw.words.is_empty() {
            prop_assert_eq!(raw.words.len(), usize::from(*count));
            for (offset, word) in raw.words.iter().enumerate() {
                let written = (usize::from(*start) + offset).checked_sub(usize::from(*at)).and_then(|i| words.get(i));
                prop_assert_eq!(*word, written.copied().unwrap_or(0));
            }
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), request in any_request()) {
        let _ = Request::decode(&bytes);
        let _ = pdu::request_length(&bytes);
        let _ = request.answer_length(&bytes);
        let _ = request.answer(&bytes, &mut Raw::default());
        let _ = rtu::decode(&bytes);
        let _ = tcp::decode(&bytes);
        let mut scratch = Vec::new();
        for framing in [Framing::Rtu, Framing::Ascii, Framing::Tcp] {
            let _ = framing.decode(&bytes, &mut scratch);
            let _ = framing.start(&bytes, |_, pdu| request.answer_length(pdu));
            if let Some(at) = framing.find(&bytes, &mut scratch) {
                prop_assert!(framing.decode(&bytes[at], &mut scratch).is_some());
            }
        }
    }

    #[test]
    fn a_frame_is_found_behind_noise_in_every_framing(
        request in any_request(), unit: u8, noise in prop::collection::vec(0x80_u8..0xFF, 0..20),
    ) {
        let mut pdu = Vec::new();
        request.encode(&mut pdu);
        // An ASCII frame in which every digit is a small letter is the same frame.
        for (framing, lower) in [(Framing::Rtu, false), (Framing::Ascii, false), (Framing::Ascii, true)] {
            let mut frame = Vec::new();
            framing.encode(0, unit, &mut frame, |out| out.extend_from_slice(&pdu));
            prop_assert_eq!(frame.len(), framing.length(pdu.len()));
            if lower {
                frame.make_ascii_lowercase();
            }
            let mut scratch = Vec::new();
            prop_assert_eq!(framing.decode(&frame, &mut scratch), Some((unit, &pdu[..])));
            let bytes = [&noise[..], &frame].concat();
            // Noise may be a frame by chance, in RTU only.
            let found = framing.find(&bytes, &mut scratch);
            prop_assert!(found == Some(noise.len()..bytes.len()) || (framing == Framing::Rtu && found.is_some()));
        }
    }

    #[test]
    fn an_address_means_the_same_when_it_is_written_again((text, kind, length, _) in tag()) {
        let address = Address::parse(&text, kind, length).unwrap();
        prop_assert_eq!(Address::parse(&address.to_string(), kind, length), Ok(address));
    }

    #[test]
    fn no_text_makes_an_address_panic(text in "\\PC{0,12}", kind in prop::sample::select(DataType::ALL.to_vec()), length: u16) {
        let _ = Address::parse(&text, kind, length);
    }

    #[test]
    fn blocks_cover_all_tags_break_no_limit_and_split_no_value(
        tags in prop::collection::vec((tag(), 0..3_usize, 0..2_usize, 0..5_u8), 1..80),
        most in 20..=125_u16,
        most_bits in 1..=2000_u16,
        single_register: bool,
        gap in 0..=120_u16,
    ) {
        let devices: Vec<_> = (1..=3)
            .map(|unit| ModbusDevice { unit, max_registers: most, max_bits: most_bits, max_gap: gap, single_register, ..ModbusDevice::default() })
            .collect();
        let asked: Vec<_> = tags
            .iter()
            .map(|((address, kind, length, writable), device, class, never)| Asked {
                device: *device, address, kind: *kind, length: *length, writable: *writable,
                period: if *writable && *never == 0 { Asked::NEVER } else { Duration::from_secs([1, 7][*class]) },
            })
            .filter(|asked| {
                let address = Address::parse(asked.address, asked.kind, asked.length).unwrap();
                let limit = if single_register { 1 } else if address.area.is_bits() { most_bits } else { most };
                !asked.is_read() || address.count() <= limit
            })
            .collect();
        let compiled = compile_tcp(&link(), &devices, &asked).unwrap();
        let mut served = vec![0; asked.len()];
        for block in &compiled.blocks {
            let (area, range) = block.label.split_once(' ').unwrap();
            let (first, last) = range.split_once("..").unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let count = last - first + 1;
            let bits = matches!(area, "coil" | "discrete");
            let limit = if single_register { 1 } else if bits { most_bits } else { most };
            prop_assert!(count <= usize::from(limit), "{}", block.label);
            for slot in &block.slots {
                served[slot.request] += 1;
                let one = &asked[slot.request];
                prop_assert_eq!(one.device, block.device);
                prop_assert!(block.period <= one.period);
                let address = Address::parse(one.address, one.kind, one.length).unwrap();
                prop_assert_eq!(address.area.name(), area);
                let (at, length) = match slot.place {
                    Place::Bit { at } | Place::WordBit { at, .. } | Place::HalfWord { at, .. } => (at, 1),
                    Place::Words { at, count } | Place::Bits { at, count } => (at, count),
                };
                prop_assert_eq!(first + at, usize::from(address.start));
                prop_assert_eq!(length, usize::from(address.count()));
                prop_assert!(at + length <= count, "{} is outside of {}", one.address, block.label);
            }
        }
        for (one, times) in asked.iter().zip(&served) {
            prop_assert_eq!(*times, usize::from(one.is_read()), "{}", one.address);
        }
        let writable = asked.iter().filter(|one| one.writable).count();
        prop_assert_eq!(compiled.points.len(), writable);
    }

    #[test]
    fn a_number_comes_back_from_its_registers_in_every_order(value in number(), order in order(), at in 0..5_usize) {
        let kind = value.data_type();
        let rule = Rule { order, ..Rule::plain(TagId(0), kind) };
        let count = words_of(kind);
        let mut raw = Raw::default();
        encode(&rule, Place::Words { at, count }, &value, &mut raw).unwrap();
        prop_assert_eq!(raw.words.len(), count);
        raw.words.splice(0..0, vec![0xDEAD; at]);
        prop_assert_eq!(decode(&rule, Place::Words { at, count }, &raw, None), Ok(value));
    }

    #[test]
    fn a_part_of_a_register_comes_back_and_touches_no_other_bit(bit in 0..16_u8, on: bool, byte: u8, high: bool) {
        let parts = [
            (Place::WordBit { at: 0, bit }, 1 << bit, Value::Bool(on)),
            (Place::HalfWord { at: 0, high }, 0xFF_u16 << (u16::from(high) * 8), Value::U8(byte)),
            (Place::HalfWord { at: 0, high }, 0xFF_u16 << (u16::from(high) * 8), Value::I8(byte.cast_signed())),
        ];
        for (place, mask, value) in parts {
            let rule = Rule::plain(TagId(0), value.data_type());
            let mut raw = Raw::default();
            encode(&rule, place, &value, &mut raw).unwrap();
            prop_assert_eq!((raw.words.len(), raw.words[0] & !mask), (1, 0));
            prop_assert_eq!(decode(&rule, place, &raw, None), Ok(value));
        }
    }

    #[test]
    fn a_text_comes_back_from_its_registers_in_every_order(text in "[^\\x00]{0,12}", order in order()) {
        let rule = Rule { order, ..Rule::plain(TagId(0), DataType::Text) };
        let place = Place::Words { at: 0, count: 24 };
        let mut raw = Raw::default();
        encode(&rule, place, &Value::Text(text.as_str().into()), &mut raw).unwrap();
        // Spaces at the end are padding.
        prop_assert_eq!(decode(&rule, place, &raw, None), Ok(Value::Text(text.trim_end_matches(' ').into())));
    }

    #[test]
    fn no_text_makes_the_configuration_panic(text in "\\PC{0,200}", cut in 0..2000_usize) {
        let _ = fieldgate::config::load(&text);
        // A file that is cut anywhere, or has something strange anywhere.
        let good = include_str!("golden/config/several-of-several-kinds.toml");
        let cut = (0..=cut.min(good.len())).rev().find(|at| good.is_char_boundary(*at)).unwrap();
        for text in [good[..cut].to_owned(), format!("{}{text}{}", &good[..cut], &good[cut..])] {
            let loaded = fieldgate::config::load(&text);
            if let Some(config) = loaded.config {
                let _ = fieldgate::plan::compile(&config, loaded.incomplete, None);
            }
        }
    }
}
