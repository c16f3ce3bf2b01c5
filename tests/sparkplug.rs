//! The edge node as hosts see it, over the small broker: sessions, delivery, commands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::command::{Gate, Write, WriteRule};
use fieldgate::model::*;
use fieldgate::publishers::publisher::{Context, Publisher};
use fieldgate::publishers::sparkplug::Sparkplug;
use fieldgate::publishers::sparkplug::config;
use fieldgate::publishers::sparkplug::payload::{Metric, Payload, Property, Raw};
use fieldgate::simulate::broker::Broker;
use fieldgate::store::Store;
use fieldgate::telemetry::{Connection, Telemetry};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SYSTEM: DeviceId = DeviceId(0);
const PLC: DeviceId = DeviceId(1);
const LATE: DeviceId = DeviceId(2);
const UPTIME: TagId = TagId(0);
const SPEED: TagId = TagId(1);
const LEVEL: TagId = TagId(2);
const LATE_LEVEL: TagId = TagId(3);

fn directory() -> Arc<Directory> {
    let device = |id, name: &str, is_node| Device {
        id,
        name: name.into(),
        link: "net".into(),
        description: None,
        is_node,
    };
    let tag = |id, device, owner: &str, name: &str, kind| Tag {
        id,
        device,
        name: name.into(),
        path: format!("{owner}/{name}").into(),
        kind,
        access: Access::ReadWrite,
        unit: Some("°C".into()),
        low: Some(0.0),
        high: Some(100.0),
        description: None,
    };
    Arc::new(Directory::new(
        "g",
        "n",
        vec![device(SYSTEM, "system", true), device(PLC, "plc", false), device(LATE, "late", false)],
        vec![
            tag(UPTIME, SYSTEM, "system", "uptime", DataType::U64),
            tag(SPEED, PLC, "plc", "speed", DataType::U16),
            tag(LEVEL, PLC, "plc", "level", DataType::F64),
            tag(LATE_LEVEL, LATE, "late", "level", DataType::U16),
        ],
    ))
}

/// A gateway without a field: the test is the field.
struct Node {
    cx: Context,
    task: JoinHandle<()>,
    writes: mpsc::Receiver<Write>,
}

impl Node {
    fn start(address: SocketAddr, folder: &Path, more: &str) -> Node {
        Node::start_with(address, folder, more, Store::in_memory())
    }

    fn start_with(address: SocketAddr, folder: &Path, more: &str, store: Arc<Store>) -> Node {
        let toml = format!("name = \"cloud\"\nbroker = \"mqtt://{address}\"\n{more}");
        let spec = config::compile(&toml::from_str(&toml).unwrap()).unwrap();
        let clock = Clock::system();
        let telemetry = Telemetry::new(clock.now());
        let directory = directory();
        let (mailbox, writes) = mpsc::channel(8);
        let gate = Gate::default();
        let rule = |t: &Tag| WriteRule {
            path: t.path.clone(),
            kind: t.kind,
            access: t.access,
            low: t.low,
            high: t.high,
            mailbox: mailbox.clone(),
        };
        gate.load(directory.tags().iter().map(|t| (t.id, rule(t))).collect::<HashMap<_, _>>());
        let cx = Context {
            outbox: fieldgate::store::Options::default().reader_rules(),
            name: "cloud".into(),
            directory,
            store,
            gate,
            stats: telemetry.publisher("cloud", "sparkplug"),
            telemetry,
            clock,
            folder: folder.into(),
            stop: CancellationToken::new(),
        };
        Node {
            task: tokio::spawn({
                let cx = cx.clone();
                async move { Sparkplug::new(spec).run(cx).await.unwrap() }
            }),
            cx,
            writes,
        }
    }

    fn now(&self) -> Timestamp {
        self.cx.clock.now()
    }

    fn batch(&self, device: DeviceId, state: DeviceState, samples: Vec<Sample>) {
        self.cx.store.accept(Batch { device, state, samples });
    }

    fn level(&self, value: f64) {
        self.batch(PLC, DeviceState::Alive, vec![Sample::good(LEVEL, Value::F64(value), self.now())]);
    }

    fn all_devices_answer_but_late(&self) {
        let at = self.now();
        self.batch(SYSTEM, DeviceState::Alive, vec![Sample::good(UPTIME, Value::U64(1), at)]);
        let speed = Sample::good(SPEED, Value::U16(50), at);
        let level = Sample::good(LEVEL, Value::F64(0.0), at);
        self.batch(PLC, DeviceState::Alive, vec![speed, level]);
        self.batch(LATE, DeviceState::Dead, vec![Sample::bad(LATE_LEVEL, Bad::NoAnswer, at)]);
    }

    async fn is_up(&self) {
        until("the publisher is up", || self.cx.stats.state.get() == Connection::Up).await;
    }

    async fn stop(self) {
        self.cx.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.unwrap().unwrap();
    }

    /// SIGKILL: no farewell.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn until(what: &str, wanted: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !wanted() {
        assert!(tokio::time::Instant::now() < end, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One message as a host sees it.
#[derive(Debug, Clone)]
struct Seen {
    kind: String,
    device: String,
    payload: Payload,
}

impl Seen {
    fn bd_seq(&self) -> Option<u64> {
        let metric = self.payload.metrics.iter().find(|m| m.name.as_deref() == Some("bdSeq"))?;
        assert_eq!((metric.datatype, metric.timestamp.is_some()), (Some(4), true));
        match metric.value {
            Some(Raw::Long(v)) => Some(v),
            _ => None,
        }
    }

    fn levels(&self) -> Vec<(f64, bool)> {
        let levels = self.payload.metrics.iter().filter(|m| m.alias == Some(u64::from(LEVEL.0) + 1));
        levels
            .filter_map(|m| match m.value {
                Some(Raw::Double(v)) => Some((v, m.is_historical == Some(true))),
                _ => None,
            })
            .collect()
    }
}

/// A host that keeps all it saw.
struct Host {
    client: rumqttc::AsyncClient,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Host {
    async fn listen(address: SocketAddr) -> Host {
        let mut options = rumqttc::MqttOptions::new("host", address.ip().to_string(), address.port());
        options.set_max_packet_size(16 << 20, 16 << 20).set_keep_alive(Duration::from_secs(600));
        let (client, mut events) = rumqttc::AsyncClient::new(options, 100);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (ready_in, mut ready) = mpsc::channel(8);
        let task = tokio::spawn({
            let (seen, client) = (seen.clone(), client.clone());
            async move {
                loop {
                    match events.poll().await {
                        Ok(rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_))) => {
                            client.try_subscribe("spBv1.0/g/#", rumqttc::QoS::AtLeastOnce).unwrap();
                        }
                        Ok(rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_))) => {
                            let _ = ready_in.try_send(());
                        }
                        Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish))) => {
                            let parts: Vec<_> = publish.topic.split('/').collect();
                            if parts[2].ends_with("CMD") {
                                continue;
                            }
                            assert!(!publish.retain);
                            seen.lock().unwrap().push(Seen {
                                kind: parts[2].into(),
                                device: parts.get(4).copied().unwrap_or("").into(),
                                payload: Payload::parse(&publish.payload).unwrap(),
                            });
                        }
                        Ok(_) => {}
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
            }
        });
        tokio::time::timeout(Duration::from_secs(20), ready.recv()).await.unwrap().unwrap();
        Host { client, seen, task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn of(&self, kind: &str, device: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|m| m.kind == kind && m.device == device).collect()
    }

    fn kinds(&self) -> Vec<String> {
        let name = |m: Seen| if m.device.is_empty() { m.kind } else { format!("{} {}", m.kind, m.device) };
        self.seen().into_iter().map(name).collect()
    }

    fn levels(&self) -> Vec<(f64, bool)> {
        self.of("DDATA", "plc").iter().flat_map(Seen::levels).collect()
    }

    async fn sees(&self, what: &str, wanted: impl Fn(&Host) -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while !wanted(self) {
            assert!(tokio::time::Instant::now() < end, "not within 20 s: {what}; seen: {:#?}", self.kinds());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn say(&self, topic: &str, payload: Vec<u8>) {
        self.client.publish(topic, rumqttc::QoS::AtMostOnce, false, payload).await.unwrap();
    }

    async fn command(&self, topic: &str, metric: Metric) {
        self.say(topic, Payload { metrics: vec![metric], ..Payload::default() }.bytes()).await;
    }

    async fn rebirth(&self) {
        let metric = Metric {
            name: Some("Node Control/Rebirth".into()),
            value: Some(Raw::Bool(true)),
            ..Metric::default()
        };
        self.command("spBv1.0/g/NCMD/n", metric).await;
    }

    /// tck-id-payloads-sequence-num-incrementing, tck-id-topics-nbirth-seq-num, and what else always holds.
    fn check(&self) {
        let (mut expected, mut born) = (None, std::collections::HashSet::new());
        for message in self.seen() {
            if message.kind == "NDEATH" {
                assert_eq!(message.payload.seq, None, "tck-id-topics-ndeath-seq");
                continue;
            }
            if message.kind == "NBIRTH" {
                expected = Some(0);
                born.clear();
            }
            let Some(seq) = expected else { continue };
            assert_eq!(message.payload.seq, Some(seq), "{message:?}");
            expected = Some((seq + 1) % 256);
            match message.kind.as_str() {
                "DBIRTH" => assert!(born.insert(message.device.clone()), "born twice"),
                "DDATA" => assert!(born.contains(&message.device), "data of an unborn device"),
                "DDEATH" => assert!(born.remove(&message.device), "death of an unborn device"),
                _ => {}
            }
            let flags: std::collections::HashSet<_> =
                message.payload.metrics.iter().map(|m| m.is_historical).collect();
            assert!(flags.len() <= 1 && !flags.contains(&Some(false)), "history in payloads of its own");
        }
    }
}

async fn broker() -> Broker {
    Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A born node, with its host.
async fn plant(folder: &Path, more: &str) -> (Broker, Host, Node) {
    let broker = broker().await;
    let host = Host::listen(broker.address()).await;
    let node = Node::start(broker.address(), folder, more);
    node.all_devices_answer_but_late();
    node.is_up().await;
    host.sees("births", |h| !h.of("DBIRTH", "plc").is_empty()).await;
    (broker, host, node)
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
