//! Sparkplug 3.0, chapter 6 and 5.13: what a payload and its metrics hold.

use std::collections::BTreeMap;

use fieldgate::model::{Array, Value};

use super::proto::{Field, Metric};
use super::recorded::{Record, types};

const BIRTHS: &[&str] = &["NBIRTH", "DBIRTH"];
const DATA: &[&str] = &["NDATA", "DDATA"];
const ALL: &[&str] = &["NBIRTH", "DBIRTH", "NDATA", "DDATA"];

/// By name only: the specification wants no alias for a rebirth, and NDEATH has bdSeq by its name.
fn has_no_alias(metric: &Metric) -> bool {
    matches!(metric.name.as_deref(), Some("bdSeq" | "Node Control/Rebirth"))
}

/// The metrics of births that have properties, with these.
fn properties(record: &Record) -> Vec<super::proto::Properties> {
    let found: Vec<_> = record.metrics(ALL).into_iter().filter_map(|(_, m)| m.properties).collect();
    assert!(found.iter().any(|p| p.keys.len() > 3));
    found
}

fn each_datatype_is_one_of_sparkplug(record: &Record) {
    for (message, metric) in record.metrics(BIRTHS) {
        let datatype = metric.datatype.unwrap_or_else(|| panic!("{} {metric:?}", message.publish.topic));
        assert!((1..=34).contains(&datatype), "{metric:?}");
    }
}

fn keys_and_values_are_as_many(record: &Record) {
    assert!(properties(record).iter().all(|p| !p.keys.is_empty() && p.keys.len() == p.values.len()));
}

/// Types of properties and the field that they lie in: Int32, Double, String.
fn each_property_has_its_type(record: &Record) {
    for (kind, value) in properties(record).iter().flat_map(|p| &p.values) {
        let (field, _) = value.as_ref().expect("a value");
        assert!(matches!((kind, field), (Some(3), 3) | (Some(10), 6) | (Some(12), 8)), "{kind:?} {field}");
    }
}

fn value_or_null(record: &Record, kind: &str) {
    let mut nulls = 0;
    for (_, metric) in record.metrics(&[kind]) {
        nulls += usize::from(metric.is_null == Some(true));
        assert_eq!(metric.is_null == Some(true), metric.value.is_none(), "{metric:?}");
    }
    assert!(nulls > 0);
}

fn is_in_order_of_time(record: &Record, kinds: &[&str]) {
    for message in kinds.iter().flat_map(|kind| record.of(kind)) {
        let live = message.payload.metrics.iter().filter(|m| m.is_historical != Some(true));
        let times: Vec<_> = live.map(|m| (m.timestamp, m.name.clone())).collect();
        assert!(times.is_sorted_by_key(|(at, _)| *at), "{} {times:?}", message.publish.topic);
    }
}

proves! {
    tck_id_payloads_name_requirement => |record: &Record| {
        assert!(record.metrics(ALL).iter().all(|(_, m)| m.name.is_some() || m.alias.is_some()));
    };
    tck_id_payloads_alias_uniqueness => |record: &Record| {
        let mut owners = BTreeMap::new();
        for (message, metric) in record.metrics(BIRTHS) {
            let Some(alias) = metric.alias else { continue };
            // The same metric has the same alias in all births, also after a restart.
            let owner = (message.device.clone(), metric.name.clone());
            assert_eq!(owners.entry(alias).or_insert(owner.clone()), &owner, "alias {alias}");
        }
        assert!(owners.len() > 20);
    };
    tck_id_payloads_alias_birth_requirement => |record: &Record| {
        for (_, metric) in record.metrics(BIRTHS) {
            assert!(metric.name.is_some() && metric.alias.is_some() != has_no_alias(&metric), "{metric:?}");
        }
    };
    tck_id_payloads_alias_data_cmd_requirement => |record: &Record| {
        for (_, metric) in record.metrics(DATA) {
            assert!(metric.alias.is_some() && metric.name.is_none(), "{metric:?}");
        }
    };

    tck_id_payloads_name_birth_data_requirement => |record: &Record| {
        assert!(record.metrics(ALL).iter().all(|(_, m)| m.timestamp.is_some()));
    };
    tck_id_payloads_metric_timestamp_in_utc => |record: &Record| {
        for (_, metric) in record.metrics(ALL) {
            assert!((record.began..=record.ended).contains(&metric.timestamp.unwrap()), "{metric:?}");
        }
    };

    tck_id_payloads_metric_datatype_value_type,
    tck_id_payloads_metric_datatype_value,
    tck_id_payloads_metric_datatype_req => each_datatype_is_one_of_sparkplug;
    tck_id_payloads_metric_datatype_not_req => |record: &Record| {
        for (_, metric) in record.metrics(DATA) {
            assert_eq!(metric.datatype, None, "{metric:?}");
        }
    };

    tck_id_payloads_propertyset_keys_array_size,
    tck_id_payloads_propertyset_values_array_size => keys_and_values_are_as_many;
    tck_id_payloads_metric_propertyvalue_type_type,
    tck_id_payloads_metric_propertyvalue_type_value,
    tck_id_payloads_metric_propertyvalue_type_req => each_property_has_its_type;
    tck_id_payloads_propertyset_quality_value_type,
    tck_id_payloads_propertyset_quality_value_value => |record: &Record| {
        let mut seen = std::collections::BTreeSet::new();
        for set in properties(record) {
            let Some((kind, value)) = set.get("Quality") else { continue };
            let Some((3, Field::Varint(code))) = value else { panic!("{value:?}") };
            assert_eq!(*kind, Some(3));
            seen.insert(*code);
        }
        assert_eq!(seen, [0, 192, 500].into());
    };

    tck_id_operational_behavior_data_publish_nbirth_values => |record: &Record| value_or_null(record, "NBIRTH");
    tck_id_operational_behavior_data_publish_dbirth_values => |record: &Record| {
        value_or_null(record, "DBIRTH");
        // What was told before is what the births of a rebirth have.
        let level = |m: &super::recorded::Sent| m.payload.metric("level").and_then(|l| l.value.clone());
        let plc = record.of("DBIRTH").into_iter().filter(|m| m.device.as_deref() == Some("plc"));
        let levels: Vec<_> = plc.map(|m| level(&m)).collect();
        let double = |v| Some((13, Field::Double(v)));
        assert_eq!(levels, [double(0.0), double(3.0), double(4.0), double(109.0), double(0.0)]);
    };
    tck_id_operational_behavior_data_publish_nbirth_order
        => |record: &Record| is_in_order_of_time(record, &["NBIRTH", "NDATA"]);
    tck_id_operational_behavior_data_publish_dbirth_order
        => |record: &Record| is_in_order_of_time(record, &["DBIRTH", "DDATA"]);

    // 6.4.17, which has no id.
    each_type_lies_in_the_field_of_its_protocol_buffer_type => |record: &Record| {
        let births: Vec<_> = record.of("DBIRTH");
        let birth = births.iter().find(|m| m.device.as_deref() == Some("types")).unwrap();
        let mut live = record.of("DDATA").into_iter().filter(|m| m.payload.metrics[0].is_historical.is_none());
        let data = live.rfind(|m| m.device.as_deref() == Some("types")).unwrap();
        for (name, number, field, [first, second]) in types() {
            let metric = birth.payload.metric(name).unwrap();
            assert_eq!(metric.datatype, Some(number), "{name}");
            assert_eq!(metric.value, Some((field, on_the_wire(&first))), "{name}");
            let again = data.payload.metrics.iter().find(|m| m.alias == metric.alias).unwrap();
            assert_eq!(again.value, Some((field, on_the_wire(&second))), "{name}");
        }
    };
}

/// Signed integers as two's complement of the field's width.
fn on_the_wire(value: &Value) -> Field {
    let narrow = |v: i32| Field::Varint(u64::from(v as u32));
    match value {
        Value::Bool(v) => Field::Varint(u64::from(*v)),
        Value::I8(v) => narrow((*v).into()),
        Value::I16(v) => narrow((*v).into()),
        Value::I32(v) => narrow(*v),
        Value::I64(v) => Field::Varint(*v as u64),
        Value::U8(v) => Field::Varint((*v).into()),
        Value::U16(v) => Field::Varint((*v).into()),
        Value::U32(v) => Field::Varint((*v).into()),
        Value::U64(v) => Field::Varint(*v),
        Value::F32(v) => Field::Float(*v),
        Value::F64(v) => Field::Double(*v),
        Value::Text(v) => Field::Bytes(v.as_bytes().to_vec()),
        Value::Array(Array::I16(v)) => Field::Bytes(v.iter().flat_map(|one| one.to_le_bytes()).collect()),
        // Three, the first in the most significant bit.
        Value::Array(Array::Bool(v)) => Field::Bytes(vec![3, 0, 0, 0, if v[0] { 0b1010_0000 } else { 0 }]),
        Value::Array(_) => panic!("{value}"),
    }
}
