//! Births, deaths and the numbers that tell them apart.

use super::plant::*;
use super::proto;
use super::recorded::{Record, Sent};
use super::wire::{Event, Recorder};

/// Which devices are born with each NBIRTH.
const BORN: [&[&str]; 4] =
    [&["plc", "types"], &["plc", "late", "types"], &["plc", "late", "types"], &["plc", "types"]];

/// Per connection, of those that got a CONNACK: CONNECT, then SUBSCRIBE, then NBIRTH, then whatever else.
fn begins_in_order(record: &Record) {
    let mut complete = 0;
    for connection in 0..=record.log.last().unwrap().0 {
        let events: Vec<_> = record.log.iter().filter(|e| e.0 == connection).map(|e| &e.1).collect();
        let place = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(|e| wanted(e));
        let connect = place(&|e| matches!(e, Event::Connect { .. })).unwrap();
        let Some(first) = place(&|e| matches!(e, Event::Publish(_))) else { continue };
        let subscribe = place(&|e| matches!(e, Event::Subscribe(_))).unwrap();
        assert!(connect < subscribe && subscribe < first);
        let Event::Publish(publish) = events[first] else { panic!() };
        assert_eq!(publish.topic, "spBv1.0/g/NBIRTH/n");
        complete += 1;
    }
    assert_eq!(complete, 3, "first, after the loss, after the restart");
}

/// Subscribed at QoS 1 before the births, in each connection that has births.
fn is_subscribed(record: &Record, filter: &str) {
    for birth in record.of("NBIRTH") {
        let before = &record.log[..birth.at];
        let subscribed = |e: &&(usize, Event)| {
            e.0 == birth.connection
                && matches!(&e.1, Event::Subscribe(filters) if filters.contains(&(filter.to_owned(), 1)))
        };
        assert!(before.iter().any(|e| subscribed(&e)), "{filter}");
    }
}

proves! {
    tck_id_message_flow_edge_node_birth_publish_connect,
    tck_id_principles_birth_certificates_order => begins_in_order;

    tck_id_message_flow_edge_node_ncmd_subscribe => |record: &Record| is_subscribed(record, "spBv1.0/g/NCMD/n");
    // One filter for all devices.
    tck_id_message_flow_device_dcmd_subscribe => |record: &Record| is_subscribed(record, "spBv1.0/g/DCMD/n/+");

    tck_id_principles_persistence_clean_session_311 => |record: &Record| {
        let clean: Vec<_> = record.log.iter().filter_map(|e| match e.1 {
            Event::Connect { clean, .. } => Some(clean),
            _ => None,
        }).collect();
        assert!(clean.len() >= 4 && clean.iter().all(|c| *c));
    };

    tck_id_operational_behavior_primary_application_state_with_multiple_servers_single_server => |record: &Record| {
        let mut open = 0;
        for (_, event) in &record.log {
            match event {
                Event::Opened => open += 1,
                Event::Closed => open -= 1,
                _ => {}
            }
            assert!(open <= 1);
        }
    };
}

/// The wills as payloads.
fn wills(record: &Record) -> Vec<proto::Payload> {
    record.wills().iter().map(|(_, will)| proto::Payload::read(&will.payload)).collect()
}

/// NDEATHs, as wills and as messages.
fn deaths(record: &Record) -> Vec<proto::Payload> {
    wills(record).into_iter().chain(record.of("NDEATH").into_iter().map(|m| m.payload)).collect()
}

/// The will of the CONNECT that a message came after.
fn will_of(record: &Record, message: &Sent) -> proto::Payload {
    let (_, will) = record.wills().into_iter().find(|(c, _)| *c == message.connection).unwrap();
    proto::Payload::read(&will.payload)
}

/// All births, also those of a rebirth, have the bdSeq of the will of their connection.
fn birth_and_will_match(record: &Record) {
    let births = record.of("NBIRTH");
    assert_eq!(births.len(), 4);
    for birth in births {
        assert_eq!(birth.payload.bd_seq(), will_of(record, &birth).bd_seq());
    }
}

proves! {
    tck_id_message_flow_edge_node_birth_publish_will_message,
    tck_id_message_flow_edge_node_birth_publish_will_message_topic,
    tck_id_payloads_ndeath_will_message => |record: &Record| {
        assert!(record.wills().iter().all(|(_, will)| will.topic == "spBv1.0/g/NDEATH/n"));
    };
    tck_id_message_flow_edge_node_birth_publish_will_message_qos,
    tck_id_payloads_ndeath_will_message_qos => |record: &Record| {
        assert!(record.wills().iter().all(|(_, will)| will.qos == 1));
    };
    tck_id_message_flow_edge_node_birth_publish_will_message_will_retained,
    tck_id_payloads_ndeath_will_message_retain => |record: &Record| {
        assert!(record.wills().iter().all(|(_, will)| !will.retain));
    };

    tck_id_message_flow_edge_node_birth_publish_will_message_payload,
    tck_id_topics_ndeath_payload => |record: &Record| {
        for death in deaths(record) {
            death.bd_seq();
            assert_eq!(death.metrics.len(), 1);
        }
    };
    tck_id_topics_ndeath_seq,
    tck_id_payloads_ndeath_seq => |record: &Record| {
        assert!(deaths(record).iter().all(|death| death.seq.is_none()));
    };

    tck_id_topics_nbirth_bdseq_included,
    tck_id_payloads_nbirth_bdseq => |record: &Record| {
        let numbers: Vec<_> = record.of("NBIRTH").iter().map(|birth| birth.payload.bd_seq()).collect();
        assert_eq!(numbers, [0, 0, 2, 3]);
    };
    tck_id_topics_nbirth_bdseq_matching,
    tck_id_payloads_nbirth_bdseq_repeat,
    tck_id_payloads_ndeath_bdseq,
    tck_id_message_flow_edge_node_birth_publish_nbirth_payload_bdseq,
    tck_id_operational_behavior_data_commands_rebirth_action_3 => birth_and_will_match;

    tck_id_topics_nbirth_bdseq_increment => |record: &Record| {
        // One of these CONNECTs got no answer, and one was sent by another process.
        let numbers: Vec<_> = wills(record).iter().map(proto::Payload::bd_seq).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
    };

    tck_id_message_flow_edge_node_birth_publish_nbirth_payload => |record: &Record| {
        assert!(record.of("NBIRTH").iter().all(|m| !m.payload.metrics.is_empty()));
    };
    tck_id_message_flow_device_birth_publish_dbirth_payload => |record: &Record| {
        assert!(record.of("DBIRTH").iter().all(|m| !m.payload.metrics.is_empty()));
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn tck_id_message_flow_edge_node_birth_publish_will_message_payload_bdseq() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bdseq"), "254\n").unwrap();
    let broker = Recorder::start();
    let node = Node::of(directory(), broker.address(), folder.path(), "");
    node.all_devices_answer_but_late();
    node.is_up().await;
    broker.cut();
    let connects =
        |log: &[(usize, Event)]| log.iter().filter(|e| matches!(e.1, Event::Connect { .. })).count();
    broker.wait("a second CONNECT", |log| connects(log) == 2);
    let record = Record { log: broker.log(), began: 0, ended: 0 };
    let numbers = record.log.iter().filter_map(|e| match &e.1 {
        Event::Connect { will, .. } => Some(proto::Payload::read(&will.as_ref().unwrap().payload).bd_seq()),
        _ => None,
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [255, 0]);
    node.kill().await;
}

/// 0 with NBIRTH, then one more with each message of the node but NDEATH, 0 after 255.
fn seq_runs(record: &Record) {
    let (mut expected, mut wraps) = (0, 0);
    for message in record.sent().into_iter().filter(|m| m.kind != "NDEATH") {
        if message.kind == "NBIRTH" {
            expected = 0;
        } else if expected == 0 {
            wraps += 1;
        }
        assert_eq!(message.payload.seq, Some(expected), "{} {}", message.at, message.publish.topic);
        expected = (expected + 1) % 256;
    }
    assert!(wraps > 0, "it never came to 255");
    for kind in ["NBIRTH", "NDATA", "DBIRTH", "DDATA", "DDEATH"] {
        record.of(kind);
    }
}

proves! {
    tck_id_payloads_sequence_num_always_included,
    tck_id_payloads_sequence_num_req_nbirth,
    tck_id_payloads_sequence_num_incrementing,
    tck_id_payloads_nbirth_seq,
    tck_id_message_flow_edge_node_birth_publish_nbirth_payload_seq,
    tck_id_topics_dbirth_seq,
    tck_id_payloads_dbirth_seq,
    tck_id_payloads_dbirth_seq_inc,
    tck_id_message_flow_device_birth_publish_dbirth_payload_seq,
    tck_id_topics_ndata_seq_num,
    tck_id_payloads_ndata_seq,
    tck_id_payloads_ndata_seq_inc,
    tck_id_topics_ddata_seq_num,
    tck_id_payloads_ddata_seq,
    tck_id_payloads_ddata_seq_inc,
    tck_id_topics_ddeath_seq_num,
    tck_id_payloads_ddeath_seq,
    tck_id_payloads_ddeath_seq_inc,
    tck_id_payloads_ddeath_seq_number => seq_runs;
}

/// Right after each NBIRTH come the DBIRTHs of the devices that are alive, and only then data.
fn births_come_before_data(record: &Record) {
    let sent = record.sent();
    let starts: Vec<_> = (0..sent.len()).filter(|i| sent[*i].kind == "NBIRTH").collect();
    assert_eq!(starts.len(), BORN.len());
    for (start, expected) in starts.into_iter().zip(BORN) {
        let births = sent[start + 1..].iter().take_while(|m| m.kind == "DBIRTH");
        assert_eq!(births.filter_map(|m| m.device.as_deref()).collect::<Vec<_>>(), expected);
    }
}

/// A device has data and a death only between its birth and its death, and it is born once.
fn devices_live_between_birth_and_death(record: &Record) {
    let mut born = std::collections::BTreeSet::new();
    for message in record.sent() {
        let device = message.device.clone().unwrap_or_default();
        match message.kind.as_str() {
            "NBIRTH" => born.clear(),
            "DBIRTH" => assert!(born.insert(device)),
            "DDATA" => assert!(born.contains(&device)),
            "DDEATH" => assert!(born.remove(&device)),
            _ => {}
        }
    }
}

proves! {
    tck_id_payloads_dbirth_order,
    tck_id_payloads_ndata_order,
    tck_id_payloads_ddata_order => births_come_before_data;
    tck_id_message_flow_device_birth_publish_nbirth_wait => |record: &Record| {
        begins_in_order(record);
        devices_live_between_birth_and_death(record);
    };
    tck_id_operational_behavior_device_ddeath => |record: &Record| {
        assert_eq!(record.of("DDEATH").len(), 1);
        devices_live_between_birth_and_death(record);
    };

    tck_id_operational_behavior_edge_node_intentional_disconnect_ndeath,
    tck_id_operational_behavior_edge_node_intentional_disconnect_packet,
    tck_id_payloads_ndeath_will_message_publisher,
    tck_id_payloads_ndeath_will_message_publisher_disconnect_mqtt311 => |record: &Record| {
        let at = record.log.iter().position(|e| e.1 == Event::Disconnect).expect("a DISCONNECT");
        let death = record.of("NDEATH").pop().unwrap();
        assert_eq!((death.at, death.connection), (at - 1, record.log[at].0));
        assert_eq!(death.payload.bd_seq(), will_of(record, &death).bd_seq());
    };
}

// tck-id-message-flow-edge-node-birth-publish-nbirth-topic, tck-id-topics-nbirth-rebirth-metric,
// tck-id-topics-nbirth-bdseq-included
#[tokio::test]
async fn the_node_is_born_first_and_then_each_device_that_is_alive() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    assert_eq!(host.kinds()[..2], ["NBIRTH", "DBIRTH plc"]);
    let birth = &host.of("NBIRTH", "")[0];
    assert_eq!(birth.bd_seq(), Some(0));
    let names: Vec<_> = birth.payload.metrics.iter().filter_map(|m| m.name.as_deref()).collect();
    assert_eq!(names, ["uptime", "bdSeq", "Node Control/Rebirth"]);
    let level = host.of("DBIRTH", "plc")[0].payload.metrics.clone();
    let level = level.iter().find(|m| m.name.as_deref() == Some("level")).unwrap();
    let properties = level.properties.as_ref().unwrap();
    assert_eq!(properties.get("engUnit"), Some(&Property::Text("°C".into())));
    assert_eq!(properties.get("engHigh"), Some(&Property::Double(100.0)));
    assert_eq!(properties.get("Quality"), Some(&Property::Int(192)));
    assert!(host.of("DBIRTH", "late").is_empty());
    host.check();
    node.stop().await;
}

// tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath, -packet
#[tokio::test]
async fn a_clean_stop_says_ndeath_with_the_bdseq_of_its_birth_and_no_will_follows() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), "").await;
    let stats = node.cx.stats.clone();
    node.stop().await;
    host.sees("NDEATH", |h| h.of("NDEATH", "").len() == 1).await;
    assert_eq!(host.of("NDEATH", "")[0].bd_seq(), Some(0));
    until("the node has left", || broker.clients() == 1).await;
    assert_eq!(broker.counts().wills.get(), 0);
    assert_eq!(stats.state.get(), Connection::Stopped);
}

// tck-id-payloads-ndeath-will-message, tck-id-payloads-nbirth-bdseq-repeat
#[tokio::test]
async fn bdseq_is_that_of_the_will_and_grows_over_reconnect_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), "").await;
    broker.cut();
    host.sees("a second birth", |h| h.of("NBIRTH", "").len() == 2).await;
    node.kill().await;
    host.sees("the will", |h| h.of("NDEATH", "").iter().any(|m| m.bd_seq() == Some(1))).await;
    let node = Node::start(broker.address(), folder.path(), "");
    node.all_devices_answer_but_late();
    host.sees("a third birth", |h| h.of("NBIRTH", "").len() == 3).await;
    let seqs: Vec<_> = host.of("NBIRTH", "").iter().map(|m| m.bd_seq().unwrap()).collect();
    assert_eq!(seqs, [0, 1, 2]);
    node.stop().await;
}

// tck-id-payloads-sequence-num-incrementing
#[tokio::test]
async fn seq_goes_on_at_0_after_255() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    for i in 1..=600 {
        node.level(f64::from(i));
        // One message each: nothing else is there to be merged.
        host.sees("the level", |h| h.levels().len() >= i as usize).await;
    }
    host.check();
    assert_eq!(host.levels(), (1..=600).map(|i| (f64::from(i), false)).collect::<Vec<_>>());
    node.stop().await;
}

// tck-id-operational-behavior-device-ddeath, tck-id-message-flow-device-birth-publish-nbirth-wait
#[tokio::test]
async fn a_device_dies_and_is_born_again_with_all_values() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    let bad = |tag| Sample::bad(tag, Bad::NoAnswer, node.now());
    node.batch(PLC, DeviceState::Dead, vec![bad(SPEED), bad(LEVEL)]);
    host.sees("DDEATH", |h| h.of("DDEATH", "plc").len() == 1).await;
    node.batch(PLC, DeviceState::Dead, vec![bad(SPEED)]);
    node.level(4.0);
    host.sees("DBIRTH", |h| h.of("DBIRTH", "plc").len() == 2).await;
    let birth = host.of("DBIRTH", "plc")[1].clone();
    assert_eq!(birth.levels(), [(4.0, false)]);
    let speed = birth.payload.metrics.iter().find(|m| m.name.as_deref() == Some("speed")).unwrap();
    assert_eq!((speed.is_null, speed.value.clone()), (Some(true), None));
    node.batch(LATE, DeviceState::Alive, vec![Sample::good(LATE_LEVEL, Value::U16(9), node.now())]);
    host.sees("the late one", |h| h.of("DBIRTH", "late").len() == 1).await;
    assert_eq!(host.of("DDEATH", "plc").len(), 1);
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn a_change_of_quality_is_said_and_so_is_the_change_back() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    let send = async |sample: Sample, n: usize| {
        node.batch(PLC, DeviceState::Alive, vec![sample]);
        host.sees("a sample", |h| h.of("DDATA", "plc").len() == n).await;
        let metric = host.of("DDATA", "plc")[n - 1].payload.metrics[0].clone();
        let quality = metric.properties.and_then(|p| p.get("Quality").cloned());
        (metric.is_null, quality)
    };
    assert_eq!(
        send(Sample::bad(LEVEL, Bad::NotANumber, node.now()), 1).await,
        (Some(true), Some(Property::Int(0)))
    );
    assert_eq!(
        send(Sample::uncertain(LEVEL, Value::F64(200.0), Uncertain::OutOfLimits, node.now()), 2).await,
        (None, Some(Property::Int(500)))
    );
    assert_eq!(
        send(Sample::good(LEVEL, Value::F64(1.0), node.now()), 3).await,
        (None, Some(Property::Int(192)))
    );
    assert_eq!(send(Sample::good(LEVEL, Value::F64(2.0), node.now()), 4).await, (None, None));
    node.stop().await;
}
