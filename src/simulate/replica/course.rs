//! How the value of a simulated tag moves: pure.

use crate::model::{Array, DataType, Tag, Value};
use crate::normalize::Rule;

/// The course of one value, in raw numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Course {
    /// Stays what it is at the start, until somebody writes it.
    Still(f64),
    /// Up and down between two ends.
    Wave { low: f64, high: f64, period: f64, phase: f64 },
    /// Counts up.
    Count { from: f64, rate: f64 },
    /// On and off.
    Toggle { period: f64, phase: f64 },
    /// Says this.
    Text(String),
}

impl Course {
    /// What suits a tag; `seed` makes each tag move in its own time.
    pub(super) fn of(tag: &Tag, rule: &Rule, writable: bool, seed: u64) -> Course {
        // 0 to below 1, different for each tag.
        let share = (seed >> 11) as f64 / (1_u64 << 53) as f64;
        match rule.kind.element() {
            DataType::Text => return Course::Text(tag.name.to_string()),
            DataType::Bool if writable => return Course::Still(0.0),
            DataType::Bool => return Course::Toggle { period: 6.0 + 24.0 * share, phase: share },
            _ => {}
        }
        let (low, high) = span(rule);
        if writable {
            return Course::Still(low + 0.5 * (high - low));
        }
        let counts = matches!(rule.kind.element(), DataType::U32 | DataType::I64 | DataType::U64);
        if counts && rule.low.is_none() && rule.high.is_none() {
            return Course::Count { from: (share * 10_000.0).floor(), rate: (1.0 + 9.0 * share).floor() };
        }
        let margin = 0.05 * (high - low);
        Course::Wave { low: low + margin, high: high - margin, period: 20.0 + 60.0 * share, phase: share }
    }

    /// The raw number of a numeric course, so many seconds after the start; bits are 0 and 1.
    fn number(&self, seconds: f64) -> f64 {
        match self {
            Course::Still(number) => *number,
            Course::Wave { low, high, period, phase } => {
                let turn = (seconds / period + phase) * std::f64::consts::TAU;
                low + (high - low) * (0.5 - 0.5 * turn.cos())
            }
            Course::Count { from, rate } => (from + rate * seconds).floor(),
            Course::Toggle { period, phase } => f64::from((seconds / period + phase).rem_euclid(1.0) < 0.5),
            Course::Text(_) => 0.0,
        }
    }

    /// The value as it goes north, so many seconds after the start; `None` where the type holds none such.
    pub(super) fn value(&self, rule: &Rule, seconds: f64) -> Option<Value> {
        let DataType::Array(of, length) = rule.kind else { return self.element(rule, rule.kind, seconds) };
        // Each element is a second ahead of the one before it, as a profile that travels.
        let elements = (0..length).map_while(|nth| self.element(rule, *of, seconds + f64::from(nth)));
        Array::collect(rule.value_type().element(), elements).map(Value::Array)
    }

    fn element(&self, rule: &Rule, kind: DataType, seconds: f64) -> Option<Value> {
        if let Course::Text(text) = self {
            return Some(Value::Text(text.as_str().into()));
        }
        let number = self.number(seconds);
        if kind == DataType::Bool {
            return Some(Value::Bool(number > 0.5));
        }
        let float = matches!(kind, DataType::F32 | DataType::F64);
        let raw = if float { number } else { number.round() };
        match rule.scaling {
            Some(scaling) => Some(Value::F64(scaling.forward(raw))),
            None => Value::F64(raw).coerce(kind),
        }
    }
}

/// The raw numbers that a value may have: within its limits and its type. Where no limit is set it moves over
/// a hundred steps of its type, or a thousand of a wide one.
fn span(rule: &Rule) -> (f64, f64) {
    let (least, most, steps) = match rule.kind.element() {
        DataType::I8 => (-128.0, 127.0, 100.0),
        DataType::U8 => (0.0, 255.0, 100.0),
        DataType::I16 => (-32_768.0, 32_767.0, 1000.0),
        DataType::U16 => (0.0, 65_535.0, 1000.0),
        DataType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX), 1000.0),
        DataType::U32 => (0.0, f64::from(u32::MAX), 1000.0),
        DataType::U64 => (0.0, 9e15, 1000.0),
        DataType::I64 => (-9e15, 9e15, 1000.0),
        _ => (-1e30, 1e30, 100.0),
    };
    let raw = |limit: Option<f64>| limit.map(|l| rule.scaling.map_or(l, |s| s.back(l)));
    // A negative scale turns the limits round.
    let (a, b) = if rule.scaling.is_some_and(|s| s.scale < 0.0) {
        (raw(rule.high), raw(rule.low))
    } else {
        (raw(rule.low), raw(rule.high))
    };
    let (low, high) = match (a, b) {
        (Some(low), Some(high)) => (low, high),
        (Some(low), None) => (low, low + steps),
        (None, Some(high)) => (high - steps, high),
        (None, None) => (0.0, steps),
    };
    let float = matches!(rule.kind.element(), DataType::F32 | DataType::F64);
    // A whole number that is rounded must not be past its limit.
    let (low, high) = if float { (low, high) } else { (low.ceil(), high.floor()) };
    let low = low.clamp(least, most);
    (low, high.clamp(low, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeviceId, TagId};
    use crate::normalize::Scaling;

    fn tag(kind: DataType) -> Tag {
        Tag::plain(TagId(0), DeviceId(0), "pump/speed", kind)
    }

    #[test]
    fn a_value_keeps_its_limits_and_moves() {
        let scalings =
            [None, Some(Scaling { scale: 0.1, offset: 0.0 }), Some(Scaling { scale: -0.5, offset: 3.0 })];
        for kind in [DataType::I8, DataType::U16, DataType::I16, DataType::I32, DataType::F32, DataType::F64]
        {
            for scaling in scalings {
                for (low, high) in [(Some(-5.0), Some(9.0)), (Some(2.0), None), (None, None)] {
                    let rule = Rule { low, high, scaling, ..Rule::plain(TagId(0), kind) };
                    let course = Course::of(&tag(kind), &rule, false, 0x1234_5678_9ABC_DEF0);
                    let at = |second: u32| course.value(&rule, f64::from(second)).unwrap();
                    let seen: Vec<_> = (0..100).map(|s| at(s).as_f64().unwrap()).collect();
                    assert!(seen.iter().all(|v| low.is_none_or(|l| *v >= l)), "{rule:?} {seen:?}");
                    assert!(seen.iter().all(|v| high.is_none_or(|h| *v <= h)), "{rule:?} {seen:?}");
                    assert!(seen.iter().any(|v| *v != seen[0]), "{rule:?}");
                }
            }
        }
    }

    #[test]
    fn counters_count_bits_toggle_and_what_can_be_written_stays() {
        let value = |kind, writable, second: u32| {
            let rule = Rule::plain(TagId(0), kind);
            Course::of(&tag(kind), &rule, writable, 77).value(&rule, f64::from(second)).unwrap()
        };
        let count = |s| value(DataType::U32, false, s).as_integer().unwrap();
        assert!((0..100).all(|s| count(s + 1) > count(s)));
        let bits: Vec<_> = (0..60).map(|s| value(DataType::Bool, false, s)).collect();
        assert!(bits.contains(&Value::Bool(true)) && bits.contains(&Value::Bool(false)));
        assert_eq!(value(DataType::U16, true, 0), value(DataType::U16, true, 99));
        assert_eq!(value(DataType::Text, false, 5), Value::Text("speed".into()));
    }
}
