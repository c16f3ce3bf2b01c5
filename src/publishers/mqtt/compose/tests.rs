//! Samples to messages: shapes, names, limits.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{Bad, DataType, Device, DeviceState, Stamp, Uncertain, Value};
use crate::publishers::mqtt::pattern::Pattern;

const AT: Timestamp = Timestamp(1_760_000_000_123_457);

fn directory() -> Arc<Directory> {
    let device = |id, name: &str| Device::plain(DeviceId(id), name, "bus");
    let tag = |id, device: u32, owner: &str, name: &str| Tag {
        unit: Some("m³/h".into()),
        ..Tag::plain(TagId(id), DeviceId(device), &format!("{owner}/{name}"), DataType::F64)
    };
    let devices = vec![device(0, "pump-1"), device(1, "tank \"B\"")];
    let tags = vec![
        tag(0, 0, "pump-1", "flow"),
        tag(1, 0, "pump-1", "motor/current"),
        tag(2, 1, "tank \"B\"", "level"),
    ];
    Arc::new(Directory::new("water", "ps-07", devices, tags))
}

fn shape(per: Per, topic: &str) -> Shape {
    let topic = Pattern::parse(topic).unwrap();
    Shape { per, topic, payload: Payload::Json, retain: false, max_bytes: 64 << 10 }
}

fn composer(shape: Shape) -> Composer {
    Composer::new(shape, 1 << 20, directory())
}

fn of_tag(payload: &str) -> Composer {
    let payload = Payload::Pattern(Pattern::parse(payload).unwrap());
    composer(Shape { payload, ..shape(Per::Tag, "{device}/{tag}") })
}

fn good(tag: u32, value: f64) -> Sample {
    Sample::good(TagId(tag), Value::F64(value), AT)
}

fn later(sample: &Sample, by: i64) -> Sample {
    Sample { at: Timestamp(sample.at.0 + by), ..sample.clone() }
}

fn batch(device: u32, samples: Vec<Sample>) -> Batch {
    Batch { device: DeviceId(device), state: DeviceState::Alive, samples }
}

fn read(message: &Message) -> serde_json::Value {
    serde_json::from_slice(&message.payload).unwrap()
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

#[test]
fn a_tag_has_a_message_of_its_own_with_names_value_quality_and_time() {
    let mut composer = composer(shape(Per::Tag, "plant/{node}/{device}/{tag}"));
    let mut out = Vec::new();
    let bad = Sample::bad(TagId(1), Bad::NoAnswer, AT);
    let taken = composer.take(&batch(0, vec![good(0, 12.5), bad]), false, &mut out);
    assert_eq!(taken, Taken::Upto(2));
    assert_eq!((&*out[0].topic, out[0].part), ("plant/ps-07/pump-1/flow", 1));
    assert_eq!(
        text(&out[0]),
        r#"{"device":"pump-1","tag":"flow","value":12.5,"quality":"good","timestamp":1760000000123}"#
    );
    assert_eq!(&*out[1].topic, "plant/ps-07/pump-1/motor/current");
    assert_eq!(
        read(&out[1]),
        json!({"device": "pump-1", "tag": "motor/current", "value": null, "quality": "bad",
               "reason": "no answer", "timestamp": 1_760_000_000_123_i64})
    );
}

#[test]
fn a_device_has_one_message_for_what_came_together() {
    let mut composer = composer(shape(Per::Device, "{node}/{device}"));
    let mut out = Vec::new();
    let late = Sample { stamp: Stamp::Unknown, ..later(&good(1, 2.0), 5000) };
    assert_eq!(composer.take(&batch(0, vec![good(0, 1.0), late]), true, &mut out), Taken::Upto(1));
    assert_eq!(&*out[0].topic, "ps-07/pump-1");
    assert_eq!(
        read(&out[0]),
        json!({"device": "pump-1", "historical": true, "timestamp": 1_760_000_000_128_i64, "values": {
            "flow": {"value": 1.0, "quality": "good", "timestamp": 1_760_000_000_123_i64},
            "motor/current": {"value": 2.0, "quality": "good", "timestamp": 1_760_000_000_128_i64,
                              "synchronised": false}}})
    );
}

#[test]
fn a_name_stands_once_in_the_message_of_a_device() {
    let mut composer = composer(shape(Per::Device, "{node}/{device}"));
    let mut out = Vec::new();
    let twice = vec![good(0, 1.0), later(&good(0, 2.0), 1)];
    assert_eq!(composer.take(&batch(0, twice), false, &mut out), Taken::Upto(2));
    let values: Vec<_> = out.iter().map(|m| read(m)["values"]["flow"]["value"].clone()).collect();
    assert_eq!(values, [json!(1.0), json!(2.0)]);
}

#[test]
fn no_packet_is_larger_than_it_may_be_however_long_the_names_are() {
    let long = |letter: &str| letter.repeat(128);
    let device = Device { name: long("𝄞").into(), ..directory().devices()[0].clone() };
    let tags = (0..40).map(|id| Tag {
        id: TagId(id),
        name: format!("{id}-{}", long("\"")).into(),
        ..directory().tags()[0].clone()
    });
    let directory = Arc::new(Directory::new("g", "n", vec![device], tags.collect()));
    let samples: Vec<_> = (0..40).map(|tag| good(tag, f64::from(tag))).collect();
    for (per, topic) in [(Per::Tag, "{device}/{tag}"), (Per::Device, "{device}"), (Per::Batch, "{node}")] {
        for most in 1100..1900 {
            let mut composer = Composer::new(shape(per, topic), most, directory.clone());
            let mut out = Vec::new();
            composer.take(&batch(0, samples.clone()), true, &mut out);
            composer.flush(&mut out);
            let largest = out.iter().map(|m| m.topic.len() + m.payload.len()).max().unwrap_or(0);
            assert!(largest + HEADER <= most, "{per:?}: {largest} of {most}");
            out.iter().for_each(|message| drop(read(message)));
        }
    }
}

#[test]
fn a_batch_takes_samples_of_all_devices_until_it_is_full() {
    let mut composer = composer(Shape { max_bytes: 1024, ..shape(Per::Batch, "{group}/{node}") });
    let mut out = Vec::new();
    assert_eq!(composer.take(&batch(0, vec![good(0, 1.0)]), false, &mut out), Taken::Upto(1));
    assert_eq!(composer.take(&batch(1, vec![good(2, 2.0)]), true, &mut out), Taken::Upto(1));
    assert!(out.is_empty() && composer.has_open());
    let many = (0..100).map(|i| later(&good(0, f64::from(i)), i64::from(i))).collect();
    let Taken::Upto(last) = composer.take(&batch(0, many), false, &mut out) else { panic!() };
    composer.flush(&mut out);
    assert_eq!(out.last().unwrap().part, last, "the last sample is in the last message");
    assert!(out.iter().all(|m| m.payload.len() <= 1024 && &*m.topic == "water/ps-07"));
    let samples: Vec<_> = out.iter().flat_map(|m| read(m)["samples"].as_array().unwrap().clone()).collect();
    assert_eq!(samples.len(), 102);
    assert_eq!(
        samples[1],
        json!({"device": "tank \"B\"", "tag": "level", "value": 2.0, "quality": "good",
               "timestamp": 1_760_000_000_123_i64, "historical": true})
    );
    assert_eq!(read(&out[0])["node"], "ps-07");
}

#[test]
fn only_what_is_live_is_retained_and_what_is_older_than_what_was_told_is_history() {
    let mut composer = composer(Shape { retain: true, ..shape(Per::Tag, "{device}/{tag}") });
    let mut out = Vec::new();
    composer.show(&later(&good(0, 2.0), 10), &mut out);
    composer.take(&batch(0, vec![good(0, 1.0)]), false, &mut out);
    composer.take(&batch(0, vec![later(&good(0, 2.0), 10)]), false, &mut out);
    composer.take(&batch(0, vec![later(&good(0, 3.0), 20)]), true, &mut out);
    let seen: Vec<_> = out.iter().map(|m| (m.retain, read(m).get("historical").is_some())).collect();
    assert_eq!(seen, [(true, false), (false, true), (true, false), (false, true)]);
    composer.reset();
    composer.take(&batch(0, vec![good(0, 1.0)]), false, &mut out);
    assert!(out.last().unwrap().retain);
}

#[test]
fn a_template_says_what_it_is_asked_to_and_a_missing_value_is_null() {
    let said = |template: &str, sample: Sample, history| {
        let mut out = Vec::new();
        of_tag(template).take(&batch(0, vec![sample]), history, &mut out);
        text(&out[0]).to_owned()
    };
    assert_eq!(said("{value}", good(0, 12.5), false), "12.5");
    assert_eq!(
        said("{path} {value} {time} {unit}", good(0, 1.0), false),
        "pump-1/flow 1 2025-10-09T08:53:20.123457Z m³/h"
    );
    assert_eq!(
        said(
            r#"{{"v":{value:json},"q":{quality:json},"why":{reason:json}}}"#,
            Sample::bad(TagId(0), Bad::Busy, AT),
            false
        ),
        r#"{"v":null,"q":"bad","why":"device busy"}"#
    );
    assert_eq!(
        said("{value} {timestamp} {historical} {synchronised}", good(0, f64::NAN), true),
        "null 1760000000123 true true"
    );
    assert_eq!(said("{value} {quality}", good(0, f64::INFINITY), false), "null bad");
    let big = Sample::good(TagId(0), Value::U64(u64::MAX), AT);
    assert_eq!(said("{value} {value:json}", big, false), "18446744073709551615 \"18446744073709551615\"");
    let words = Sample::good(TagId(0), Value::Text("a \"b\"".into()), AT);
    assert_eq!(said("{value} {value:json} {group} {node}", words, false), r#"a "b" "a \"b\"" water ps-07"#);
}

#[test]
fn tags_that_are_gone_and_samples_larger_than_a_packet_are_told_apart_from_what_was_sent() {
    let mut composer = Composer::new(shape(Per::Tag, "{device}/{tag}"), 1024, directory());
    let mut out = Vec::new();
    assert_eq!(composer.take(&batch(0, vec![good(9, 1.0)]), false, &mut out), Taken::Never);
    assert_eq!(composer.take(&batch(0, vec![]), false, &mut out), Taken::Empty);
    let huge = Sample::good(TagId(0), Value::Text("x".repeat(1000).into()), AT);
    assert_eq!(composer.take(&batch(0, vec![huge.clone()]), false, &mut out), Taken::Never);
    assert_eq!(composer.take(&batch(0, vec![huge, good(1, 1.0)]), false, &mut out), Taken::Torn(1));
    assert_eq!((out.len(), composer.too_large), (1, 2));
}

#[test]
fn an_array_is_a_list_and_one_with_an_element_that_is_no_number_is_bad() {
    let said = |of: [f64; 2]| {
        let mut out = Vec::new();
        let sample = Sample::good(TagId(0), Value::Array(crate::model::Array::F64(of.into())), AT);
        composer(shape(Per::Tag, "{device}/{tag}")).take(&batch(0, vec![sample.clone()]), false, &mut out);
        of_tag("{value}").take(&batch(0, vec![sample]), false, &mut out);
        (read(&out[0])["value"].clone(), read(&out[0])["quality"].clone(), text(&out[1]).to_owned())
    };
    assert_eq!(said([1.5, 2.0]), (json!([1.5, 2.0]), json!("good"), "[1.5,2.0]".into()));
    assert_eq!(said([1.5, f64::NAN]), (json!([1.5, null]), json!("bad"), "[1.5,null]".into()));
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        Just(Value::F64(f64::NAN)),
        any::<String>().prop_map(|text| Value::Text(text.into())),
    ]
}

/// What a reader of JSON makes of it.
fn back(json: &serde_json::Value, like: &Value) -> Option<Value> {
    let number = |text: &str| match like {
        Value::I64(_) => text.parse().ok().map(Value::I64),
        Value::U64(_) => text.parse().ok().map(Value::U64),
        _ => None,
    };
    match (like, json) {
        (Value::Text(_), serde_json::Value::String(text)) => Some(Value::Text(text.as_str().into())),
        (_, serde_json::Value::String(text)) => number(text),
        (_, serde_json::Value::Bool(value)) => Some(Value::Bool(*value)),
        (Value::F32(_), _) => json.as_f64().map(|v| Value::F32(v as f32)),
        (Value::F64(_), _) => json.as_f64().map(Value::F64),
        _ => json.as_i64().and_then(|v| Value::I64(v).coerce(like.data_type())),
    }
}

proptest! {
    #[test]
    fn the_json_always_parses_and_gives_back_the_value(
        value in value(), quality in 0..3_u8, at in any::<i64>(), history: bool, per in 0..4_u8,
    ) {
        let at = Timestamp(at);
        let sample = match quality {
            0 => Sample::good(TagId(2), value.clone(), at),
            1 => Sample::uncertain(TagId(2), value.clone(), Uncertain::OutOfLimits, at),
            _ => Sample::bad(TagId(2), Bad::Refused(3), at),
        };
        let mut composer = match per {
            0 => composer(shape(Per::Tag, "{device}/{tag}")),
            1 => composer(shape(Per::Device, "{device}")),
            2 => composer(shape(Per::Batch, "t")),
            _ => of_tag(r#"{{"device":{device:json},"tag":{tag:json},"value":{value:json},"quality":{quality:json},"reason":{reason:json},"unit":{unit:json},"timestamp":{timestamp},"time":{time:json},"historical":{historical}}}"#),
        };
        let mut out = Vec::new();
        composer.take(&batch(1, vec![sample]), history, &mut out);
        composer.flush(&mut out);
        prop_assert_eq!(out.len(), 1);
        let json = read(&out[0]);
        let said = match per {
            1 => &json["values"]["level"],
            2 => &json["samples"][0],
            _ => &json,
        };
        prop_assert_eq!(&said["timestamp"], &json!(at.millis()));
        let finite = value.as_f64().is_none_or(f64::is_finite);
        if quality == 2 || !finite {
            prop_assert!(said["value"].is_null());
            prop_assert_eq!(&said["quality"], "bad");
            prop_assert!(said["reason"].as_str().is_some_and(|why| !why.is_empty()));
        } else {
            prop_assert_eq!(back(&said["value"], &value), Some(value));
        }
    }
}
