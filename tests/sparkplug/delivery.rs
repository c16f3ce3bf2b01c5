//! What arrives, and what comes again when the broker is silent or away.

use super::plant::*;

#[tokio::test]
async fn without_an_answered_fence_nothing_counts_as_delivered_and_it_comes_again_as_history() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), "keep-alive = \"5s\"").await;
    node.level(1.0);
    until("delivered", || node.cx.stats.delivered.get() > 0 && node.cx.stats.pending_age_ms.get() == 0).await;
    host.sees("the first", |h| h.levels() == [(1.0, false)]).await;
    broker.faults().withhold_suback.set(true);
    node.level(2.0);
    node.level(3.0);
    let before = node.cx.stats.delivered.get();
    host.sees("them, live", |h| h.levels().contains(&(3.0, false))).await;
    until("the silence is noticed", || node.cx.stats.state.get() == Connection::Down).await;
    assert!(node.cx.stats.state.trouble().contains("SUBSCRIBE"), "{}", node.cx.stats.state.trouble());
    assert!(node.cx.stats.delivered.get() <= before + 1);
    broker.faults().withhold_suback.set(false);
    host.sees("them again", |h| h.levels().contains(&(2.0, true)) && h.levels().contains(&(3.0, true))).await;
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn a_silent_link_eats_nothing_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), "keep-alive = \"5s\"").await;
    broker.faults().swallow.set(true);
    for i in 1..=20 {
        node.level(f64::from(i));
        tokio::task::yield_now().await;
    }
    until("the silence is noticed", || node.cx.stats.state.get() == Connection::Down).await;
    broker.faults().swallow.set(false);
    let all = |h: &Host| (1..=20).all(|i| h.levels().contains(&(f64::from(i), true)));
    host.sees("all of them as history", all).await;
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn a_withheld_pingresp_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, _host, node) = plant(folder.path(), "keep-alive = \"5s\"").await;
    broker.faults().withhold_pingresp.set(true);
    until("the silence is noticed", || node.cx.stats.state.get() == Connection::Down).await;
    assert!(node.cx.stats.state.trouble().contains("PINGREQ"), "{}", node.cx.stats.state.trouble());
    node.stop().await;
}

#[tokio::test]
async fn after_an_outage_births_come_first_and_history_is_flagged_with_its_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), "").await;
    let address = broker.address();
    broker.stop().await;
    until("it is noticed", || node.cx.stats.state.get() == Connection::Down).await;
    for i in 1..=50 {
        node.level(f64::from(i));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let broker = Broker::bind(address).await.unwrap();
    host.sees("history", |h| h.levels().len() >= 50).await;
    node.level(99.0);
    host.sees("live", |h| h.levels().contains(&(99.0, false))).await;
    assert_eq!(host.levels()[..50], (1..=50).map(|i| (f64::from(i), true)).collect::<Vec<_>>());
    let times: Vec<_> =
        host.of("DDATA", "plc").iter().flat_map(|m| m.payload.metrics.clone()).map(|m| m.timestamp).collect();
    assert!(times.is_sorted());
    // No CONNECT was written while nobody listened: no bdSeq was burnt.
    assert_eq!(host.of("NBIRTH", "").last().unwrap().bd_seq(), Some(1));
    host.check();
    drop(broker);
    node.stop().await;
}

#[tokio::test]
async fn history_of_a_device_that_is_not_born_waits_for_its_birth() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = plant(folder.path(), "").await;
    let address = broker.address();
    broker.stop().await;
    until("it is noticed", || node.cx.stats.state.get() == Connection::Down).await;
    node.level(1.0);
    node.batch(PLC, DeviceState::Dead, vec![Sample::bad(LEVEL, Bad::NoAnswer, node.now())]);
    let _broker = Broker::bind(address).await.unwrap();
    host.sees("a second birth", |h| h.of("NBIRTH", "").len() == 2).await;
    node.is_up().await;
    node.level(2.0);
    host.sees("the value from before", |h| h.levels().contains(&(1.0, true))).await;
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn data_beyond_the_packet_limit_are_split() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "max-packet = \"1KiB\"\nmax-delay = \"50ms\"").await;
    for i in 1..=500 {
        node.level(f64::from(i));
    }
    host.sees("all", |h| h.levels().len() >= 500).await;
    let data = host.of("DDATA", "plc");
    assert!(data.iter().all(|m| m.payload.bytes().len() <= 1024));
    assert!(data.len() < 100, "{} messages", data.len());
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn a_stop_without_an_answering_broker_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, _host, node) = plant(folder.path(), "").await;
    broker.faults().swallow.set(true);
    node.level(1.0);
    let start = std::time::Instant::now();
    node.stop().await;
    assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn provisional_times_are_marked_and_told_again_when_the_clock_is_synchronised() {
    const BEHIND: i64 = 3 * 86_400_000;
    let folder = tempfile::tempdir().unwrap();
    let broker = broker().await;
    let host = Host::listen(broker.address()).await;
    // As a computer without a battery that was off for three days.
    let right = Clock::system().now();
    let boot = Boot { id: [7; 16], uptime: Duration::from_secs(20) };
    let clock = Clock::unsynchronised(Timestamp(right.0 - BEHIND * 1000), boot);
    let store = Store::open(fieldgate::store::Options::default(), directory(), clock.clone(), Arc::default());
    let node = Node::with(directory(), broker.address(), folder.path(), "", store, clock.clone());
    let level = |value| {
        let (at, stamp) = clock.stamp();
        let sample = Sample { stamp, ..Sample::good(LEVEL, Value::F64(value), at) };
        node.batch(PLC, DeviceState::Alive, vec![sample]);
        at.millis()
    };
    let told = |metric: &Metric| {
        let marked = metric.properties.as_ref().and_then(|p| p.get("ClockSynchronised").cloned());
        (metric.timestamp.unwrap() as i64, marked)
    };
    let of_level = |seen: &Seen| {
        let by = |m: &&Metric| m.alias == Some(u64::from(LEVEL.0) + 1);
        told(seen.payload.metrics.iter().find(by).unwrap())
    };
    node.all_devices_answer_but_late();
    node.is_up().await;
    let at = level(1.0);
    host.sees("a value", |h| h.levels().contains(&(1.0, false))).await;
    let seen = host.of("DDATA", "plc");
    assert_eq!(of_level(seen.last().unwrap()), (at, Some(Property::Bool(false))));

    clock.tell(Timestamp(clock.now().0 + BEHIND * 1000), true);
    level(2.0);
    host.sees("a second birth", |h| h.of("DBIRTH", "plc").len() == 2).await;
    host.sees("the next value", |h| h.levels().iter().any(|(value, _)| *value == 2.0)).await;
    // What was told first is told again with its time put right, unless the next value was there by then.
    let (born, marked) = of_level(&host.of("DBIRTH", "plc")[1]);
    assert!(born >= at + BEHIND - 1000 && marked.is_none(), "{born} {marked:?}");
    let at = level(3.0);
    host.sees("the last value", |h| h.levels().contains(&(3.0, false))).await;
    assert_eq!(of_level(host.of("DDATA", "plc").last().unwrap()), (at, None));
    host.check();
    node.stop().await;
}
