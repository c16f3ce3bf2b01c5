//! Arrays as the bytes of a metric (Sparkplug 3.0, 6.4.17): little-endian, without padding.
//!
//! Booleans are bits, the first in the most significant bit of the first byte, behind their number in four bytes.
//! Strings end with a NUL each.

use crate::model::{Array, DataType, Value};

/// The types of arrays are numbered after all others in the order of their elements: Int8 is 1, Int8Array 22, and
/// so on to String, 12, and StringArray, 33 (6.4.16).
pub(super) const BEFORE: u32 = 21;

/// The bytes of an array.
pub(super) fn pack(array: &Array) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(array.bytes());
    pack_into(array, &mut bytes);
    bytes
}

/// The same at the end of what is there.
pub(super) fn pack_into(array: &Array, bytes: &mut Vec<u8>) {
    if let Array::Bool(bits) = array {
        bytes.extend_from_slice(&(bits.len() as u32).to_le_bytes());
        for eight in bits.chunks(8) {
            let set = eight.iter().zip([0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1]);
            bytes.push(set.filter(|(bit, _)| **bit).map(|(_, mask)| mask).sum());
        }
        return;
    }
    for element in array.iter() {
        match element {
            Value::Bool(v) => bytes.push(u8::from(v)),
            Value::I8(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::U8(v) => bytes.push(v),
            Value::I16(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::U16(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::I32(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::U32(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::I64(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::U64(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::F32(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::F64(v) => bytes.extend_from_slice(&v.to_le_bytes()),
            Value::Text(v) => {
                bytes.extend_from_slice(v.as_bytes());
                bytes.push(0);
            }
            Value::Array(_) => {}
        }
    }
}

/// An array of elements of this type; `None` where the bytes are none.
pub(super) fn unpack(of: DataType, bytes: &[u8]) -> Option<Array> {
    macro_rules! numbers {
        ($kind:ident, $number:ty) => {{
            let (elements, []) = bytes.as_chunks() else { return None };
            Array::collect(of, elements.iter().map(|one| Value::$kind(<$number>::from_le_bytes(*one))))
        }};
    }
    match of {
        DataType::Bool => {
            let (count, bits) = bytes.split_first_chunk()?;
            let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
            let set = |at: usize| bits.get(at / 8).is_some_and(|byte| byte << (at % 8) & 0x80 != 0);
            let whole = bits.len() == count.div_ceil(8);
            Array::collect(of, (0..count).map(|at| Value::Bool(set(at)))).filter(|_| whole)
        }
        DataType::I8 => numbers!(I8, i8),
        DataType::U8 => numbers!(U8, u8),
        DataType::I16 => numbers!(I16, i16),
        DataType::U16 => numbers!(U16, u16),
        DataType::I32 => numbers!(I32, i32),
        DataType::U32 => numbers!(U32, u32),
        DataType::I64 => numbers!(I64, i64),
        DataType::U64 => numbers!(U64, u64),
        DataType::F32 => numbers!(F32, f32),
        DataType::F64 => numbers!(F64, f64),
        DataType::Text => {
            // Who leaves out the last NUL means the same.
            let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
            let texts = std::str::from_utf8(bytes).ok()?.split('\0');
            Array::collect(of, texts.map(|text| Value::Text(text.into())))
        }
        DataType::Array(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the specification, 6.4.17, but for three that contradict its own text: -23 is 0xE9, and
    /// floats are little-endian as all others.
    #[test]
    fn an_array_is_packed_as_the_specification_shows() {
        let examples: [(Array, &[u8]); 11] = [
            (Array::I8([-23, 123].into()), &[0xE9, 0x7B]),
            (Array::I16([-30_000, 30_000].into()), &[0xD0, 0x8A, 0x30, 0x75]),
            (Array::I32([-1, 315_338_746].into()), &[0xFF, 0xFF, 0xFF, 0xFF, 0xFA, 0xAF, 0xCB, 0x12]),
            (
                Array::I64([-4_270_929_666_821_191_986, -3_601_064_768_563_266_876].into()),
                &[
                    0xCE, 0x06, 0x72, 0xAC, 0x18, 0x9C, 0xBA, 0xC4, 0xC4, 0xBA, 0x9C, 0x18, 0xAC, 0x72, 0x06,
                    0xCE,
                ],
            ),
            (Array::U8([23, 250].into()), &[0x17, 0xFA]),
            (Array::U16([30, 52_360].into()), &[0x1E, 0x00, 0x88, 0xCC]),
            (Array::U32([52, 3_293_969_225].into()), &[0x34, 0x00, 0x00, 0x00, 0x49, 0xFB, 0x55, 0xC4]),
            (
                Array::U64([52, 16_444_743_074_749_521_625].into()),
                &[0x34, 0, 0, 0, 0, 0, 0, 0, 0xD9, 0x9E, 0x02, 0xD1, 0xB2, 0x76, 0x37, 0xE4],
            ),
            (
                Array::F64([12.354_213, 1_022.912_321_3].into()),
                &[
                    0xD7, 0xA2, 0x05, 0x68, 0x5B, 0xB5, 0x28, 0x40, 0x8E, 0x17, 0x1C, 0x6F, 0x4C, 0xF7, 0x8F,
                    0x40,
                ],
            ),
            (
                Array::Bool(
                    [false, false, true, true, false, true, false, false, true, true, false, true].into(),
                ),
                &[0x0C, 0x00, 0x00, 0x00, 0x34, 0xD0],
            ),
            (Array::Text(["ABC".into(), "hello".into()].into()), b"ABC\0hello\0"),
        ];
        for (array, bytes) in examples {
            assert_eq!(pack(&array), bytes, "{array}");
            assert_eq!(unpack(array.of(), bytes), Some(array));
        }
        let floats = Array::F32([1.23, 89.341].into());
        assert_eq!(pack(&floats), [0xA4, 0x70, 0x9D, 0x3F, 0x98, 0xAE, 0xB2, 0x42]);
    }

    #[test]
    fn bytes_that_are_no_array_are_refused() {
        assert_eq!(unpack(DataType::I16, &[1, 2, 3]), None);
        assert_eq!(unpack(DataType::F64, &[]), None);
        assert_eq!(unpack(DataType::Text, &[0xFF, 0]), None);
        for bits in [&[][..], &[1, 0, 0], &[1, 0, 0, 0], &[1, 0, 0, 0, 1, 1], &[0xFF, 0xFF, 0xFF, 0xFF, 0]] {
            assert_eq!(unpack(DataType::Bool, bits), None, "{bits:?}");
        }
        assert_eq!(unpack(DataType::U8, &[0; 2001]), None);
    }

    #[test]
    fn texts_may_be_empty_and_lack_the_last_end() {
        let of = |bytes| unpack(DataType::Text, bytes).map(|array| array.to_string());
        assert_eq!(of(b"\0\0"), Some(r#"["", ""]"#.into()));
        assert_eq!(of(b"a\0b"), Some(r#"["a", "b"]"#.into()));
    }
}
