//! Values within the columns of a block.

use crate::model::{Array, DataType, Value};
use crate::store::varint::{Cut, put, put_bytes, put_signed};

/// 1 to 12, in the order of [`DataType::ALL`], and 13 to 24 for arrays of these; 0 is no value.
pub(super) fn kind(value: &Value) -> u64 {
    let (of, before) = match value {
        Value::Array(array) => (array.of(), DataType::ALL.len()),
        scalar => (scalar.data_type(), 0),
    };
    DataType::ALL.iter().position(|t| *t == of).map_or(0, |at| (before + at + 1) as u64)
}

pub(super) fn put_value(into: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(v) => into.push(u8::from(*v)),
        Value::I8(v) => put_signed(into, i64::from(*v)),
        Value::I16(v) => put_signed(into, i64::from(*v)),
        Value::I32(v) => put_signed(into, i64::from(*v)),
        Value::I64(v) => put_signed(into, *v),
        Value::U8(v) => put(into, u64::from(*v)),
        Value::U16(v) => put(into, u64::from(*v)),
        Value::U32(v) => put(into, u64::from(*v)),
        Value::U64(v) => put(into, *v),
        Value::F32(v) => into.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => into.extend_from_slice(&v.to_le_bytes()),
        Value::Text(v) => put_bytes(into, v.as_bytes()),
        Value::Array(v) => {
            put(into, v.length() as u64);
            v.iter().for_each(|element| put_value(into, &element));
        }
    }
}

pub(super) fn value(cut: &mut Cut<'_>, kind: u64) -> Option<Value> {
    let at = usize::try_from(kind).ok()?.checked_sub(1)?;
    let Some(kind) = DataType::ALL.get(at) else {
        let of = *DataType::ALL.get(at - DataType::ALL.len())?;
        let count = cut.count().filter(|count| *count <= usize::from(Array::MOST))?;
        let elements = (0..count).map_while(|_| value(cut, (at - DataType::ALL.len()) as u64 + 1));
        return Array::collect(of, elements).filter(|array| array.length() == count).map(Value::Array);
    };
    Some(match kind {
        DataType::Bool => Value::Bool(cut.array()? != [0]),
        DataType::I8 => Value::I8(cut.signed()?.try_into().ok()?),
        DataType::I16 => Value::I16(cut.signed()?.try_into().ok()?),
        DataType::I32 => Value::I32(cut.signed()?.try_into().ok()?),
        DataType::I64 => Value::I64(cut.signed()?),
        DataType::U8 => Value::U8(cut.number()?.try_into().ok()?),
        DataType::U16 => Value::U16(cut.number()?.try_into().ok()?),
        DataType::U32 => Value::U32(cut.number()?.try_into().ok()?),
        DataType::U64 => Value::U64(cut.number()?),
        DataType::F32 => Value::F32(f32::from_le_bytes(cut.array()?)),
        DataType::F64 => Value::F64(f64::from_le_bytes(cut.array()?)),
        DataType::Text => Value::Text(std::str::from_utf8(cut.bytes()?).ok()?.into()),
        DataType::Array(..) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_that_is_longer_than_any_can_be_is_damage() {
        for count in [0, 2001, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, count);
            bytes.resize(5000, 1);
            assert_eq!(super::value(&mut Cut(&bytes), 13), None, "{count}");
        }
        let mut bytes = Vec::new();
        put(&mut bytes, 2000);
        assert_eq!(super::value(&mut Cut(&bytes), 13), None);
        bytes.resize(bytes.len() + 2000, 1);
        assert_eq!(super::value(&mut Cut(&bytes), 13).map(|v| v.elements().count()), Some(2000));
        for kind in [0, 25, u64::MAX] {
            assert_eq!(super::value(&mut Cut(&bytes), kind), None);
        }
    }
}
