//! What a command topic asks for: pure, for any bytes that come.

use serde::{Deserialize, Serialize};

use crate::command::Refusal;
use crate::model::{Array, DataType, Directory, TagId, Timestamp, Value, rfc3339};

/// Commands that are older than this are refused: a write must not come when nobody expects it any more.
const EXPIRY_MS: i64 = 60_000;
/// Larger payloads are refused unread.
const MAX_BYTES: usize = 64 << 10;
/// Ids that are longer are not given back.
const MAX_ID: usize = 256;

/// A command as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tag: String,
    value: serde_json::Value,
    id: Option<serde_json::Value>,
    timestamp: Option<serde_json::Value>,
}

/// A write, or why there is none.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// What is to be said of it.
    pub answer: Answer,
    /// What is to be written, still to be looked at by the gate.
    pub write: Option<(TagId, Value)>,
}

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Answer {
    /// As it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// It was done.
    pub ok: bool,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Answer {
    /// With what became of the write.
    pub(super) fn with(self, outcome: Result<(), Refusal>) -> Answer {
        Answer { ok: outcome.is_ok(), reason: outcome.err().map(|refusal| refusal.to_string()), ..self }
    }

    /// Refused before it came to the gate.
    pub(super) fn refused(self, why: &str) -> Answer {
        Answer { ok: false, reason: Some(why.to_owned()), ..self }
    }
}

/// Reads a command, which has come now.
pub fn read(bytes: &[u8], retained: bool, now: Timestamp, directory: &Directory) -> Asked {
    let nothing = |answer: Answer, why: &str| Asked { answer: answer.refused(why), write: None };
    if bytes.len() > MAX_BYTES {
        return nothing(Answer::default(), "too large");
    }
    let written: Written = match serde_json::from_slice(bytes) {
        Ok(written) => written,
        // What of it is ours stays: the place, and no text of the sender's.
        Err(error) => {
            let place = format!("not as {{\"tag\":\"device/tag\",\"value\":…}} at column {}", error.column());
            return nothing(Answer::default(), &place);
        }
    };
    let id = written.id.filter(|id| match id {
        serde_json::Value::String(text) => text.len() <= MAX_ID,
        other => other.is_number(),
    });
    let answer = Answer { id, tag: Some(written.tag), ..Answer::default() };
    if retained {
        // A retained command would be carried out again at each connect.
        return nothing(answer, "retained");
    }
    match written.timestamp.as_ref().map(time) {
        None => {}
        Some(None) => return nothing(answer, "`timestamp` is neither milliseconds nor RFC 3339"),
        Some(Some(at)) if at.saturating_add(EXPIRY_MS) < now.millis() => return nothing(answer, "expired"),
        Some(Some(_)) => {}
    }
    let Some(tag) = answer.tag.as_deref().and_then(|path| directory.find(path)) else {
        return nothing(answer, "no such tag");
    };
    match value(&written.value, tag.kind) {
        Some(value) => Asked { answer, write: Some((tag.id, value)) },
        None => nothing(answer, "the value does not fit the tag's type"),
    }
}

/// Milliseconds since 1970, or RFC 3339.
fn time(json: &serde_json::Value) -> Option<i64> {
    match json {
        serde_json::Value::String(text) => rfc3339::parse(text).map(Timestamp::millis),
        // A JavaScript clock may give fractions of a millisecond.
        number => number.as_i64().or_else(|| number.as_f64().map(|ms| ms as i64)),
    }
}

/// As exact as it was written; the gate makes it the tag's type, or refuses it.
fn value(json: &serde_json::Value, kind: DataType) -> Option<Value> {
    match json {
        serde_json::Value::Bool(value) => Some(Value::Bool(*value)),
        // As a payload says whole numbers beyond 2^53.
        serde_json::Value::String(text) => match kind {
            DataType::I64 => text.parse().ok().map(Value::I64),
            DataType::U64 => text.parse().ok().map(Value::U64),
            _ => Some(Value::Text(text.as_str().into())),
        },
        // What JSON writes without a point is a number like any other.
        serde_json::Value::Number(number) if kind == DataType::F32 => number.as_f64().map(Value::F64),
        serde_json::Value::Number(number) => number
            .as_i64()
            .map(Value::I64)
            .or_else(|| number.as_u64().map(Value::U64))
            .or_else(|| number.as_f64().map(Value::F64)),
        serde_json::Value::Array(elements) => {
            let DataType::Array(of, length) = kind else { return None };
            if elements.len() != usize::from(length) {
                return None;
            }
            let elements: Option<Vec<Value>> = elements.iter().map(|e| value(e, *of)?.coerce(*of)).collect();
            Array::collect(*of, elements?.into_iter()).map(Value::Array)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::{Access, Device, DeviceId, Tag};

    const NOW: Timestamp = Timestamp(1_760_000_000_000_000);

    fn directory() -> Directory {
        let device = Device::plain(DeviceId(0), "pump", "bus");
        let tag = |(id, (name, kind)): (usize, &(&str, DataType))| Tag {
            access: Access::ReadWrite,
            ..Tag::plain(TagId(id as u32), DeviceId(0), &format!("pump/{name}"), *kind)
        };
        let tags = [
            ("speed", DataType::U16),
            ("total", DataType::U64),
            ("curve", DataType::Array(&DataType::I16, 2)),
        ];
        Directory::new("g", "n", vec![device], tags.iter().enumerate().map(tag).collect())
    }

    fn ask(json: serde_json::Value) -> Asked {
        read(json.to_string().as_bytes(), false, NOW, &directory())
    }

    fn refusal(json: serde_json::Value) -> String {
        let asked = ask(json);
        assert_eq!((asked.write, asked.answer.ok), (None, false));
        asked.answer.reason.unwrap()
    }

    #[test]
    fn a_write_names_its_tag_and_its_answer_carries_the_id() {
        let asked =
            ask(json!({"tag": "pump/speed", "value": 42, "id": "a7", "timestamp": NOW.millis() - 59_000}));
        assert_eq!(asked.write, Some((TagId(0), Value::I64(42))));
        let done = serde_json::to_value(asked.answer.clone().with(Ok(()))).unwrap();
        assert_eq!(done, json!({"id": "a7", "tag": "pump/speed", "ok": true}));
        let refused = serde_json::to_value(asked.answer.with(Err(Refusal::ReadOnly))).unwrap();
        assert_eq!(
            refused,
            json!({"id": "a7", "tag": "pump/speed", "ok": false, "reason": "the tag is read-only"})
        );
    }

    #[test]
    fn whole_numbers_are_exact_and_may_be_text_beyond_what_javascript_can_say() {
        let written = |value| ask(json!({"tag": "pump/total", "value": value})).write.map(|(_, value)| value);
        assert_eq!(written(json!(u64::MAX)), Some(Value::U64(u64::MAX)));
        assert_eq!(written(json!("18446744073709551615")), Some(Value::U64(u64::MAX)));
        assert_eq!(written(json!(1.5)), Some(Value::F64(1.5)));
        assert_eq!(written(json!("much")), None);
        let text = ask(json!({"tag": "pump/speed", "value": "42"})).write;
        assert_eq!(text, Some((TagId(0), Value::Text("42".into()))), "the gate refuses it");
    }

    #[test]
    fn an_array_is_a_list_of_as_many_elements_that_all_fit() {
        let written = |value| ask(json!({"tag": "pump/curve", "value": value})).write.map(|(_, value)| value);
        assert_eq!(written(json!([1, -2.0])), Some(Value::Array(Array::I16([1, -2].into()))));
        for wrong in
            [json!([1]), json!([1, 2, 3]), json!([1, 1.5]), json!([1, 70_000]), json!([1, [2]]), json!([])]
        {
            assert_eq!(written(wrong), None);
        }
    }

    #[test]
    fn what_is_old_unknown_or_malformed_is_refused_with_a_reason() {
        let old = NOW.millis() - EXPIRY_MS - 1;
        assert_eq!(refusal(json!({"tag": "pump/speed", "value": 1, "timestamp": old})), "expired");
        let old = "2025-10-09T08:52:19Z";
        assert_eq!(refusal(json!({"tag": "pump/speed", "value": 1, "timestamp": old})), "expired");
        assert!(refusal(json!({"tag": "pump/speed", "value": 1, "timestamp": "soon"})).contains("RFC 3339"));
        assert_eq!(refusal(json!({"tag": "pump/nonsense", "value": 1})), "no such tag");
        for value in [json!(null), json!([1]), json!({})] {
            assert!(refusal(json!({"tag": "pump/speed", "value": value})).contains("type"));
        }
        for malformed in
            [json!({"tag": "pump/speed"}), json!({"tag": "pump/speed", "value": 1, "vaule": 2}), json!(7)]
        {
            assert!(refusal(malformed).contains("column"));
        }
        let good = json!({"tag": "pump/speed", "value": 1, "id": 7}).to_string();
        let asked = read(good.as_bytes(), true, NOW, &directory());
        assert_eq!((asked.write, asked.answer.reason.as_deref()), (None, Some("retained")));
        let long = json!({"tag": "pump/speed", "value": 1, "id": "x".repeat(MAX_ID + 1)});
        assert_eq!(ask(long).answer.id, None);
        let large = vec![b' '; MAX_BYTES + 1];
        assert_eq!(read(&large, false, NOW, &directory()).answer.reason.as_deref(), Some("too large"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_write(bytes: Vec<u8>, retained: bool) {
            let asked = read(&bytes, retained, NOW, &directory());
            prop_assert!(asked.write.is_none());
            serde_json::to_string(&asked.answer).unwrap();
        }
    }
}
