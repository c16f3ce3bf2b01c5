//! Raw words to a value.

use std::sync::Arc;

use super::rule::{Rule, Scaling};
use crate::model::{DataType, Order, Place, Raw, Value};

/// Why there is no value in the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The answer has fewer words or bits than the rule needs.
    Missing,
    /// The device refused just this with this exception code.
    Refused(u8),
    /// A float that is infinite or not a number.
    NotANumber,
    /// Bytes that are no UTF-8.
    NotText,
}

/// The engineering value that lies at `place`. `last` spares the allocation where a text stays the same.
pub fn decode(rule: &Rule, place: Place, raw: &Raw, last: Option<&Value>) -> Result<Value, DecodeError> {
    if let Some(code) = raw.refused(place) {
        return Err(DecodeError::Refused(code));
    }
    let value = wire_value(rule, place, raw, last)?;
    match rule.scaling {
        None => Ok(value),
        Some(scaling) => {
            let number = value.as_f64().ok_or(DecodeError::Missing)?;
            let scaled = scaling.forward(number);
            if scaled.is_finite() { Ok(Value::F64(scaled)) } else { Err(DecodeError::NotANumber) }
        }
    }
}

fn wire_value(rule: &Rule, place: Place, raw: &Raw, last: Option<&Value>) -> Result<Value, DecodeError> {
    let word = |at: usize| raw.words.get(at).copied().ok_or(DecodeError::Missing);
    match place {
        Place::Bit { at } => raw.bits.get(at).map(|bit| Value::Bool(*bit)).ok_or(DecodeError::Missing),
        Place::WordBit { at, bit } => Ok(Value::Bool(word(at)? >> u32::from(bit & 15) & 1 == 1)),
        Place::HalfWord { at, high } => {
            let [upper, lower] = word(at)?.to_be_bytes();
            let byte = if high { upper } else { lower };
            Ok(if rule.kind == DataType::I8 { Value::I8(byte as i8) } else { Value::U8(byte) })
        }
        Place::Words { at, count } => {
            let end = at.checked_add(count).ok_or(DecodeError::Missing)?;
            let words = raw.words.get(at..end).ok_or(DecodeError::Missing)?;
            from_words(rule.kind, rule.order, words, last)
        }
    }
}

fn from_words(
    kind: DataType,
    order: Order,
    words: &[u16],
    last: Option<&Value>,
) -> Result<Value, DecodeError> {
    if kind == DataType::Text {
        return text(order, words, last);
    }
    // All numbers go through 64 bits, most significant word first.
    let mut bits = 0_u64;
    let mut push = |word: &u16| {
        let word = if order.bytes_swapped() { word.swap_bytes() } else { *word };
        bits = bits << 16 | u64::from(word);
    };
    if order.words_swapped() {
        words.iter().rev().for_each(&mut push);
    } else {
        words.iter().for_each(&mut push);
    }
    let finite = |ok: bool| if ok { Ok(()) } else { Err(DecodeError::NotANumber) };
    match (kind, words.len()) {
        (DataType::I16, 1) => Ok(Value::I16(bits as u16 as i16)),
        (DataType::U16, 1) => Ok(Value::U16(bits as u16)),
        (DataType::I32, 2) => Ok(Value::I32(bits as u32 as i32)),
        (DataType::U32, 2) => Ok(Value::U32(bits as u32)),
        (DataType::I64, 4) => Ok(Value::I64(bits as i64)),
        (DataType::U64, 4) => Ok(Value::U64(bits)),
        (DataType::F32, 2) => {
            let float = f32::from_bits(bits as u32);
            finite(float.is_finite()).map(|()| Value::F32(float))
        }
        (DataType::F64, 4) => {
            let float = f64::from_bits(bits);
            finite(float.is_finite()).map(|()| Value::F64(float))
        }
        // A place and a type that do not fit: `compile` lets none through.
        _ => Err(DecodeError::Missing),
    }
}

/// Two characters a register, the first in the high byte unless the order swaps bytes. Ends at the
/// first NUL; padding spaces at the end are cut.
fn text(order: Order, words: &[u16], last: Option<&Value>) -> Result<Value, DecodeError> {
    // 125 registers are the longest block, so 250 bytes hold any text; no allocation for an unchanged one.
    let mut buffer = [0_u8; 250];
    let mut length = 0;
    'words: for word in words {
        let [first, second] = if order.bytes_swapped() { word.to_le_bytes() } else { word.to_be_bytes() };
        for byte in [first, second] {
            if byte == 0 {
                break 'words;
            }
            *buffer.get_mut(length).ok_or(DecodeError::Missing)? = byte;
            length += 1;
        }
    }
    let bytes = buffer.get(..length).unwrap_or_default();
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotText)?.trim_end_matches(' ');
    match last {
        Some(Value::Text(same)) if &**same == text => Ok(Value::Text(same.clone())),
        _ => Ok(Value::Text(Arc::from(text))),
    }
}

impl Scaling {
    /// Raw to engineering units.
    pub fn forward(self, raw: f64) -> f64 {
        match self.divisor() {
            Some(divisor) => raw / divisor + self.offset,
            None => raw * self.scale + self.offset,
        }
    }

    /// Engineering units to raw.
    pub fn back(self, value: f64) -> f64 {
        match self.divisor() {
            Some(divisor) => (value - self.offset) * divisor,
            None => (value - self.offset) / self.scale,
        }
    }

    /// 10 for 0.1: dividing by it gives the nearest double (12.3), multiplying does not (12.300000000000001).
    fn divisor(self) -> Option<f64> {
        let divisor = (1.0 / self.scale).round();
        (self.scale.abs() < 1.0 && 1.0 / divisor == self.scale).then_some(divisor)
    }
}
