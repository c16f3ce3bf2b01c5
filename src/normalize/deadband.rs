//! Report by exception: which samples are worth reporting.

use super::rule::Rule;
use crate::model::{Quality, Timestamp, Value};

/// What was reported of a tag last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reported {
    pub(crate) value: Option<Value>,
    pub(crate) quality: Quality,
    pub(crate) at: Timestamp,
}

/// Whether the north must hear of this.
pub(crate) fn is_news(
    rule: &Rule,
    last: Option<&Reported>,
    value: Option<&Value>,
    quality: Quality,
    now: Timestamp,
) -> bool {
    let Some(last) = last else { return true };
    if last.quality != quality {
        return true;
    }
    if quality.is_bad() {
        return false;
    }
    if rule.always {
        return true;
    }
    if let Some(silence) = rule.max_silence {
        let since = now.0.saturating_sub(last.at.0);
        // A clock set back must not keep the tag silent for as long as it was set back.
        if since < 0 || since as u128 >= silence.as_micros() {
            return true;
        }
    }
    match (&last.value, value) {
        (Some(old), Some(new)) => moved(rule.deadband, old, new),
        (old, new) => old.as_ref() != new,
    }
}

fn moved(deadband: f64, old: &Value, new: &Value) -> bool {
    if let (Value::Array(old), Value::Array(new)) = (old, new) {
        // One element is enough.
        return old.length() != new.length()
            || old.iter().zip(new.iter()).any(|(old, new)| moved(deadband, &old, &new));
    }
    if deadband > 0.0
        && let (Some(old), Some(new)) = (old.as_f64(), new.as_f64())
    {
        return (new - old).abs() > deadband;
    }
    // Exact: also where a 64-bit counter moves by one beyond what a double can tell apart.
    old != new
}
