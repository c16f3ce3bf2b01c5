//! Other devices and tags while the node is born.

use fieldgate::telemetry::LossReason;

use super::plant::*;

const NEW: TagId = TagId(4);

/// The same devices, with these tags.
fn with(change: impl Fn(&mut Vec<Device>, &mut Vec<Tag>)) -> Directory {
    let old = directory();
    let (mut devices, mut tags) = (old.devices().to_vec(), old.tags().to_vec());
    change(&mut devices, &mut tags);
    Directory::new("g", "n", devices, tags)
}

fn named(message: &Seen, name: &str) -> Option<Metric> {
    message.payload.metrics.iter().find(|m| m.name.as_deref() == Some(name)).cloned()
}

/// No metric comes as data that the last birth did not tell.
fn told_before_data(messages: &[Seen], birth: &str, data: &str) {
    let mut told = std::collections::HashSet::new();
    for message in messages.iter().filter(|m| m.kind == birth || m.kind == data) {
        let aliases = message.payload.metrics.iter().map(|m| m.alias);
        if message.kind == birth {
            told = aliases.collect();
        } else {
            aliases.for_each(|alias| assert!(told.contains(&alias), "{alias:?} before its birth"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_another_tag_dies_and_is_born_once_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    node.batch(LATE, DeviceState::Alive, vec![Sample::good(LATE_LEVEL, Value::U16(1), node.now())]);
    host.sees("the other device", |h| h.of("DBIRTH", "late").len() == 1).await;
    node.level(1.0);
    host.sees("its value", |h| h.levels().iter().any(|(level, _)| *level == 1.0)).await;
    node.configure(with(|_, tags| tags.push(Tag::plain(NEW, PLC, "plc/pressure", DataType::U16))));
    // Of the new tag first: it must not overtake the birth.
    node.batch(PLC, DeviceState::Alive, vec![Sample::good(NEW, Value::U16(9), node.now())]);
    host.sees("the birth", |h| h.of("DBIRTH", "plc").len() == 2).await;
    node.level(2.0);
    host.sees("what came after", |h| h.levels().contains(&(2.0, false))).await;
    host.check();
    let of_plc: Vec<_> = host.seen().into_iter().filter(|message| message.device == "plc").collect();
    let lives: Vec<_> =
        of_plc.iter().map(|message| message.kind.as_str()).filter(|kind| *kind != "DDATA").collect();
    assert_eq!(lives, ["DBIRTH", "DDEATH", "DBIRTH"]);
    told_before_data(&of_plc, "DBIRTH", "DDATA");
    assert_eq!((host.of("NBIRTH", "").len(), host.of("DBIRTH", "late").len()), (1, 1));
    let births = host.of("DBIRTH", "plc");
    assert!(named(&births[0], "pressure").is_none());
    assert_eq!(named(&births[1], "pressure").unwrap().alias, Some(5));
    // What stays keeps its value and its alias.
    let (before, after) = (named(&births[0], "level").unwrap(), named(&births[1], "level").unwrap());
    assert_eq!((before.alias, after.value), (after.alias, Some(Raw::Double(1.0))));
    assert_eq!(node.cx.stats.connects.get(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_gone_dies_and_one_that_is_new_is_born_when_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    let other = DeviceId(3);
    node.configure(with(|devices, tags| {
        devices.retain(|device| device.id != PLC);
        tags.retain(|tag| tag.device != PLC);
        devices.push(Device::plain(other, "other", "net"));
        tags.push(Tag::plain(NEW, other, "other/level", DataType::U16));
    }));
    host.sees("the death", |h| h.of("DDEATH", "plc").len() == 1).await;
    node.batch(other, DeviceState::Alive, vec![Sample::good(NEW, Value::U16(3), node.now())]);
    host.sees("the new one", |h| h.of("DBIRTH", "other").len() == 1).await;
    host.check();
    assert_eq!(host.of("NBIRTH", "").len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_nodes_own_metrics_change_all_is_born_again_once_and_no_data_come_before() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    node.configure(with(|_, tags| {
        tags.push(Tag::plain(NEW, SYSTEM, "system/load", DataType::U16));
        tags.push(Tag::plain(TagId(5), PLC, "plc/pressure", DataType::U16));
    }));
    // Of what no birth has told yet.
    node.batch(SYSTEM, DeviceState::Alive, vec![Sample::good(NEW, Value::U16(7), node.now())]);
    host.sees("births", |h| h.of("NBIRTH", "").len() == 2 && h.of("DBIRTH", "plc").len() == 2).await;
    node.batch(SYSTEM, DeviceState::Alive, vec![Sample::good(NEW, Value::U16(8), node.now())]);
    host.sees("its next value", |h| !h.of("NDATA", "").is_empty()).await;
    host.check();
    let births = host.of("NBIRTH", "");
    assert_eq!(births[0].bd_seq(), births[1].bd_seq());
    assert!(named(&births[1], "load").is_some());
    told_before_data(&host.seen(), "NBIRTH", "NDATA");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_of_a_tag_that_is_gone_is_counted_and_all_else_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), "").await;
    node.level(1.0);
    host.sees("its value", |h| h.levels().iter().any(|(level, _)| *level == 1.0)).await;
    let report = || node.cx.store.readers().into_iter().find(|r| r.name == "cloud").unwrap();
    until("it is settled", || report().pending == 0).await;
    let address = broker.address();
    broker.stop().await;
    until("it is noticed", || node.cx.stats.state.get() == Connection::Down).await;
    for value in [2_u16, 3] {
        let at = node.now();
        let both = vec![
            Sample::good(SPEED, Value::U16(value), at),
            Sample::good(LEVEL, Value::F64(value.into()), at),
        ];
        node.batch(PLC, DeviceState::Alive, both);
    }
    node.batch(PLC, DeviceState::Alive, vec![Sample::good(SPEED, Value::U16(4), node.now())]);
    node.configure(with(|_, tags| tags.retain(|tag| tag.id != SPEED)));
    let _broker = Broker::bind(address).await.unwrap();
    until("all is settled", || report().pending == 0).await;
    let counts = report().counts;
    assert_eq!((counts.dropped_by(LossReason::Unknown), counts.all_dropped()), (3, 3), "{counts:?}");
    assert_eq!(counts.accepted, counts.delivered + counts.all_dropped(), "{counts:?}");
    // Who came late to the new broker asks.
    node.is_up().await;
    let births = host.of("DBIRTH", "plc").len();
    host.rebirth().await;
    host.sees("a birth", |h| h.of("DBIRTH", "plc").len() > births).await;
    assert!(named(host.of("DBIRTH", "plc").last().unwrap(), "speed").is_none());
    node.stop().await;
}
