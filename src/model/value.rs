//! The typed value of a tag.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The type of a tag's value, named as in the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// One bit.
    Bool,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 64 bits.
    U64,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// Text of a fixed number of bytes on the wire, UTF-8 here.
    #[serde(rename = "string")]
    Text,
}

impl DataType {
    /// Every type, in the order of the documentation.
    pub const ALL: [DataType; 12] = [
        DataType::Bool,
        DataType::I8,
        DataType::U8,
        DataType::I16,
        DataType::U16,
        DataType::I32,
        DataType::U32,
        DataType::I64,
        DataType::U64,
        DataType::F32,
        DataType::F64,
        DataType::Text,
    ];

    /// The name in the configuration file.
    pub fn name(self) -> &'static str {
        match self {
            DataType::Bool => "bool",
            DataType::I8 => "i8",
            DataType::U8 => "u8",
            DataType::I16 => "i16",
            DataType::U16 => "u16",
            DataType::I32 => "i32",
            DataType::U32 => "u32",
            DataType::I64 => "i64",
            DataType::U64 => "u64",
            DataType::F32 => "f32",
            DataType::F64 => "f64",
            DataType::Text => "string",
        }
    }

    /// Whether scale, offset, limits and deadband make sense for it.
    pub fn is_number(self) -> bool {
        !matches!(self, DataType::Bool | DataType::Text)
    }
}

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
}

impl Value {
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
        }
    }

    /// The number, `None` for booleans and text. 64-bit integers beyond 2^53 lose their last bits.
    pub fn as_f64(&self) -> Option<f64> {
        Some(match self {
            Value::Bool(_) | Value::Text(_) => return None,
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

    /// The whole number, `None` for booleans, text and floats.
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
            Value::Bool(_) | Value::Text(_) | Value::F32(_) | Value::F64(_) => return None,
        })
    }

    /// This value as another type, `None` where it would not be exactly the same
    /// (300 is no `u8`, 1.5 is no integer, a number is no `bool`); only a double may lose
    /// precision on its way to a single, never its range.
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
                let f = self.as_f64()?;
                let narrow = f as f32;
                if f.is_finite() && !narrow.is_finite() {
                    return None;
                }
                Value::F32(narrow)
            }
            DataType::F64 => Value::F64(self.as_f64()?),
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
    }
}
