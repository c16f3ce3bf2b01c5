//! Raw words to a value. An array is decoded element by element, and is as bad as its worst element.

use std::sync::Arc;

use super::rule::{Rule, Scaling};
use crate::model::{Array, DataType, Order, Place, Raw, Value};

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

/// The engineering value that lies at `place`. `last` spares the allocation where a text or an array stays the
/// same.
pub fn decode(rule: &Rule, place: Place, raw: &Raw, last: Option<&Value>) -> Result<Value, DecodeError> {
    if let Some(code) = raw.refused(place) {
        return Err(DecodeError::Refused(code));
    }
    let DataType::Array(of, length) = rule.kind else { return element(rule, rule.kind, place, raw, last) };
    let places = elements(*of, length.into(), place).ok_or(DecodeError::Missing)?;
    let array = match last {
        Some(Value::Array(array)) => Some(array),
        _ => None,
    };
    let old = |at| array.and_then(|array| array.get(at));
    let mut failed = None;
    let new =
        || places.clone().enumerate().map(|(at, place)| element(rule, *of, place, raw, old(at).as_ref()));
    if let Some(array) = array.filter(|array| array.iter().map(Ok).eq(new())) {
        return Ok(Value::Array(array.clone()));
    }
    let new = new().map_while(|element| element.map_err(|error| failed = Some(error)).ok());
    let array = Array::collect(rule.value_type().element(), new);
    failed.map_or(array.map(Value::Array).ok_or(DecodeError::Missing), Err)
}

/// Where each of so many elements lies; `None` where they do not fill the place.
fn elements(of: DataType, length: usize, place: Place) -> Option<impl Iterator<Item = Place> + Clone> {
    let bytes = matches!(of, DataType::I8 | DataType::U8);
    let one = match place {
        Place::Bits { count, .. } if count == length => 0,
        // Two in a register, the first in its high byte; half of the last one may be left over.
        Place::Words { count, .. } if bytes && count == length.div_ceil(2) => 0,
        Place::Words { count, .. } if !bytes && length > 0 && count % length == 0 => count / length,
        _ => return None,
    };
    Some((0..length).map(move |nth| match place {
        Place::Words { at, .. } if bytes => Place::HalfWord { at: at + nth / 2, high: nth % 2 == 0 },
        Place::Words { at, .. } => Place::Words { at: at + nth * one, count: one },
        Place::Bits { at, .. } => Place::Bit { at: at + nth },
        other => other,
    }))
}

/// The engineering value of a tag that is no array, or of one element.
fn element(
    rule: &Rule,
    kind: DataType,
    place: Place,
    raw: &Raw,
    last: Option<&Value>,
) -> Result<Value, DecodeError> {
    let value = wire_value(rule, kind, place, raw, last)?;
    match rule.scaling {
        None => Ok(value),
        Some(scaling) => {
            let number = value.as_f64().ok_or(DecodeError::Missing)?;
            let scaled = scaling.forward(number);
            if scaled.is_finite() { Ok(Value::F64(scaled)) } else { Err(DecodeError::NotANumber) }
        }
    }
}

fn wire_value(
    rule: &Rule,
    kind: DataType,
    place: Place,
    raw: &Raw,
    last: Option<&Value>,
) -> Result<Value, DecodeError> {
    let word = |at: usize| raw.words.get(at).copied().ok_or(DecodeError::Missing);
    match place {
        Place::Bit { at } => raw.bits.get(at).map(|bit| Value::Bool(*bit)).ok_or(DecodeError::Missing),
        Place::WordBit { at, bit } => Ok(Value::Bool(word(at)? >> u32::from(bit & 15) & 1 == 1)),
        Place::HalfWord { at, high } => {
            let [upper, lower] = word(at)?.to_be_bytes();
            // An order that swaps bytes is said of arrays only: a single byte is named by its half.
            let swapped = rule.kind.length().is_some() && rule.order.bytes_swapped();
            let byte = if high != swapped { upper } else { lower };
            Ok(if kind == DataType::I8 { Value::I8(byte as i8) } else { Value::U8(byte) })
        }
        Place::Words { at, count } => {
            let end = at.checked_add(count).ok_or(DecodeError::Missing)?;
            let words = raw.words.get(at..end).ok_or(DecodeError::Missing)?;
            from_words(kind, rule.order, words, last)
        }
        // Of an array, whose elements are asked for one by one.
        Place::Bits { .. } => Err(DecodeError::Missing),
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
