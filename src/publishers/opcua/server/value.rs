//! Values, times and statuses in the library's types, and back: nothing is converted on the way.

use opcua::server::address_space::Variable;
use opcua::types::{
    DataEncoding, DataTypeId, DataValue, DateTime, LocalizedText, NumericRange, StatusCode,
    TimestampsToReturn, VariableTypeId, Variant,
};

use crate::model::{Array, DataType, Labels, Sample, Timestamp, Value};
use crate::publishers::opcua::status::{self, Status};

/// 100 ns ticks from 1601-01-01 to 1970-01-01 (Part 6 §5.2.2.5).
const EPOCH_TICKS: i64 = 116_444_736_000_000_000;

/// The built-in type of a tag (Part 6 §5.1.2).
pub(super) fn data_type(kind: DataType) -> DataTypeId {
    match kind {
        DataType::Bool => DataTypeId::Boolean,
        DataType::I8 => DataTypeId::SByte,
        DataType::U8 => DataTypeId::Byte,
        DataType::I16 => DataTypeId::Int16,
        DataType::U16 => DataTypeId::UInt16,
        DataType::I32 => DataTypeId::Int32,
        DataType::U32 => DataTypeId::UInt32,
        DataType::I64 => DataTypeId::Int64,
        DataType::U64 => DataTypeId::UInt64,
        DataType::F32 => DataTypeId::Float,
        DataType::F64 => DataTypeId::Double,
        DataType::Text => DataTypeId::String,
        DataType::Array(of, _) => data_type(*of),
    }
}

/// The type of a variable, by what is known of its values (Part 8 §5.3.2).
pub(super) fn variable_type(unit: bool, range: bool) -> VariableTypeId {
    match (unit, range) {
        (true, true) => VariableTypeId::AnalogUnitRangeType,
        (true, false) => VariableTypeId::AnalogUnitType,
        (false, true) => VariableTypeId::AnalogItemType,
        (false, false) => VariableTypeId::BaseDataVariableType,
    }
}

/// A value as a scalar of its own type, an array as a one-dimensional array of it.
pub(super) fn variant(value: &Value) -> Variant {
    match value {
        Value::Bool(v) => Variant::Boolean(*v),
        Value::I8(v) => Variant::SByte(*v),
        Value::U8(v) => Variant::Byte(*v),
        Value::I16(v) => Variant::Int16(*v),
        Value::U16(v) => Variant::UInt16(*v),
        Value::I32(v) => Variant::Int32(*v),
        Value::U32(v) => Variant::UInt32(*v),
        Value::I64(v) => Variant::Int64(*v),
        Value::U64(v) => Variant::UInt64(*v),
        Value::F32(v) => Variant::Float(*v),
        Value::F64(v) => Variant::Double(*v),
        Value::Text(v) => Variant::String((&**v).into()),
        Value::Array(v) => match v.get(0).and_then(|first| variant(&first).scalar_type_id()) {
            Some(of) => Variant::from((of, v.iter().map(|element| variant(&element)).collect::<Vec<_>>())),
            None => Variant::Empty,
        },
    }
}

/// A written value, `None` where it is not of exactly this type, rank and length.
pub(super) fn written(value: &Variant, kind: DataType) -> Option<Value> {
    let value = match value {
        Variant::Boolean(v) => Value::Bool(*v),
        Variant::SByte(v) => Value::I8(*v),
        Variant::Byte(v) => Value::U8(*v),
        Variant::Int16(v) => Value::I16(*v),
        Variant::UInt16(v) => Value::U16(*v),
        Variant::Int32(v) => Value::I32(*v),
        Variant::UInt32(v) => Value::U32(*v),
        Variant::Int64(v) => Value::I64(*v),
        Variant::UInt64(v) => Value::U64(*v),
        Variant::Float(v) => Value::F32(*v),
        Variant::Double(v) => Value::F64(*v),
        Variant::String(v) if !v.is_null() => Value::Text(v.as_ref().into()),
        Variant::Array(array) if array.dimensions.as_ref().is_none_or(|all| all.len() == 1) => {
            let elements = array.values.iter().map_while(|element| written(element, kind.element()));
            Value::Array(
                Array::collect(kind.element(), elements).filter(|a| a.length() == array.values.len())?,
            )
        }
        // The same as an array of bytes, and what many clients send for one.
        Variant::ByteString(bytes) => {
            let bytes = bytes.value.as_ref()?.iter().map(|byte| Value::U8(*byte));
            Value::Array(Array::collect(DataType::U8, bytes)?)
        }
        _ => return None,
    };
    (value.data_type() == kind).then_some(value)
}

/// A sample with its source time, exact to the microsecond.
pub(super) fn data_value(sample: &Sample, now: DateTime) -> DataValue {
    let mut value = empty(status::of_quality(sample.quality));
    value.value = Some(sample.value.as_ref().map_or(Variant::Empty, variant));
    value.source_timestamp = Some(date_time(sample.at));
    value.server_timestamp = Some(now);
    value
}

/// What a sample's value is called, with its status and times; no text where it has no name.
pub(super) fn name(sample: &Sample, labels: &Labels, shown: &DataValue) -> DataValue {
    let name = sample.value.as_ref().map(|value| match labels.of(value) {
        Some(name) => Variant::from(LocalizedText::from(&**name)),
        None => Variant::from(LocalizedText::null()),
    });
    DataValue { value: Some(name.unwrap_or(Variant::Empty)), ..shown.clone() }
}

/// What a node holds.
pub(super) fn of(node: &Variable) -> DataValue {
    node.value(TimestampsToReturn::Both, &NumericRange::None, &DataEncoding::Binary, 0.0)
}

/// A value of the server's own, of now.
pub(super) fn plain(value: impl Into<Variant>) -> DataValue {
    DataValue::new_now(value)
}

/// No value, and why. The variant is there and empty: without one the library forgets the status.
pub(super) fn empty(why: Status) -> DataValue {
    DataValue { value: Some(Variant::Empty), status: Some(code(why)), ..DataValue::default() }
}

/// The library's status.
pub(super) fn code(status: Status) -> StatusCode {
    StatusCode::from(status.0)
}

/// A time of the library's, cut off to the microsecond; `None` where there is none (Part 4 §7.38: a client
/// leaves it out as 1601-01-01). With `up` the next microsecond where there is a rest.
pub(super) fn timestamp(at: DateTime, up: bool) -> Option<Timestamp> {
    let ticks = (!at.is_null()).then(|| at.checked_ticks()).filter(|ticks| *ticks > 0)?;
    let (micros, rest) = ((ticks - EPOCH_TICKS).div_euclid(10), (ticks - EPOCH_TICKS).rem_euclid(10));
    Some(Timestamp(micros + i64::from(up && rest > 0)))
}

/// The library's time.
pub(super) fn date_time(at: Timestamp) -> DateTime {
    DateTime::from(at.0.saturating_mul(10).saturating_add(EPOCH_TICKS).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bad, TagId};

    /// The lines of the table under a heading of the documentation.
    fn table(heading: &str) -> Vec<&'static str> {
        let documentation = include_str!("../../../../docs/opcua.md");
        let section = documentation.split(&format!("\n## {heading}\n")).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        section.lines().filter(|line| line.starts_with("| ")).collect()
    }

    #[test]
    fn the_documentation_has_the_status_of_every_quality() {
        for quality in (0..=u16::MAX).filter_map(crate::model::Quality::from_code) {
            let words = quality.to_string();
            let words = words
                .split("exception")
                .next()
                .unwrap()
                .replace("refused with ", "refused with an exception");
            let name = code(status::of_quality(quality)).to_string();
            let line = table("Status").into_iter().find(|line| line.starts_with(&format!("| {words} |")));
            let line = line.unwrap_or_else(|| panic!("docs/opcua.md has no line of `{words}`"));
            let status = line.split('|').nth(2).unwrap().trim();
            assert_eq!(status.split([' ', '(']).next(), Some(name.as_str()), "{words}");
        }
    }

    #[test]
    fn the_documentation_has_the_answer_to_every_refusal() {
        use crate::command::Refusal;
        use crate::model::Fault;
        let faults = [
            Fault::NotConnected,
            Fault::Timeout,
            Fault::Garbled,
            Fault::Refused(4),
            Fault::Busy,
            Fault::Altered,
            Fault::Unsupported,
        ];
        let refusals = [
            Refusal::UnknownTag,
            Refusal::ReadOnly,
            Refusal::WrongType,
            Refusal::OutOfRange,
            Refusal::TooOften,
            Refusal::NotAllowed,
            Refusal::LinkDown,
        ];
        let answers: Vec<_> =
            table("Writing").into_iter().map(|line| line.split('|').nth(1).unwrap()).collect();
        for refusal in refusals.into_iter().chain(faults.map(Refusal::Fault)) {
            let name = code(status::of_refusal(refusal)).to_string();
            let is_there = answers.iter().any(|answer| answer.split([' ', ',']).any(|word| word == name));
            assert!(is_there, "{refusal}: {name}");
        }
    }

    #[test]
    fn a_value_comes_back_as_itself_and_as_no_other_type() {
        let values = [
            Value::Bool(true),
            Value::I8(-8),
            Value::U8(8),
            Value::I16(-16),
            Value::U16(16),
            Value::I32(-32),
            Value::U32(32),
            Value::I64(i64::MIN),
            Value::U64(u64::MAX),
            Value::F32(0.1),
            Value::F64(0.1),
            Value::Text("Füller".into()),
        ];
        for value in values {
            for kind in DataType::ALL {
                let expected = (kind == value.data_type()).then(|| value.clone());
                assert_eq!(written(&variant(&value), kind), expected, "{value} as {kind:?}");
            }
            assert_eq!(
                variant(&value).data_type().unwrap().node_id,
                opcua::types::NodeId::from(data_type(value.data_type())),
                "{value}"
            );
        }
    }

    #[test]
    fn an_array_is_one_of_its_own_type_and_length() {
        for of in DataType::ALL {
            let one = match of {
                DataType::Bool => Value::Bool(true),
                DataType::Text => Value::Text("a".into()),
                number => Value::U8(7).coerce(number).unwrap(),
            };
            let two = [one.clone(), one.clone()].into_iter();
            let array = Value::Array(Array::collect(of, two).unwrap());
            let kind = |length| DataType::array(of, length).unwrap();
            assert_eq!(written(&variant(&array), kind(2)), Some(array.clone()), "{array}");
            assert_eq!(written(&variant(&array), kind(1)), None);
            assert_eq!(written(&variant(&array), kind(3)), None);
            assert_eq!(written(&variant(&array), of), None);
            assert_eq!(written(&variant(&one), kind(1)), None);
            let square = opcua::types::Array { dimensions: Some(vec![1, 2]), ..array_of(&array) };
            assert_eq!(written(&Variant::from(square), kind(2)), None);
        }
        let pair = DataType::array(DataType::U8, 2).unwrap();
        let bytes = Variant::from(opcua::types::ByteString::from(vec![1u8, 2]));
        assert_eq!(written(&bytes, pair), Some(Value::Array(Array::U8([1, 2].into()))));
    }

    fn array_of(value: &Value) -> opcua::types::Array {
        let Variant::Array(array) = variant(value) else { panic!("{value}") };
        *array
    }

    #[test]
    fn an_array_or_nothing_is_no_scalar() {
        assert_eq!(written(&Variant::from(vec![1u16, 2]), DataType::U16), None);
        assert_eq!(written(&Variant::Empty, DataType::U16), None);
        assert_eq!(written(&Variant::String(opcua::types::UAString::null()), DataType::Text), None);
    }

    #[test]
    fn a_time_keeps_its_microseconds() {
        let at = Timestamp(1_760_000_000_123_457);
        assert_eq!(date_time(at).as_chrono().timestamp_micros(), at.0);
        assert!(date_time(Timestamp(i64::MIN)).is_null());
        let _ = date_time(Timestamp(i64::MAX));
    }

    #[test]
    fn a_bad_sample_has_a_status_a_time_and_no_value() {
        let at = Timestamp(1_760_000_000_000_001);
        let value = data_value(&Sample::bad(TagId(1), Bad::NoAnswer, at), DateTime::now());
        assert_eq!((value.value, value.status), (Some(Variant::Empty), Some(StatusCode::BadTimeout)));
        assert_eq!(value.source_timestamp, Some(date_time(at)));
    }

    #[test]
    fn our_numbers_of_statuses_are_those_of_the_library() {
        for (ours, library) in [
            (Status::GOOD, StatusCode::Good),
            (Status::UNCERTAIN_ENGINEERING_UNITS_EXCEEDED, StatusCode::UncertainEngineeringUnitsExceeded),
            (Status::BAD_RESOURCE_UNAVAILABLE, StatusCode::BadResourceUnavailable),
            (Status::BAD_COMMUNICATION_ERROR, StatusCode::BadCommunicationError),
            (Status::BAD_DECODING_ERROR, StatusCode::BadDecodingError),
            (Status::BAD_TIMEOUT, StatusCode::BadTimeout),
            (Status::BAD_TOO_MANY_OPERATIONS, StatusCode::BadTooManyOperations),
            (Status::BAD_USER_ACCESS_DENIED, StatusCode::BadUserAccessDenied),
            (Status::BAD_NO_COMMUNICATION, StatusCode::BadNoCommunication),
            (Status::BAD_WAITING_FOR_INITIAL_DATA, StatusCode::BadWaitingForInitialData),
            (Status::BAD_NODE_ID_UNKNOWN, StatusCode::BadNodeIdUnknown),
            (Status::BAD_NOT_WRITABLE, StatusCode::BadNotWritable),
            (Status::BAD_OUT_OF_RANGE, StatusCode::BadOutOfRange),
            (Status::BAD_NOT_SUPPORTED, StatusCode::BadNotSupported),
            (Status::BAD_WRITE_NOT_SUPPORTED, StatusCode::BadWriteNotSupported),
            (Status::BAD_TYPE_MISMATCH, StatusCode::BadTypeMismatch),
            (Status::BAD_DEVICE_FAILURE, StatusCode::BadDeviceFailure),
            (Status::BAD_SENSOR_FAILURE, StatusCode::BadSensorFailure),
            (Status::BAD_OUT_OF_SERVICE, StatusCode::BadOutOfService),
            (Status::BAD_NO_DATA, StatusCode::BadNoData),
            (Status::BAD_AGGREGATE_INVALID_INPUTS, StatusCode::BadAggregateInvalidInputs),
            (Status::BAD_BOUND_NOT_FOUND, StatusCode::BadBoundNotFound),
            (Status::UNCERTAIN_DATA_SUB_NORMAL, StatusCode::UncertainDataSubNormal),
        ] {
            assert_eq!(code(ours), library);
        }
    }
}
