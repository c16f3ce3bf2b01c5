//! Sparkplug 3.0, chapters 1 and 4: topics, and what each kind of message holds.

use std::collections::BTreeSet;
use std::process::Command;

use super::proto::Field;
use super::recorded::Record;
use super::wire::Publish;

fn topics(record: &Record, kind: &str) -> BTreeSet<String> {
    record.of(kind).into_iter().map(|m| m.publish.topic).collect()
}

fn is_one_of(record: &Record, kind: &str, expected: &[&str]) {
    assert_eq!(topics(record, kind), expected.iter().map(|t| (*t).to_owned()).collect());
}

proves! {
    tck_id_topic_structure,
    tck_id_topic_structure_namespace_a,
    tck_id_intro_group_id_string,
    tck_id_intro_edge_node_id_string => |record: &Record| {
        let kinds = ["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"];
        for message in record.sent() {
            let parts: Vec<_> = message.publish.topic.split('/').collect();
            assert_eq!((parts[0], parts[1], parts[3]), ("spBv1.0", "g", "n"));
            assert!(kinds.contains(&parts[2]) && parts.len() <= 5, "{parts:?}");
        }
    };

    tck_id_topic_structure_namespace_device_id_associated_message_types,
    tck_id_intro_device_id_string => |record: &Record| {
        for kind in ["DBIRTH", "DDATA", "DDEATH"] {
            let named = |d: &str| ["plc", "types", "late"].contains(&d);
            assert!(record.of(kind).iter().all(|m| m.device.as_deref().is_some_and(named)), "{kind}");
        }
    };

    tck_id_topic_structure_namespace_device_id_non_associated_message_types => |record: &Record| {
        for kind in ["NBIRTH", "NDATA", "NDEATH"] {
            assert!(record.of(kind).iter().all(|m| m.device.is_none()), "{kind}");
        }
        assert!(record.wills().iter().all(|(_, will)| will.topic.split('/').count() == 4));
    };

    tck_id_topics_nbirth_topic,
    tck_id_message_flow_edge_node_birth_publish_nbirth_topic
        => |record: &Record| is_one_of(record, "NBIRTH", &["spBv1.0/g/NBIRTH/n"]);
    tck_id_topics_ndata_topic => |record: &Record| is_one_of(record, "NDATA", &["spBv1.0/g/NDATA/n"]);
    tck_id_topics_ndeath_topic => |record: &Record| is_one_of(record, "NDEATH", &["spBv1.0/g/NDEATH/n"]);
    tck_id_topics_dbirth_topic,
    tck_id_message_flow_device_birth_publish_dbirth_topic,
    tck_id_message_flow_device_birth_publish_dbirth_match_edge_node_topic => |record: &Record| {
        let all = ["spBv1.0/g/DBIRTH/n/plc", "spBv1.0/g/DBIRTH/n/types", "spBv1.0/g/DBIRTH/n/late"];
        is_one_of(record, "DBIRTH", &all);
    };
    tck_id_topics_ddata_topic => |record: &Record| {
        let all = ["spBv1.0/g/DDATA/n/plc", "spBv1.0/g/DDATA/n/types", "spBv1.0/g/DDATA/n/late"];
        is_one_of(record, "DDATA", &all);
    };
    tck_id_topics_ddeath_topic => |record: &Record| is_one_of(record, "DDEATH", &["spBv1.0/g/DDEATH/n/plc"]);
}

fn qos_0_and_not_retained(record: &Record, kind: &str) {
    for message in record.of(kind) {
        let Publish { qos, retain, .. } = message.publish;
        assert_eq!((qos, retain), (0, false), "{kind}");
    }
}

proves! {
    tck_id_topics_nbirth_mqtt,
    tck_id_payloads_nbirth_qos,
    tck_id_payloads_nbirth_retain,
    tck_id_message_flow_edge_node_birth_publish_nbirth_qos,
    tck_id_message_flow_edge_node_birth_publish_nbirth_retained
        => |record: &Record| qos_0_and_not_retained(record, "NBIRTH");
    tck_id_topics_dbirth_mqtt,
    tck_id_payloads_dbirth_qos,
    tck_id_payloads_dbirth_retain,
    tck_id_message_flow_device_birth_publish_dbirth_qos,
    tck_id_message_flow_device_birth_publish_dbirth_retained
        => |record: &Record| qos_0_and_not_retained(record, "DBIRTH");
    tck_id_topics_ndata_mqtt,
    tck_id_payloads_ndata_qos,
    tck_id_payloads_ndata_retain => |record: &Record| qos_0_and_not_retained(record, "NDATA");
    tck_id_topics_ddata_mqtt,
    tck_id_payloads_ddata_qos,
    tck_id_payloads_ddata_retain => |record: &Record| qos_0_and_not_retained(record, "DDATA");
    tck_id_topics_ddeath_mqtt => |record: &Record| qos_0_and_not_retained(record, "DDEATH");
}

/// Between the start and the end of the recording, and not before what was sent earlier.
fn says_when_it_was_sent(record: &Record, kind: &str) {
    let mut last = record.began;
    for message in record.of(kind) {
        let at = message.payload.timestamp.expect("a time stamp");
        assert!((last..=record.ended).contains(&at), "{kind}: {at} not in {last}..={}", record.ended);
        last = at;
    }
}

proves! {
    tck_id_topics_nbirth_timestamp,
    tck_id_payloads_nbirth_timestamp => |record: &Record| says_when_it_was_sent(record, "NBIRTH");
    tck_id_topics_dbirth_timestamp,
    tck_id_payloads_dbirth_timestamp => |record: &Record| says_when_it_was_sent(record, "DBIRTH");
    tck_id_topics_ndata_timestamp,
    tck_id_payloads_ndata_timestamp => |record: &Record| says_when_it_was_sent(record, "NDATA");
    tck_id_topics_ddata_timestamp,
    tck_id_payloads_ddata_timestamp => |record: &Record| says_when_it_was_sent(record, "DDATA");
    tck_id_payloads_ddeath_timestamp => |record: &Record| says_when_it_was_sent(record, "DDEATH");
    tck_id_payloads_timestamp_in_utc => |record: &Record| {
        for kind in ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH"] {
            says_when_it_was_sent(record, kind);
        }
    };

    tck_id_topics_nbirth_seq_num => |record: &Record| {
        assert!(record.of("NBIRTH").iter().all(|m| m.payload.seq == Some(0)));
    };

    tck_id_topics_nbirth_metrics,
    tck_id_topics_dbirth_metrics => |record: &Record| {
        for (message, metric) in record.metrics(&["NBIRTH", "DBIRTH"]) {
            let known = metric.value.is_some() != (metric.is_null == Some(true));
            let named = metric.name.as_deref().is_some_and(|name| !name.is_empty());
            assert!(named && metric.datatype.is_some() && known, "{} {metric:?}", message.publish.topic);
        }
    };

    tck_id_topics_nbirth_metric_reqs,
    tck_id_operational_behavior_data_publish_nbirth => |record: &Record| {
        for message in record.of("NBIRTH") {
            let mut names: Vec<_> = message.payload.metrics.into_iter().filter_map(|m| m.name).collect();
            names.sort();
            assert_eq!(names, ["Node Control/Rebirth", "alarm", "bdSeq", "idle", "uptime"]);
        }
    };

    tck_id_topics_dbirth_metric_reqs,
    tck_id_operational_behavior_data_publish_dbirth => |record: &Record| {
        // What a device is born with, and what its data say: by alias, so a birth without it would not be enough.
        let births = record.of("DBIRTH");
        for (message, metric) in record.metrics(&["DDATA"]) {
            let birth = births.iter().rfind(|b| b.at < message.at && b.device == message.device).unwrap();
            assert!(birth.payload.metrics.iter().any(|m| m.alias.is_some() && m.alias == metric.alias));
        }
        let plc = births.iter().find(|b| b.device.as_deref() == Some("plc")).unwrap();
        for name in ["speed", "level", "unread", "Properties/Manufacturer"] {
            assert!(plc.payload.metric(name).is_some(), "{name}");
        }
    };

    tck_id_topics_ndata_payload => |record: &Record| {
        let live = record.metrics(&["NDATA"]).into_iter().filter(|(_, m)| m.is_historical.is_none());
        let values: Vec<_> = live.map(|(_, m)| m.value).collect();
        assert_eq!(values, [2, 3, 4].map(|v| Some((11, Field::Varint(v)))));
    };

    tck_id_topics_ddata_payload => |record: &Record| {
        let birth = record.of("DBIRTH")[0].payload.clone();
        let alias = birth.metric("level").and_then(|m| m.alias).unwrap();
        let levels = record.metrics(&["DDATA"]).into_iter();
        let levels = levels.filter(|(_, m)| m.alias == Some(alias) && m.is_historical.is_none());
        let values: Vec<_> = levels.filter_map(|(_, m)| m.value).take(300).collect();
        assert_eq!(values, (1..=300).map(|i| (13, Field::Double(f64::from(i)))).collect::<Vec<_>>());
    };
}

/// `fieldgate check` of a file with these names; true when it finds nothing wrong.
fn is_taken(group: &str, node: &str, devices: &[&str]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!("[node]\ngroup = {group:?}\nname = {node:?}\n");
    text += "[[link.modbus-tcp]]\nname = \"net\"\nhost = \"192.0.2.1\"\n";
    for device in devices {
        text += &format!("[[device]]\nname = {device:?}\nlink = \"net\"\n");
        text += "[device.tag]\nlevel = { at = \"holding:0\", type = \"u16\" }\n";
    }
    let path = folder.path().join("plant.toml");
    std::fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fieldgate")).arg("check").arg(&path).output().unwrap();
    output.status.success()
}

/// Reserved by Sparkplug, and what MQTT does not allow in topics (MQTT 3.1.1, 1.5.3 and 4.7).
const NOT_IN_IDS: [&str; 4] = ["a+b", "a/b", "a#b", "a\u{1}b"];

#[test]
fn tck_id_topic_structure_namespace_valid_group_id() {
    assert!(is_taken("Füllwerk 7", "n", &["d"]));
    assert!(NOT_IN_IDS.iter().all(|id| !is_taken(id, "n", &["d"])));
}

#[test]
fn tck_id_topic_structure_namespace_valid_edge_node_id() {
    assert!(is_taken("g", "Füllwerk 7", &["d"]));
    assert!(NOT_IN_IDS.iter().all(|id| !is_taken("g", id, &["d"])));
}

#[test]
fn tck_id_topic_structure_namespace_valid_device_id() {
    assert!(is_taken("g", "n", &["Füllwerk 7"]));
    assert!(NOT_IN_IDS.iter().all(|id| !is_taken("g", "n", &[id])));
}

#[test]
fn tck_id_topic_structure_namespace_unique_device_id() {
    assert!(is_taken("g", "n", &["d", "e"]));
    assert!(!is_taken("g", "n", &["d", "d"]));
}

#[test]
fn tck_id_intro_group_id_chars() {
    assert!(is_taken("g", "n", &["d"]) && !is_taken("a#b", "n", &["d"]));
}

#[test]
fn tck_id_intro_edge_node_id_chars() {
    assert!(is_taken("g", "n", &["d"]) && !is_taken("g", "a#b", &["d"]));
}

#[test]
fn tck_id_intro_device_id_chars() {
    assert!(is_taken("g", "n", &["d"]) && !is_taken("g", "n", &["a#b"]));
}
