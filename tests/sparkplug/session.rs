//! Births, deaths and the numbers that tell them apart.

use super::plant::*;

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
    assert_eq!(names, ["bdSeq", "Node Control/Rebirth", "uptime"]);
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
