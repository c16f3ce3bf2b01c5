//! The value of an array tag.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::{DataType, Value};

/// The elements of an array, in their order: 1 to [`Array::MOST`], all of one type. Cloning never allocates.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// See [`DataType::Bool`].
    Bool(Arc<[bool]>),
    /// See [`DataType::I8`].
    I8(Arc<[i8]>),
    /// See [`DataType::U8`].
    U8(Arc<[u8]>),
    /// See [`DataType::I16`].
    I16(Arc<[i16]>),
    /// See [`DataType::U16`].
    U16(Arc<[u16]>),
    /// See [`DataType::I32`].
    I32(Arc<[i32]>),
    /// See [`DataType::U32`].
    U32(Arc<[u32]>),
    /// See [`DataType::I64`].
    I64(Arc<[i64]>),
    /// See [`DataType::U64`].
    U64(Arc<[u64]>),
    /// See [`DataType::F32`].
    F32(Arc<[f32]>),
    /// See [`DataType::F64`].
    F64(Arc<[f64]>),
    /// See [`DataType::Text`].
    Text(Arc<[Arc<str>]>),
}

/// The same expression over the elements of any type.
macro_rules! each {
    ($array:expr, $elements:ident => $do:expr) => {
        match $array {
            Array::Bool($elements) => $do,
            Array::I8($elements) => $do,
            Array::U8($elements) => $do,
            Array::I16($elements) => $do,
            Array::U16($elements) => $do,
            Array::I32($elements) => $do,
            Array::U32($elements) => $do,
            Array::I64($elements) => $do,
            Array::U64($elements) => $do,
            Array::F32($elements) => $do,
            Array::F64($elements) => $do,
            Array::Text($elements) => $do,
        }
    };
}

impl Array {
    /// Most elements: the bits of one read (Modbus Application Protocol V1.1b3, section 6.1).
    pub const MOST: u16 = 2000;

    /// An array of these elements; `None` where there are none, too many, or one of another type.
    pub fn collect(of: DataType, elements: impl Iterator<Item = Value>) -> Option<Array> {
        macro_rules! typed {
            ($kind:ident) => {
                Array::$kind(
                    elements
                        .take(usize::from(Array::MOST) + 1)
                        .map(|element| if let Value::$kind(v) = element { Some(v) } else { None })
                        .collect::<Option<_>>()?,
                )
            };
        }
        let array = match of {
            DataType::Bool => typed!(Bool),
            DataType::I8 => typed!(I8),
            DataType::U8 => typed!(U8),
            DataType::I16 => typed!(I16),
            DataType::U16 => typed!(U16),
            DataType::I32 => typed!(I32),
            DataType::U32 => typed!(U32),
            DataType::I64 => typed!(I64),
            DataType::U64 => typed!(U64),
            DataType::F32 => typed!(F32),
            DataType::F64 => typed!(F64),
            DataType::Text => typed!(Text),
            DataType::Array(..) => return None,
        };
        (1..=usize::from(Array::MOST)).contains(&array.length()).then_some(array)
    }

    /// How many elements it has.
    pub fn length(&self) -> usize {
        each!(self, elements => elements.len())
    }

    /// The type of its elements.
    pub fn of(&self) -> DataType {
        match self {
            Array::Bool(_) => DataType::Bool,
            Array::I8(_) => DataType::I8,
            Array::U8(_) => DataType::U8,
            Array::I16(_) => DataType::I16,
            Array::U16(_) => DataType::U16,
            Array::I32(_) => DataType::I32,
            Array::U32(_) => DataType::U32,
            Array::I64(_) => DataType::I64,
            Array::U64(_) => DataType::U64,
            Array::F32(_) => DataType::F32,
            Array::F64(_) => DataType::F64,
            Array::Text(_) => DataType::Text,
        }
    }

    /// Its type. No array is without elements, nor has more than [`Array::MOST`].
    pub fn data_type(&self) -> DataType {
        DataType::array(self.of(), self.length()).unwrap_or_else(|| self.of())
    }

    /// One element, from 0 on.
    pub fn get(&self, at: usize) -> Option<Value> {
        Some(match self {
            Array::Bool(v) => Value::Bool(*v.get(at)?),
            Array::I8(v) => Value::I8(*v.get(at)?),
            Array::U8(v) => Value::U8(*v.get(at)?),
            Array::I16(v) => Value::I16(*v.get(at)?),
            Array::U16(v) => Value::U16(*v.get(at)?),
            Array::I32(v) => Value::I32(*v.get(at)?),
            Array::U32(v) => Value::U32(*v.get(at)?),
            Array::I64(v) => Value::I64(*v.get(at)?),
            Array::U64(v) => Value::U64(*v.get(at)?),
            Array::F32(v) => Value::F32(*v.get(at)?),
            Array::F64(v) => Value::F64(*v.get(at)?),
            Array::Text(v) => Value::Text(v.get(at)?.clone()),
        })
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.length()).map_while(|at| self.get(at))
    }

    /// What the elements take in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let own = each!(self, elements => size_of_val::<[_]>(elements));
        let texts = match self {
            Array::Text(texts) => texts.iter().map(|text| text.len() + Value::SHARED).sum(),
            _ => 0,
        };
        own + texts + Value::SHARED
    }
}

/// As in JSON; texts in quotes.
impl std::fmt::Display for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[")?;
        for (at, element) in self.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            match element {
                Value::Text(text) => write!(f, "{text:?}")?,
                other => write!(f, "{other}")?,
            }
        }
        f.write_str("]")
    }
}

impl Serialize for Array {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_has_elements_of_one_type_and_not_too_many() {
        let of = |kind, count: usize| Array::collect(kind, (0..count).map(|_| Value::U8(7)));
        assert_eq!(of(DataType::U8, 3), Some(Array::U8([7, 7, 7].into())));
        assert_eq!(of(DataType::U8, 0), None);
        assert_eq!(of(DataType::U16, 3), None);
        assert_eq!(of(DataType::U8, 2000).map(|a| a.length()), Some(2000));
        assert_eq!(of(DataType::U8, 2001), None);
    }

    #[test]
    fn an_array_is_shown_as_in_json() {
        assert_eq!(Array::F32([1.5, -2.0].into()).to_string(), "[1.5, -2]");
        let texts = Array::Text(["a".into(), "b, \"c\"".into()].into());
        assert_eq!(texts.to_string(), r#"["a", "b, \"c\""]"#);
        assert_eq!(serde_json::to_string(&texts).unwrap(), r#"["a","b, \"c\""]"#);
    }

    #[test]
    fn a_value_is_no_larger_for_the_arrays_and_counts_their_elements() {
        assert_eq!(size_of::<Value>(), 24);
        assert_eq!(Value::Array(Array::F64([0.0; 100].into())).bytes(), 816);
        assert_eq!(Value::Array(Array::Text(["abc".into()].into())).bytes(), 16 + 19 + 16);
    }
}
