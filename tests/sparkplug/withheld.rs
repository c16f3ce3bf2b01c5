//! Answers that stay out, and links that die in silence or are slow: noticed within one and a half keep-alive, and
//! nothing is lost. docs/sparkplug.md has the table.

use super::link::Link;
use super::plant::*;

use std::io::Write as _;
use std::time::Instant;

/// The shortest that the file allows.
const KEEP_ALIVE: &str = "keep-alive = \"5s\"";
/// One and a half of it.
const NOTICED: Duration = Duration::from_millis(7500);

/// Until the publisher knows, and how long it took.
async fn noticed(node: &Node, since: Instant) -> Duration {
    until("it is noticed", || node.cx.stats.state.get() == Connection::Down).await;
    since.elapsed()
}

/// A born node behind a link.
async fn behind_a_link(folder: &Path, more: &str) -> (Broker, Host, Link, Node) {
    let broker = broker().await;
    let host = Host::listen(broker.address()).await;
    let link = Link::to(broker.address()).await;
    let node = Node::start(link.address, folder, more);
    node.all_devices_answer_but_late();
    node.is_up().await;
    host.sees("births", |h| !h.of("DBIRTH", "plc").is_empty()).await;
    (broker, host, link, node)
}

/// Every value arrived, those of an earlier connection as history, and each once at least is proven.
async fn all_arrive(host: &Host, node: &Node, last: u32) {
    let all = |h: &Host| {
        let seen: std::collections::HashSet<u64> = h.levels().iter().map(|(v, _)| *v as u64).collect();
        (1..=u64::from(last)).all(|v| seen.contains(&v))
    };
    host.sees("all values", all).await;
    until("all are settled", || node.cx.stats.delivered.get() >= u64::from(last)).await;
    host.check();
}

#[tokio::test]
async fn a_connack_that_never_comes_is_noticed_and_the_next_broker_takes_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let (silent, broker) = (Link::to_nobody().await, broker().await);
    let host = Host::listen(broker.address()).await;
    let began = Instant::now();
    let brokers = [silent.address, broker.address()];
    let clock = Clock::system();
    let node = Node::at(directory(), &brokers, folder.path(), KEEP_ALIVE, Store::in_memory(), clock);
    until("it begins", || node.cx.stats.state.get() == Connection::Connecting).await;
    node.all_devices_answer_but_late();
    (1..=20).for_each(|i| node.level(f64::from(i)));
    let took = noticed(&node, began).await;
    assert!(took < NOTICED, "{took:?}");
    assert!(node.cx.stats.state.trouble().contains("no answer within"), "{}", node.cx.stats.state.trouble());
    node.is_up().await;
    assert_eq!(silent.made(), 1);
    // The birth tells the last value.
    node.level(21.0);
    host.sees("all values", |h| (1..=19).all(|i| h.levels().contains(&(f64::from(i), true)))).await;
    host.sees("live", |h| h.levels().contains(&(21.0, false))).await;
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn a_suback_that_never_comes_is_noticed_though_the_ack_timeout_is_longer_than_the_keep_alive() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), "keep-alive = \"5s\"\nack-timeout = \"10m\"").await;
    broker.faults().withhold_suback.set(true);
    let since = Instant::now();
    (1..=20).for_each(|i| node.level(f64::from(i)));
    let took = noticed(&node, since).await;
    assert!(took < NOTICED, "{took:?}");
    assert!(node.cx.stats.state.trouble().contains("SUBSCRIBE"), "{}", node.cx.stats.state.trouble());
    broker.faults().withhold_suback.set(false);
    all_arrive(&host, &node, 20).await;
    node.stop().await;
}

#[tokio::test]
async fn an_ndeath_without_a_puback_proves_nothing_and_what_was_under_way_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker().await;
    let host = Host::listen(broker.address()).await;
    let store = Store::in_memory();
    let start =
        || Node::with(directory(), broker.address(), folder.path(), "", store.clone(), Clock::system());
    let node = start();
    node.all_devices_answer_but_late();
    node.is_up().await;
    host.sees("births", |h| !h.of("DBIRTH", "plc").is_empty()).await;
    broker.faults().withhold_suback.set(true);
    broker.faults().withhold_puback.set(true);
    let before = node.cx.stats.delivered.get();
    node.level(1.0);
    host.sees("it, live", |h| h.levels().contains(&(1.0, false))).await;
    let (since, stats) = (Instant::now(), node.cx.stats.clone());
    node.stop().await;
    assert!(since.elapsed() < Duration::from_millis(2500), "{:?}", since.elapsed());
    assert!(stats.delivered.get() <= before + 3, "the three of the first poll, and not the level");
    assert!(!host.of("NDEATH", "").is_empty());
    broker.faults().withhold_suback.set(false);
    broker.faults().withhold_puback.set(false);
    let node = start();
    node.is_up().await;
    host.sees("it again", |h| h.levels().contains(&(1.0, true))).await;
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn a_pingresp_that_never_comes_is_noticed_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), KEEP_ALIVE).await;
    broker.faults().withhold_pingresp.set(true);
    let since = Instant::now();
    let took = noticed(&node, since).await;
    // The next PINGREQ is due within one keep-alive, its answer within half of one.
    assert!(took < NOTICED + Duration::from_secs(1), "{took:?}");
    assert!(node.cx.stats.state.trouble().contains("PINGREQ"), "{}", node.cx.stats.state.trouble());
    (1..=20).for_each(|i| node.level(f64::from(i)));
    broker.faults().withhold_pingresp.set(false);
    all_arrive(&host, &node, 20).await;
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_vanishes_without_a_word_is_noticed_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, link, node) = behind_a_link(folder.path(), KEEP_ALIVE).await;
    (1..=10).for_each(|i| node.level(f64::from(i)));
    host.sees("the first", |h| h.levels().len() >= 10).await;
    link.die(true);
    let since = Instant::now();
    (11..=20).for_each(|i| node.level(f64::from(i)));
    let took = noticed(&node, since).await;
    assert!(took < NOTICED, "{took:?}");
    link.die(false);
    all_arrive(&host, &node, 20).await;
    assert!(link.made() >= 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_mqtt_5_a_peer_that_reads_no_more_is_noticed_though_the_client_would_write_for_ever() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let deaf = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        super::mqtt5::packet(&mut stream).unwrap();
        stream.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
        let (_, subscribe) = super::mqtt5::packet(&mut stream).unwrap();
        stream.write_all(&[0x90, 5, subscribe[0], subscribe[1], 0, 1, 1]).unwrap();
        // Open, and not read: until the node connects anew.
        listener.accept().unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(address, folder.path(), "mqtt = \"5\"\nkeep-alive = \"5s\"");
    node.all_devices_answer_but_late();
    node.is_up().await;
    let since = Instant::now();
    (1..=30_000).for_each(|i| node.level(f64::from(i)));
    let took = noticed(&node, since).await;
    assert!(took < NOTICED, "{took:?}");
    assert_eq!(node.cx.stats.delivered.get(), 0);
    deaf.join().unwrap();
    node.kill().await;
}

/// A fence behind all of it would take some 8 s here, and the broker has 1 s for it.
#[tokio::test]
async fn a_link_too_slow_for_all_that_waits_gets_it_bit_by_bit_and_not_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, link, node) = behind_a_link(folder.path(), "ack-timeout = \"1s\"").await;
    link.pace(4_000);
    let since = Instant::now();
    let now = node.now().0;
    let level = |i: u32| Sample::good(LEVEL, Value::F64(f64::from(i)), Timestamp(now + i64::from(i) * 1000));
    for i in 0..3 {
        node.batch(PLC, DeviceState::Alive, (i * 500 + 1..=i * 500 + 500).map(level).collect());
    }
    let end = since + Duration::from_secs(60);
    while node.cx.stats.delivered.get() < 1500 {
        assert!(Instant::now() < end, "{} of 1500 delivered", node.cx.stats.delivered.get());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    link.pace(0);
    all_arrive(&host, &node, 1500).await;
    println!("{:?}, {} connections", since.elapsed(), link.made());
    assert!(link.made() < 10, "{} connections", link.made());
    node.stop().await;
}
