//! The typed value of a tag.

use std::sync::Arc;

use serde::Serialize;

use super::{Array, DataType};

/// One value. Cloning never allocates.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// See [`DataType::Bool`].
    Bool(bool),
    /// See [`DataType::I8`].
    I8(i8),
    /// See [`DataType::U8`].
    U8(u8),
    /// See [`DataType::I16`].
    I16(i16),
    /// See [`DataType::U16`].
    U16(u16),
    /// See [`DataType::I32`].
    I32(i32),
    /// See [`DataType::U32`].
    U32(u32),
    /// See [`DataType::I64`].
    I64(i64),
    /// See [`DataType::U64`].
    U64(u64),
    /// See [`DataType::F32`].
    F32(f32),
    /// See [`DataType::F64`].
    F64(f64),
    /// See [`DataType::Text`].
    Text(Arc<str>),
    /// See [`DataType::Array`].
    Array(Array),
}

impl Value {
    /// What counting the owners of a text or an array takes in memory, in bytes.
    pub const SHARED: usize = 16;

    /// The type of this value.
    pub fn data_type(&self) -> DataType {
        match self {
            Value::Bool(_) => DataType::Bool,
            Value::I8(_) => DataType::I8,
            Value::U8(_) => DataType::U8,
            Value::I16(_) => DataType::I16,
            Value::U16(_) => DataType::U16,
            Value::I32(_) => DataType::I32,
            Value::U32(_) => DataType::U32,
            Value::I64(_) => DataType::I64,
            Value::U64(_) => DataType::U64,
            Value::F32(_) => DataType::F32,
            Value::F64(_) => DataType::F64,
            Value::Text(_) => DataType::Text,
            Value::Array(array) => array.data_type(),
        }
    }

    /// The elements of an array; any other value is its own.
    pub fn elements(&self) -> impl Iterator<Item = Value> + '_ {
        let (array, own) = match self {
            Value::Array(array) => (Some(array), None),
            own => (None, Some(own.clone())),
        };
        array.into_iter().flat_map(Array::iter).chain(own)
    }

    /// What it takes in memory besides itself, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Value::Text(text) => text.len() + Value::SHARED,
            Value::Array(array) => array.bytes(),
            _ => 0,
        }
    }

    /// The number, `None` for booleans, text and arrays. 64-bit integers beyond 2^53 lose their last bits.
    pub fn as_f64(&self) -> Option<f64> {
        Some(match self {
            Value::Bool(_) | Value::Text(_) | Value::Array(_) => return None,
            Value::I8(v) => f64::from(*v),
            Value::U8(v) => f64::from(*v),
            Value::I16(v) => f64::from(*v),
            Value::U16(v) => f64::from(*v),
            Value::I32(v) => f64::from(*v),
            Value::U32(v) => f64::from(*v),
            Value::I64(v) => *v as f64,
            Value::U64(v) => *v as f64,
            Value::F32(v) => f64::from(*v),
            Value::F64(v) => *v,
        })
    }

    /// The whole number, `None` for all other types.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match self {
            Value::I8(v) => i128::from(*v),
            Value::U8(v) => i128::from(*v),
            Value::I16(v) => i128::from(*v),
            Value::U16(v) => i128::from(*v),
            Value::I32(v) => i128::from(*v),
            Value::U32(v) => i128::from(*v),
            Value::I64(v) => i128::from(*v),
            Value::U64(v) => i128::from(*v),
            Value::Bool(_) | Value::Text(_) | Value::F32(_) | Value::F64(_) | Value::Array(_) => return None,
        })
    }

    /// This value as another type, `None` where it would not be exactly the same
    /// (300 is no `u8`, 1.5 is no integer, a number is no `bool`); only a double may lose
    /// precision on its way to a single, never its range: neither to infinity nor to 0. A zero has no sign as an
    /// integer. An array is coerced element by element, to one of its
    /// own length.
    pub fn coerce(&self, to: DataType) -> Option<Value> {
        if self.data_type() == to {
            return Some(self.clone());
        }
        let whole = || match self {
            Value::F32(_) | Value::F64(_) => {
                let f = self.as_f64()?;
                // ±2^63 bounds what an i128 cast below keeps exact and every integer type can hold.
                (f.fract() == 0.0 && f.abs() < 1.8446744073709552e19).then_some(f as i128)
            }
            _ => self.as_integer(),
        };
        // An integer beyond 2^53 may lie between two doubles.
        let exact = || {
            let f = self.as_f64()?;
            self.as_integer().is_none_or(|whole| f as i128 == whole).then_some(f)
        };
        Some(match to {
            DataType::Bool | DataType::Text => return None,
            DataType::I8 => Value::I8(whole()?.try_into().ok()?),
            DataType::U8 => Value::U8(whole()?.try_into().ok()?),
            DataType::I16 => Value::I16(whole()?.try_into().ok()?),
            DataType::U16 => Value::U16(whole()?.try_into().ok()?),
            DataType::I32 => Value::I32(whole()?.try_into().ok()?),
            DataType::U32 => Value::U32(whole()?.try_into().ok()?),
            DataType::I64 => Value::I64(whole()?.try_into().ok()?),
            DataType::U64 => Value::U64(whole()?.try_into().ok()?),
            DataType::F32 => {
                let f = exact()?;
                let narrow = f as f32;
                let out_of_range = f.is_finite() && !narrow.is_finite() || f != 0.0 && narrow == 0.0;
                let rounded = self.as_integer().is_some() && f64::from(narrow) != f;
                if out_of_range || rounded {
                    return None;
                }
                Value::F32(narrow)
            }
            DataType::F64 => Value::F64(exact()?),
            DataType::Array(of, length) => {
                let Value::Array(array) = self else { return None };
                let elements = array.iter().map_while(|element| element.coerce(*of));
                let all = Array::collect(*of, elements)?;
                let fits = array.length() == usize::from(length) && all.length() == array.length();
                return fits.then_some(Value::Array(all));
            }
        })
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Bool(v) => write!(f, "{v}"),
            Value::Text(v) => write!(f, "{v}"),
            Value::F32(v) => write!(f, "{v}"),
            Value::F64(v) => write!(f, "{v}"),
            Value::Array(v) => write!(f, "{v}"),
            _ => write!(f, "{}", self.as_integer().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_coerced_only_where_nothing_changes() {
        assert_eq!(Value::F64(300.0).coerce(DataType::U8), None);
        assert_eq!(Value::F64(1.5).coerce(DataType::I32), None);
        assert_eq!(Value::F64(42.0).coerce(DataType::U8), Some(Value::U8(42)));
        assert_eq!(Value::I64(-1).coerce(DataType::U64), None);
        assert_eq!(Value::U8(1).coerce(DataType::Bool), None);
        assert_eq!(Value::F64(1e300).coerce(DataType::F32), None);
        assert_eq!(Value::F64(0.1).coerce(DataType::F32), Some(Value::F32(0.1)));
        assert_eq!(Value::F64(1e-300).coerce(DataType::F32), None);
        assert_eq!(Value::I64((1 << 53) + 1).coerce(DataType::F64), None);
        assert_eq!(Value::I64(1 << 53).coerce(DataType::F64), Some(Value::F64(9_007_199_254_740_992.0)));
        assert_eq!(Value::U64(u64::MAX).coerce(DataType::F64), None);
        assert_eq!(Value::I32(16_777_217).coerce(DataType::F32), None);
        assert_eq!(Value::I32(16_777_216).coerce(DataType::F32), Some(Value::F32(16_777_216.0)));
        assert_eq!(Value::F64(-0.0).coerce(DataType::I8), Some(Value::I8(0)));
    }

    #[test]
    fn an_array_is_coerced_as_a_whole_to_its_own_length() {
        let array = Value::Array(Array::F64([1.0, 300.0].into()));
        let to = |of, length| array.coerce(DataType::array(of, length).unwrap());
        assert_eq!(to(DataType::U16, 2), Some(Value::Array(Array::U16([1, 300].into()))));
        assert_eq!(to(DataType::U8, 2), None);
        assert_eq!(to(DataType::U16, 1), None);
        assert_eq!(to(DataType::U16, 3), None);
        assert_eq!(array.coerce(DataType::F64), None);
        assert_eq!(Value::F64(1.0).coerce(DataType::array(DataType::F64, 1).unwrap()), None);
    }
}
