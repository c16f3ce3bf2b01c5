//! How good a sample is: decided here and nowhere else.

use super::decode::DecodeError;
use super::rule::Rule;
use crate::model::{Bad, Fault, Quality, Uncertain, Value};

/// What a fault at the wire makes of every tag that it concerns.
pub fn of_fault(fault: Fault) -> Bad {
    match fault {
        Fault::NotConnected => Bad::NotConnected,
        Fault::Timeout => Bad::NoAnswer,
        // Of a write only; no read is altered.
        Fault::Garbled | Fault::Altered => Bad::Garbled,
        Fault::Refused(code) => Bad::Refused(code),
        Fault::Busy => Bad::Busy,
        Fault::Unsupported => Bad::Unsupported,
    }
}

/// What words without a value make of their tag.
pub fn of_decode_error(error: DecodeError) -> Bad {
    match error {
        DecodeError::Missing => Bad::Garbled,
        DecodeError::Refused(code) => Bad::Refused(code),
        DecodeError::NotANumber => Bad::NotANumber,
        DecodeError::NotText => Bad::NotText,
    }
}

/// How far a decoded value can be trusted; an array no further than each of its elements.
pub fn of_value(rule: &Rule, value: &Value) -> Quality {
    let out =
        |number: f64| rule.low.is_some_and(|low| number < low) || rule.high.is_some_and(|high| number > high);
    if value.elements().filter_map(|element| element.as_f64()).any(out) {
        Quality::Uncertain(Uncertain::OutOfLimits)
    } else {
        Quality::Good
    }
}
