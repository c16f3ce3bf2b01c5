//! How values and qualities are said in JSON, wherever a publisher does.

use serde::{Serialize, Serializer};

use crate::model::{Quality, Value};

/// A value as JSON can hold it: whole numbers that a JSON reader with doubles would round are text,
/// and a float that is no finite number is `null`.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Value);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // RFC 8259, section 6: only integers within ±(2^53 - 1) are the same everywhere.
        const EXACT: u64 = (1 << 53) - 1;
        match &self.0 {
            Value::F32(v) if !v.is_finite() => to.serialize_none(),
            Value::F64(v) if !v.is_finite() => to.serialize_none(),
            Value::I64(v) if v.unsigned_abs() > EXACT => to.collect_str(v),
            Value::U64(v) if *v > EXACT => to.collect_str(v),
            Value::Array(array) => to.collect_seq(array.iter().map(Shown)),
            other => other.serialize(to),
        }
    }
}

/// One word for it.
pub(super) fn quality(quality: Quality) -> &'static str {
    match quality {
        Quality::Good => "good",
        Quality::Uncertain(_) => "uncertain",
        Quality::Bad(_) => "bad",
    }
}

/// `no answer` of `bad: no answer`.
pub(super) fn reason(quality: Quality) -> Option<String> {
    quality.to_string().split_once(": ").map(|(_, why)| why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bad, Uncertain};

    fn json(value: Value) -> String {
        serde_json::to_string(&Shown(value)).unwrap()
    }

    #[test]
    fn a_value_in_json_is_exact_or_null() {
        assert_eq!(json(Value::F64(f64::NAN)), "null");
        assert_eq!(json(Value::F32(f32::NEG_INFINITY)), "null");
        assert_eq!(json(Value::F32(0.1)), "0.1");
        assert_eq!(json(Value::U64(9_007_199_254_740_991)), "9007199254740991");
        assert_eq!(json(Value::U64(9_007_199_254_740_993)), "\"9007199254740993\"");
        assert_eq!(json(Value::I64(i64::MIN)), "\"-9223372036854775808\"");
        assert_eq!(json(Value::Bool(true)), "true");
        let array = crate::model::Array::U64([7, 9_007_199_254_740_993].into());
        assert_eq!(json(Value::Array(array)), "[7,\"9007199254740993\"]");
        assert_eq!(json(Value::Text("a\"<b>\u{1}".into())), r#""a\"<b>\u0001""#);
    }

    #[test]
    fn a_quality_that_is_not_good_has_a_reason() {
        assert_eq!(reason(Quality::Good), None);
        assert_eq!(reason(Quality::Bad(Bad::NoAnswer)).unwrap(), "no answer");
        assert_eq!(reason(Quality::Uncertain(Uncertain::OutOfLimits)).unwrap(), "out of limits");
    }
}
