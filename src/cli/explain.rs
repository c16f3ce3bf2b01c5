//! Which types, orders, scales and neighbouring addresses would explain a value: pure, ranked.

use crate::drivers::modbus::address::Area;
use crate::model::{DataType, Order, Place, Raw, TagId};
use crate::normalize::decode::decode;
use crate::normalize::{Rule, Scaling};

/// Registers as they were read; none where the device refused one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub(super) area: Area,
    pub(super) start: u16,
    pub(super) words: Vec<Option<u16>>,
}

/// What somebody reads on the device's own display.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expected {
    pub(super) value: f64,
    /// How far a value may be from it, in its own unit.
    pub(super) tolerance: f64,
}

/// One way to read the registers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) area: Area,
    pub(super) start: u16,
    pub(super) kind: DataType,
    /// The signed type that gives the same value.
    pub(super) twin: Option<DataType>,
    pub(super) order: Order,
    pub(super) scale: f64,
    /// What the registers give so.
    pub(super) value: f64,
    /// The same as a reading shows it: a single float has no more digits than it can tell.
    pub(super) shown: String,
    /// The less the likelier.
    cost: f64,
}

/// Types with their number of registers and how unusual they are.
const KINDS: [(DataType, u16, f64); 8] = [
    (DataType::F32, 2, 0.0),
    (DataType::F64, 4, 0.5),
    (DataType::U16, 1, 1.0),
    (DataType::I16, 1, 1.0),
    (DataType::U32, 2, 1.5),
    (DataType::I32, 2, 1.5),
    (DataType::U64, 4, 2.5),
    (DataType::I64, 4, 2.5),
];

const ORDERS: [(Order, f64); 4] =
    [(Order::Abcd, 0.0), (Order::Cdab, 1.0), (Order::Dcba, 2.5), (Order::Badc, 3.0)];

const SCALES: [(f64, f64); 7] =
    [(1.0, 0.0), (0.1, 1.0), (0.01, 1.5), (0.001, 2.0), (10.0, 2.5), (100.0, 3.0), (1000.0, 3.0)];

/// A float that is scaled on top is seldom.
const SCALED_FLOAT: f64 = 3.0;
const NEXT_ADDRESS: f64 = 2.0;
const OTHER_AREA: f64 = 2.5;
/// A value at the edge of the tolerance, against one that fits exactly.
const EDGE: f64 = 1.5;

/// All ways to read the registers that give the expected value, the likeliest first.
pub(super) fn explain(asked: (Area, u16), windows: &[Window], expected: Expected) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for window in windows {
        for (kind, count, kind_cost) in KINDS {
            for start in asked.1.saturating_sub(1)..=asked.1.saturating_add(1) {
                let Some(words) = words(window, start, count) else { continue };
                let place_cost = if start == asked.1 { 0.0 } else { NEXT_ADDRESS }
                    + if window.area == asked.0 { 0.0 } else { OTHER_AREA };
                for (order, order_cost) in ORDERS {
                    for (scale, scale_cost) in SCALES {
                        let Some((value, shown)) = value(kind, order, scale, &words) else { continue };
                        let away = (value - expected.value).abs();
                        // A single float tells six digits.
                        let allowed = expected.tolerance.max(expected.value.abs() * 1e-6);
                        if away > allowed {
                            continue;
                        }
                        let float = matches!(kind, DataType::F32 | DataType::F64);
                        let cost = kind_cost
                            + place_cost
                            + order_cost
                            + scale_cost
                            + if float && scale != 1.0 { SCALED_FLOAT } else { 0.0 }
                            + if allowed > 0.0 { EDGE * away / allowed } else { 0.0 };
                        let (area, twin) = (window.area, None);
                        found.push(Candidate { area, start, kind, twin, order, scale, value, shown, cost });
                    }
                }
            }
        }
    }
    found.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    without_doubles(found)
}

/// Orders that give the same value are one way, as are signed and unsigned: the likeliest stays.
fn without_doubles(sorted: Vec<Candidate>) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for next in sorted {
        let same = kept.iter_mut().find(|k| {
            (k.area, k.start, unsigned(k.kind)) == (next.area, next.start, unsigned(next.kind))
                && k.scale == next.scale
                && k.value == next.value
        });
        match same {
            Some(same) if same.kind != next.kind => same.twin = Some(next.kind),
            Some(_) => {}
            None => kept.push(next),
        }
    }
    kept
}

fn unsigned(kind: DataType) -> DataType {
    match kind {
        DataType::I16 => DataType::U16,
        DataType::I32 => DataType::U32,
        DataType::I64 => DataType::U64,
        kind => kind,
    }
}

/// The registers from `start` on; none where one of them is not known.
fn words(window: &Window, start: u16, count: u16) -> Option<Vec<u16>> {
    let at = usize::from(start.checked_sub(window.start)?);
    window.words.get(at..at + usize::from(count))?.iter().copied().collect()
}

/// By the rules that a tag with these keys would have.
fn value(kind: DataType, order: Order, scale: f64, words: &[u16]) -> Option<(f64, String)> {
    let raw = Raw { words: words.to_vec(), ..Raw::default() };
    let scaling = (scale != 1.0).then_some(Scaling { scale, offset: 0.0 });
    let rule = Rule { order, scaling, ..Rule::plain(TagId(0), kind) };
    let value = decode(&rule, Place::Words { at: 0, count: words.len() }, &raw, None).ok()?;
    Some((value.as_f64()?, value.to_string()))
}

pub(super) fn order_name(order: Order) -> &'static str {
    match order {
        Order::Abcd => "abcd",
        Order::Badc => "badc",
        Order::Cdab => "cdab",
        Order::Dcba => "dcba",
    }
}

impl Candidate {
    /// The keys of a tag, ready to be pasted.
    pub(super) fn keys(&self) -> String {
        let mut keys = format!("at = \"{}:{}\", type = \"{}\"", self.area.name(), self.start, self.kind);
        if self.order != Order::Abcd {
            keys.push_str(&format!(", order = \"{}\"", order_name(self.order)));
        }
        if self.scale != 1.0 {
            keys.push_str(&format!(", scale = {}", self.scale));
        }
        keys
    }

    /// Where it is not where it was asked for.
    pub(super) fn note(&self, asked: (Area, u16)) -> String {
        let mut notes = Vec::new();
        match i32::from(self.start) - i32::from(asked.1) {
            0 => {}
            ..0 => notes.push("did you mean the register before: a map that counts from 1?".to_owned()),
            _ => notes.push("did you mean the next register?".to_owned()),
        }
        if self.area != asked.0 {
            notes.push(format!("did you mean {} registers?", self.area.name()));
        }
        if let Some(twin) = self.twin {
            notes.push(format!("or {}", twin));
        }
        notes.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::normalize::encode::encode;

    const ASKED: (Area, u16) = (Area::Holding, 40);

    fn best(area: Area, start: u16, words: &[u16], value: f64) -> String {
        let window = Window { area, start, words: words.iter().map(|w| Some(*w)).collect() };
        let found = explain(ASKED, &[window], Expected { value, tolerance: value.abs() * 0.02 });
        found.first().map_or("nothing".into(), Candidate::keys)
    }

    #[test]
    fn the_usual_ways_of_meters_come_first() {
        let at_40 = |words: &[u16], value| best(Area::Holding, 40, words, value);
        assert_eq!(at_40(&[2290, 0, 0, 0], 229.0), r#"at = "holding:40", type = "u16", scale = 0.1"#);
        assert_eq!(at_40(&[0x4365, 0, 0, 0], 229.0), r#"at = "holding:40", type = "f32""#);
        assert_eq!(
            at_40(&[0, 0x4365, 0x1234, 9], 229.0),
            r#"at = "holding:40", type = "f32", order = "cdab""#
        );
        assert_eq!(at_40(&[0x6543, 0, 7, 7], 229.0), r#"at = "holding:40", type = "f32", order = "badc""#);
        assert_eq!(at_40(&[0xFFFF, 0xFF1B, 1, 1], -229.0), r#"at = "holding:40", type = "i32""#);
        assert_eq!(at_40(&[0, 229, 3, 3], 229.0), r#"at = "holding:40", type = "u32""#);
        assert_eq!(at_40(&[1, 2, 3, 4], 229.0), "nothing");
    }

    #[test]
    fn a_neighbour_or_the_other_table_is_offered_with_a_question() {
        assert_eq!(
            best(Area::Holding, 39, &[2290, 1, 1, 1, 1, 1], 229.0),
            r#"at = "holding:39", type = "u16", scale = 0.1"#
        );
        let window = Window { area: Area::Input, start: 40, words: vec![Some(229), None] };
        let found = explain(ASKED, &[window], Expected { value: 229.0, tolerance: 0.0 });
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].note(ASKED), "did you mean input registers?; or i16");
    }

    #[test]
    fn a_register_that_was_refused_is_no_part_of_a_value() {
        let window = Window { area: Area::Holding, start: 40, words: vec![Some(0x4365), None] };
        assert_eq!(explain(ASKED, &[window], Expected { value: 229.0, tolerance: 5.0 }), []);
    }

    proptest! {
        #[test]
        fn the_true_way_is_always_among_them(
            kind in 0..KINDS.len(), order in 0..4_usize, scale in 0..SCALES.len(), raw in -30_000..30_000_i32,
            before in any::<u16>(), noise in proptest::collection::vec(any::<u16>(), 4),
        ) {
            let (kind, count, _) = KINDS[kind];
            let (order, scale) = (ORDERS[order].0, SCALES[scale].0);
            let signed = !matches!(kind, DataType::U16 | DataType::U32 | DataType::U64);
            let raw = f64::from(if signed { raw } else { raw.abs() });
            let scaling = Scaling { scale, offset: 0.0 };
            let rule = Rule { order, scaling: Some(scaling), ..Rule::plain(TagId(0), kind) };
            let mut bits = Raw::default();
            let place = Place::Words { at: 0, count: usize::from(count) };
            encode(&rule, place, &crate::model::Value::F64(scaling.forward(raw)), &mut bits).unwrap();
            let value = scaling.forward(raw);
            let words = std::iter::once(before).chain(bits.words).chain(noise).map(Some).collect();
            let window = Window { area: Area::Holding, start: 39, words };
            let expected = Expected { value, tolerance: value.abs() * 0.01 };
            let found = explain(ASKED, &[window], expected);
            prop_assert!(
                found.iter().any(|c| c.start == 40
                    && (c.kind == kind || c.twin == Some(kind) || unsigned(c.kind) == unsigned(kind))
                    && c.scale == scale
                    && (c.value - value).abs() <= value.abs() * 1e-6),
                "{kind:?} {order:?} {scale} {value}: {found:?}"
            );
            for candidate in &found {
                prop_assert!((candidate.value - value).abs() <= value.abs() * 0.01 + 1e-9);
            }
            prop_assert!(found.windows(2).all(|w| w[0].cost <= w[1].cost));
        }

        #[test]
        fn no_registers_make_it_fall(
            start in any::<u16>(), asked in any::<u16>(), value in any::<f64>(), tolerance in any::<f64>(),
            words in proptest::collection::vec(any::<Option<u16>>(), 0..9),
        ) {
            let window = Window { area: Area::Holding, start, words };
            explain((Area::Holding, asked), &[window], Expected { value, tolerance });
        }
    }
}
