//! A value to raw words: the inverse of decode.

use super::rule::Rule;
use crate::model::{DataType, Order, Place, Raw, Value};

/// Why a value does not fit the registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// A number for a text, a text for a bit, an array of another length.
    WrongType,
    /// More than the registers hold.
    OutOfRange,
}

/// Puts `value` (engineering units) where the rule wants it. `raw` is cleared and then holds
/// exactly the bit or the words at `place`; a whole number is rounded to the nearest step of its scale. Of a
/// register of which the value is a part, all other bits are 0.
///
/// The elements of an array follow one another; of a register that is half filled the other half is 0.
pub fn encode(rule: &Rule, place: Place, value: &Value, raw: &mut Raw) -> Result<(), EncodeError> {
    raw.clear();
    let DataType::Array(of, length) = rule.kind else { return element(rule, rule.kind, place, value, raw) };
    let Value::Array(array) = value else { return Err(EncodeError::WrongType) };
    if array.length() != usize::from(length) {
        return Err(EncodeError::WrongType);
    }
    for (nth, value) in array.iter().enumerate() {
        match (place, of) {
            (Place::Words { .. }, DataType::I8 | DataType::U8) => {
                let high = (nth % 2 == 0) != rule.order.bytes_swapped();
                let filled = if nth % 2 == 0 { 0 } else { raw.words.pop().unwrap_or(0) };
                element(rule, *of, Place::HalfWord { at: 0, high }, &value, raw)?;
                raw.words.last_mut().into_iter().for_each(|word| *word |= filled);
            }
            (Place::Words { count, .. }, _) => {
                let one = Place::Words { at: 0, count: count / usize::from(length) };
                element(rule, *of, one, &value, raw)?;
            }
            (place, _) => element(rule, *of, place, &value, raw)?,
        }
    }
    Ok(())
}

/// Appends a tag that is no array, or one element.
fn element(
    rule: &Rule,
    kind: DataType,
    place: Place,
    value: &Value,
    raw: &mut Raw,
) -> Result<(), EncodeError> {
    match place {
        Place::Bit { .. } | Place::Bits { .. } => match value {
            Value::Bool(bit) => {
                raw.bits.push(*bit);
                Ok(())
            }
            _ => Err(EncodeError::WrongType),
        },
        Place::WordBit { bit, .. } => match value {
            Value::Bool(on) => {
                raw.words.push(u16::from(*on) << (bit & 15));
                Ok(())
            }
            _ => Err(EncodeError::WrongType),
        },
        Place::HalfWord { high, .. } => {
            let byte = number(rule, kind, value)? as u16 & 0xFF;
            raw.words.push(if high { byte << 8 } else { byte });
            Ok(())
        }
        Place::Words { count, .. } => {
            if kind == DataType::Text {
                return text(rule.order, count, value, &mut raw.words);
            }
            let bits = number(rule, kind, value)?;
            for at in 0..count {
                let at = if rule.order.words_swapped() { at } else { count - 1 - at };
                let word = (bits >> (16 * at)) as u16;
                raw.words.push(if rule.order.bytes_swapped() { word.swap_bytes() } else { word });
            }
            Ok(())
        }
    }
}

/// The bits of the number in the wire's type, right-aligned.
fn number(rule: &Rule, kind: DataType, value: &Value) -> Result<u64, EncodeError> {
    let wire = match rule.scaling {
        None => value.coerce(kind).ok_or_else(|| misfit(value))?,
        Some(scaling) => {
            let raw = scaling.back(value.as_f64().ok_or(EncodeError::WrongType)?);
            let raw = if matches!(kind, DataType::F32 | DataType::F64) { raw } else { raw.round() };
            Value::F64(raw).coerce(kind).ok_or(EncodeError::OutOfRange)?
        }
    };
    match wire {
        Value::F32(v) if !v.is_finite() => Err(EncodeError::OutOfRange),
        Value::F64(v) if !v.is_finite() => Err(EncodeError::OutOfRange),
        Value::I8(v) => Ok(u64::from(v as u8)),
        Value::U8(v) => Ok(u64::from(v)),
        Value::I16(v) => Ok(u64::from(v as u16)),
        Value::U16(v) => Ok(u64::from(v)),
        Value::I32(v) => Ok(u64::from(v as u32)),
        Value::U32(v) => Ok(u64::from(v)),
        Value::I64(v) => Ok(v as u64),
        Value::U64(v) => Ok(v),
        Value::F32(v) => Ok(u64::from(v.to_bits())),
        Value::F64(v) => Ok(v.to_bits()),
        Value::Bool(_) | Value::Text(_) | Value::Array(_) => Err(EncodeError::WrongType),
    }
}

fn misfit(value: &Value) -> EncodeError {
    if value.data_type().is_number() { EncodeError::OutOfRange } else { EncodeError::WrongType }
}

/// Padded with NUL; a text that would be cut is refused.
fn text(order: Order, count: usize, value: &Value, words: &mut Vec<u16>) -> Result<(), EncodeError> {
    let Value::Text(text) = value else { return Err(EncodeError::WrongType) };
    if text.len() > count * 2 || text.contains('\0') {
        return Err(EncodeError::OutOfRange);
    }
    let mut bytes = text.bytes();
    for _ in 0..count {
        let pair = [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)];
        words.push(if order.bytes_swapped() { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) });
    }
    Ok(())
}
