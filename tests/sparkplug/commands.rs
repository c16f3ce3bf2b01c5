//! What hosts ask for: rebirths and writes.

use super::plant::*;
use super::proto::{self, Field};
use super::recorded::Record;
use super::wire::{Event, Recorder};

/// Boolean, false, without an alias, once in each NBIRTH.
fn offers_a_rebirth(record: &Record) {
    for birth in record.of("NBIRTH") {
        let metrics = birth.payload.metrics.iter();
        let found: Vec<_> = metrics.filter(|m| m.name.as_deref() == Some("Node Control/Rebirth")).collect();
        assert_eq!(found.len(), 1);
        let (value, alias) = (&found[0].value, found[0].alias);
        assert_eq!((found[0].datatype, value, alias), (Some(11), &Some((14, Field::Varint(0))), None));
    }
}

proves! {
    tck_id_topics_nbirth_rebirth_metric,
    tck_id_payloads_nbirth_rebirth_req,
    tck_id_operational_behavior_data_commands_rebirth_name,
    tck_id_operational_behavior_data_commands_rebirth_name_aliases,
    tck_id_operational_behavior_data_commands_rebirth_datatype,
    tck_id_operational_behavior_data_commands_rebirth_value => offers_a_rebirth;

    tck_id_operational_behavior_data_commands_rebirth_action_2 => |record: &Record| {
        let said = |e: &(usize, Event)| matches!(&e.1, Event::Said(topic) if topic.contains("NCMD"));
        let asked = record.log.iter().position(said).unwrap();
        let after = record.sent().into_iter().filter(|m| m.at > asked).take(4);
        let names = after.map(|m| (m.kind, m.device.unwrap_or_default()));
        let expected = [("NBIRTH", ""), ("DBIRTH", "plc"), ("DBIRTH", "late"), ("DBIRTH", "types")];
        assert_eq!(names.collect::<Vec<_>>(), expected.map(|(k, d)| (k.to_owned(), d.to_owned())));
    };
}

/// What waits for `max-delay` when the rebirth is asked for comes after the births, as history.
#[tokio::test(flavor = "multi_thread")]
async fn tck_id_operational_behavior_data_commands_rebirth_action_1() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Recorder::start();
    let node = Node::of(directory(), broker.address(), folder.path(), "max-delay = \"5s\"");
    node.all_devices_answer_but_late();
    node.is_up().await;
    let messages = |log: &[(usize, Event)]| log.iter().filter(|e| matches!(e.1, Event::Publish(_))).count();
    broker.wait("births", |log| messages(log) >= 2);
    node.level(7.0);
    node.level(8.0);
    // Nobody tells that they wait for `max-delay`; if they do not yet, the test proves less, and passes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.say("spBv1.0/g/NCMD/n", &proto::command("Node Control/Rebirth", proto::TRUE));
    let seven = |record: &Record| {
        let metrics = record.sent().into_iter().filter(|m| m.kind == "DDATA").flat_map(|m| m.payload.metrics);
        let seven = metrics.filter(|m| m.value == Some((13, Field::Double(7.0))));
        seven.map(|m| m.is_historical).collect::<Vec<_>>()
    };
    let record = || Record { log: broker.log(), began: 0, ended: 0 };
    broker.wait("the births", |log| log.iter().filter(|e| is_birth(e)).count() == 2);
    until("data", || !seven(&record()).is_empty()).await;
    let record = record();
    let asked = record.log.iter().position(|e| matches!(e.1, Event::Said(_))).unwrap();
    let next = record.sent().into_iter().find(|m| m.at > asked).unwrap();
    assert_eq!(next.kind, "NBIRTH");
    assert_eq!(seven(&record), [Some(true)]);
    node.stop().await;
}

fn is_birth((_, event): &(usize, Event)) -> bool {
    matches!(event, Event::Publish(publish) if publish.topic.contains("/NBIRTH/"))
}

// tck-id-operational-behavior-data-commands-rebirth-action-1 to -3
#[tokio::test]
async fn many_rebirth_commands_make_few_births_and_bdseq_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    for i in 0..100 {
        host.rebirth().await;
        node.level(f64::from(i));
    }
    host.sees("a rebirth", |h| h.of("NBIRTH", "").len() >= 2).await;
    host.sees("the last level", |h| {
        h.seen().iter().any(|m| m.levels().contains(&(99.0, false)))
            || h.of("DBIRTH", "plc").iter().any(|m| m.levels().contains(&(99.0, false)))
    })
    .await;
    assert!(host.of("NBIRTH", "").len() <= 3, "{:?}", host.kinds());
    assert!(host.of("NBIRTH", "").iter().all(|m| m.bd_seq() == Some(0)));
    host.check();
    node.stop().await;
}

/// By the node's own clock: no two births of it within a second, and seq has no gap over all of it.
#[tokio::test]
async fn a_hundred_rebirth_commands_a_second_make_one_birth_a_second_and_data_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    let mut sent = 0_u32;
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while host.of("NBIRTH", "").len() < 4 {
        assert!(tokio::time::Instant::now() < end, "not four births: {:?}", host.kinds());
        host.rebirth().await;
        sent += 1;
        node.level(f64::from(sent));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let last = f64::from(sent);
    host.sees("the last level", |h| {
        h.seen().iter().any(|m| m.levels().iter().any(|(level, _)| *level == last))
    })
    .await;
    let births: Vec<_> = host.of("NBIRTH", "").iter().map(|m| m.payload.timestamp.unwrap()).collect();
    // Milliseconds are cut off at both ends.
    assert!(births.windows(2).all(|pair| pair[1] - pair[0] >= 999), "{births:?}");
    assert!(sent as usize >= 3 * births.len(), "so many commands that each second has several: {sent}");
    let data = host.seen().iter().filter(|m| m.kind == "DDATA").count();
    assert!(data > births.len(), "data go on between the births: {data}");
    host.check();
    node.stop().await;
}

// tck-id-message-flow-device-dcmd-subscribe
#[tokio::test]
async fn a_write_by_name_and_by_alias_reaches_the_gate_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, mut node) = plant(folder.path(), "").await;
    let value = |v| Some(Raw::Int(v));
    let name = Metric { name: Some("speed".into()), datatype: Some(6), value: value(7), ..Metric::default() };
    host.command("spBv1.0/g/DCMD/n/plc", name).await;
    let alias = Metric { alias: Some(3), value: Some(Raw::Double(8.5)), ..Metric::default() };
    host.command("spBv1.0/g/DCMD/n/plc", alias).await;
    let next = async |node: &mut Node| {
        tokio::time::timeout(Duration::from_secs(20), node.writes.recv()).await.unwrap().unwrap()
    };
    let first = next(&mut node).await;
    assert_eq!((first.tag, &first.value), (SPEED, &Value::U16(7)));
    let second = next(&mut node).await;
    assert_eq!((second.tag, &second.value), (LEVEL, &Value::F64(8.5)));
    // Nobody answers the writes, and data flow all the same.
    node.level(1.0);
    host.sees("data", |h| h.levels() == [(1.0, false)]).await;
    drop((first, second));
    node.stop().await;
}

#[tokio::test]
async fn garbage_is_refused_and_counted_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, mut node) = plant(folder.path(), "").await;
    for junk in [vec![], vec![0xFF; 40], vec![0; 12_000], vec![7; 2 << 20]] {
        host.say("spBv1.0/g/NCMD/n", junk.clone()).await;
        host.say("spBv1.0/g/DCMD/n/plc", junk.clone()).await;
        host.say("spBv1.0/g/DCMD/n/nobody", junk).await;
    }
    let unknown = Metric { name: Some("nonsense".into()), value: Some(Raw::Int(1)), ..Metric::default() };
    host.command("spBv1.0/g/DCMD/n/plc", unknown).await;
    let wrong =
        Metric { name: Some("speed".into()), value: Some(Raw::Text("fast".into())), ..Metric::default() };
    host.command("spBv1.0/g/DCMD/n/plc", wrong).await;
    until("all are refused", || node.cx.stats.refused.get() == 14).await;
    node.level(1.0);
    host.sees("data", |h| h.levels() == [(1.0, false)]).await;
    assert!(node.writes.try_recv().is_err());
    assert_eq!(host.of("NBIRTH", "").len(), 1);
    node.stop().await;
}
