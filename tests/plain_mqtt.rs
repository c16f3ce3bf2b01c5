//! Plain MQTT as a cloud sees it, over the small broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/link.rs"]
mod link;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fieldgate::command::{Gate, Write, WriteRule};
use fieldgate::model::*;
use fieldgate::publishers::mqtt::{Mqtt, config};
use fieldgate::publishers::publisher::{Context, Publisher};
use fieldgate::simulate::broker::Broker;
use fieldgate::store::Store;
use fieldgate::telemetry::{Connection, Telemetry};
use link::Link;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PLC: DeviceId = DeviceId(0);
const SPEED: TagId = TagId(0);
const LEVEL: TagId = TagId(1);
const PER_TAG: &str = "per = \"tag\"\ntopic = \"plant/{node}/{device}/{tag}\"";

fn directory() -> Arc<Directory> {
    let device = Device::plain(PLC, "plc", "net");
    let tag = |id, name: &str, kind, access| Tag {
        access,
        low: Some(0.0),
        high: Some(1000.0),
        ..Tag::plain(id, PLC, &format!("plc/{name}"), kind)
    };
    let speed = tag(SPEED, "speed", DataType::U16, Access::ReadWrite);
    Arc::new(Directory::new(
        "g",
        "n",
        vec![device],
        vec![speed, tag(LEVEL, "level", DataType::F64, Access::Read)],
    ))
}

/// A gateway without a field: the test is the field.
struct Node {
    cx: Context,
    task: JoinHandle<()>,
    writes: mpsc::Receiver<Write>,
}

impl Node {
    fn start(brokers: &[SocketAddr], folder: &Path, more: &str) -> Node {
        let directory = directory();
        let brokers: Vec<_> = brokers.iter().map(|address| format!("mqtt://{address}")).collect();
        let toml = format!("name = \"cloud\"\nbroker = {brokers:?}\n{more}");
        let spec = config::compile(&toml::from_str(&toml).unwrap()).unwrap();
        let clock = Clock::system();
        let telemetry = Telemetry::new(clock.now());
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
            name: "cloud".into(),
            directory: directory.into(),
            store: Store::in_memory(),
            gate,
            stats: telemetry.publisher("cloud", "mqtt"),
            outbox: fieldgate::store::Options::default().reader_rules(),
            telemetry,
            clock,
            folder: folder.into(),
            stop: CancellationToken::new(),
        };
        let task = tokio::spawn({
            let cx = cx.clone();
            async move { Mqtt::new(spec).run(cx).await.unwrap() }
        });
        Node { cx, task, writes }
    }

    fn level(&self, value: f64) {
        let samples = vec![Sample::good(LEVEL, Value::F64(value), self.cx.clock.now())];
        self.cx.store.accept(Batch { device: PLC, state: DeviceState::Alive, samples });
    }

    async fn is(&self, wanted: Connection) {
        until(&format!("{wanted:?}"), || self.cx.stats.state.get() == wanted).await;
    }

    async fn stop(self) {
        self.cx.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.unwrap().unwrap();
    }
}

async fn until(what: &str, wanted: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !wanted() {
        assert!(tokio::time::Instant::now() < end, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[derive(Debug, Clone)]
struct Seen {
    topic: String,
    retained: bool,
    payload: Vec<u8>,
}

impl Seen {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

/// A cloud that keeps all it saw.
struct Cloud {
    client: rumqttc::AsyncClient,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cloud {
    async fn listen(address: SocketAddr, id: &str) -> Cloud {
        let mut options = rumqttc::MqttOptions::new(id, address.ip().to_string(), address.port());
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
                            client.try_subscribe("#", rumqttc::QoS::AtLeastOnce).unwrap();
                        }
                        Ok(rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_))) => {
                            let _ = ready_in.try_send(());
                        }
                        Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish))) => {
                            seen.lock().unwrap().push(Seen {
                                topic: publish.topic,
                                retained: publish.retain,
                                payload: publish.payload.to_vec(),
                            });
                        }
                        Ok(_) => {}
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
            }
        });
        tokio::time::timeout(Duration::from_secs(20), ready.recv()).await.unwrap().unwrap();
        Cloud { client, seen, task }
    }

    fn of(&self, topic: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|m| m.topic == topic).cloned().collect()
    }

    fn levels(&self) -> Vec<(f64, bool)> {
        let level = |m: &Seen| {
            let json = m.json();
            (json["value"].as_f64().unwrap(), json["historical"] == true)
        };
        self.of("plant/n/plc/level").iter().map(level).collect()
    }

    async fn sees(&self, what: &str, wanted: impl Fn(&Cloud) -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while !wanted(self) {
            let seen = self.seen.lock().unwrap().clone();
            assert!(tokio::time::Instant::now() < end, "not within 20 s: {what}; seen: {seen:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn say(&self, payload: impl ToString, retain: bool) {
        let payload = payload.to_string();
        self.client.publish("plant/n/set", rumqttc::QoS::AtLeastOnce, retain, payload).await.unwrap();
    }
}

async fn broker() -> Broker {
    Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

async fn plant(folder: &Path, more: &str) -> (Broker, Cloud, Node) {
    let broker = broker().await;
    let cloud = Cloud::listen(broker.address(), "cloud-side").await;
    let node = Node::start(&[broker.address()], folder, more);
    node.is(Connection::Up).await;
    (broker, cloud, node)
}

#[tokio::test]
async fn a_value_counts_as_delivered_when_its_puback_came_and_comes_again_where_none_did() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, cloud, node) = plant(folder.path(), &format!("{PER_TAG}\nack-timeout = \"1s\"")).await;
    node.level(1.0);
    until("delivered", || node.cx.stats.delivered.get() == 1).await;
    broker.faults().withhold_puback.set(true);
    node.level(2.0);
    cloud.sees("it, live", |c| c.levels().contains(&(2.0, false))).await;
    node.is(Connection::Down).await;
    assert!(node.cx.stats.state.trouble().contains("PUBLISH"), "{}", node.cx.stats.state.trouble());
    assert_eq!(node.cx.stats.delivered.get(), 1);
    broker.faults().withhold_puback.set(false);
    // It comes as what is so now, and again from the outbox.
    until("delivered", || node.cx.stats.delivered.get() == 2).await;
    assert!(cloud.levels().iter().filter(|(value, _)| *value == 2.0).count() >= 2);
    node.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_over_an_outage_and_history_has_the_order_of_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, _cloud, node) = plant(folder.path(), &format!("{PER_TAG}\nack-timeout = \"1s\"")).await;
    let address = broker.address();
    broker.stop().await;
    node.is(Connection::Down).await;
    (1..=300).for_each(|i| node.level(f64::from(i)));
    let broker = Broker::bind(address).await.unwrap();
    // What the node sends before the cloud listens counts as nothing.
    broker.faults().withhold_puback.set(true);
    let late = Cloud::listen(address, "late").await;
    broker.faults().withhold_puback.set(false);
    until("all are delivered", || node.cx.stats.delivered.get() == 300).await;
    node.level(999.0);
    late.sees("live", |c| c.levels().contains(&(999.0, false))).await;
    let mut history: Vec<f64> = Vec::new();
    for (value, _) in late.levels().into_iter().filter(|l| l.1) {
        if !history.contains(&value) {
            history.push(value);
        }
    }
    assert_eq!(history, (1..=300).map(f64::from).collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test]
async fn what_was_under_way_when_the_broker_fell_comes_again_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, cloud, node) = plant(folder.path(), &format!("{PER_TAG}\nack-timeout = \"1s\"")).await;
    broker.faults().swallow.set(true);
    (1..=300).for_each(|i| node.level(f64::from(i)));
    node.is(Connection::Down).await;
    broker.faults().swallow.set(false);
    cloud.sees("all", |c| (1..=300).all(|i| c.levels().iter().any(|l| l.0 == f64::from(i)))).await;
    let history: Vec<f64> = cloud.levels().iter().filter(|l| l.1).map(|l| l.0).collect();
    assert!(history.is_sorted(), "{history:?}");
    node.stop().await;
}

#[tokio::test]
async fn without_acknowledgements_no_more_than_a_hundred_messages_are_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, cloud, node) = plant(folder.path(), PER_TAG).await;
    broker.faults().withhold_puback.set(true);
    (1..=500).for_each(|i| node.level(f64::from(i)));
    cloud.sees("a hundred", |c| c.levels().len() == 100).await;
    assert_eq!(node.cx.stats.messages.get(), 100);
    node.stop().await;
}

#[tokio::test]
async fn a_batch_gathers_samples_and_an_answer_to_it_settles_them_all() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, cloud, node) = plant(folder.path(), "max-delay = \"100ms\"\nqos = 0").await;
    (1..=50).for_each(|i| node.level(f64::from(i)));
    until("delivered", || node.cx.stats.delivered.get() == 50).await;
    let messages = cloud.of("g/n");
    let samples: Vec<Json> =
        messages.iter().flat_map(|m| m.json()["samples"].as_array().unwrap().clone()).collect();
    let values: Vec<_> = samples.iter().filter_map(|s| s["value"].as_f64()).collect();
    assert_eq!(values, (1..=50).map(f64::from).collect::<Vec<_>>());
    assert!(messages.len() < 50, "{}", messages.len());
    node.stop().await;
}

#[tokio::test]
async fn commands_go_through_the_gate_and_each_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, cloud, mut node) = plant(folder.path(), "commands = \"plant/{node}/set\"").await;
    let answers = |c: &Cloud| c.of("plant/n/set/result").iter().map(Seen::json).collect::<Vec<_>>();
    cloud.say(json!({"tag": "plc/speed", "value": 42, "id": "a"}), false).await;
    let write = tokio::time::timeout(Duration::from_secs(20), node.writes.recv()).await.unwrap().unwrap();
    assert_eq!((write.tag, &write.value), (SPEED, &Value::U16(42)));
    write.reply.send(Ok(())).unwrap();
    cloud.sees("its answer", |c| answers(c) == [json!({"id": "a", "tag": "plc/speed", "ok": true})]).await;
    let old = node.cx.clock.now().millis() - 61_000;
    for (refused, why) in [
        (json!({"tag": "plc/speed", "value": 1001}), "out of range"),
        (json!({"tag": "plc/speed", "value": -1}), "value"),
        (json!({"tag": "plc/level", "value": 1}), "read-only"),
        (json!({"tag": "plc/nothing", "value": 1}), "no such tag"),
        (json!({"tag": "plc/speed", "value": 1, "timestamp": old}), "expired"),
        (json!([1]), "column"),
    ] {
        let before = answers(&cloud).len();
        cloud.say(&refused, false).await;
        cloud.sees("a refusal", |c| answers(c).len() > before).await;
        let answer = answers(&cloud).pop().unwrap();
        assert_eq!(answer["ok"], false);
        assert!(answer["reason"].as_str().unwrap().contains(why), "{refused}: {answer}");
    }
    assert_eq!((node.cx.stats.commands.get(), node.cx.stats.refused.get()), (7, 6));
    assert!(node.writes.try_recv().is_err(), "nothing of it was written");
    node.stop().await;
}

#[tokio::test]
async fn a_retained_command_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker().await;
    let cloud = Cloud::listen(broker.address(), "cloud-side").await;
    cloud.say(json!({"tag": "plc/speed", "value": 42}), true).await;
    cloud.sees("it is there", |c| c.of("plant/n/set").len() == 1).await;
    let mut node = Node::start(&[broker.address()], folder.path(), "commands = \"plant/{node}/set\"");
    cloud.sees("the refusal", |c| c.of("plant/n/set/result").len() == 1).await;
    assert_eq!(cloud.of("plant/n/set/result")[0].json()["reason"], "retained");
    assert!(node.writes.try_recv().is_err());
    node.stop().await;
}

#[tokio::test]
async fn last_values_and_the_state_of_the_gateway_are_retained_for_who_comes_late() {
    let folder = tempfile::tempdir().unwrap();
    let more = format!(
        "{PER_TAG}\nretain = true\nstatus-topic = \"plant/{{node}}/status\"\npayload = \"{{value}}\""
    );
    let (broker, cloud, node) = plant(folder.path(), &more).await;
    node.level(1.5);
    node.level(2.5);
    until("delivered", || node.cx.stats.delivered.get() == 2).await;
    let late = Cloud::listen(broker.address(), "late").await;
    late.sees("both", |c| c.of("plant/n/plc/level").len() == 1 && c.of("plant/n/status").len() == 1).await;
    let last = &late.of("plant/n/plc/level")[0];
    assert_eq!((last.retained, last.payload.as_slice()), (true, &b"2.5"[..]));
    assert_eq!(late.of("plant/n/status")[0].payload, b"online");
    // No farewell: the will tells it.
    node.task.abort();
    cloud.sees("the will", |c| c.of("plant/n/status").last().is_some_and(|m| m.payload == b"offline")).await;
    let node = Node::start(&[broker.address()], folder.path(), &more);
    cloud.sees("it is back", |c| c.of("plant/n/status").last().is_some_and(|m| m.payload == b"online")).await;
    node.stop().await;
    cloud
        .sees("its farewell", |c| c.of("plant/n/status").last().is_some_and(|m| m.payload == b"offline"))
        .await;
}

#[tokio::test]
async fn where_a_broker_is_away_the_next_one_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (away, there) = (broker().await, broker().await);
    let gone = away.address();
    away.stop().await;
    let cloud = Cloud::listen(there.address(), "cloud-side").await;
    let node = Node::start(&[gone, there.address()], folder.path(), PER_TAG);
    node.level(1.0);
    cloud.sees("it", |c| c.levels().iter().any(|l| l.0 == 1.0)).await;
    node.stop().await;
}

/// The shortest keep-alive, and one and a half of it: docs/mqtt.md has what is noticed when.
const KEEP_ALIVE: &str = "keep-alive = \"5s\"";
const NOTICED: Duration = Duration::from_millis(7500);

/// Until the publisher knows that the broker is silent, and what it says.
async fn is_noticed(node: &Node, since: Instant) -> String {
    node.is(Connection::Down).await;
    assert!(since.elapsed() < NOTICED, "{:?}", since.elapsed());
    node.cx.stats.state.trouble()
}

#[tokio::test]
async fn a_puback_that_never_comes_is_noticed_though_the_ack_timeout_is_longer_than_the_keep_alive() {
    let folder = tempfile::tempdir().unwrap();
    let keys = format!("{PER_TAG}\n{KEEP_ALIVE}\nack-timeout = \"10m\"");
    let (broker, cloud, node) = plant(folder.path(), &keys).await;
    broker.faults().withhold_puback.set(true);
    let since = Instant::now();
    (1..=50).for_each(|i| node.level(f64::from(i)));
    assert!(is_noticed(&node, since).await.contains("PUBLISH"));
    broker.faults().withhold_puback.set(false);
    until("all are delivered", || node.cx.stats.delivered.get() == 50).await;
    assert!((1..=50).all(|i| cloud.levels().contains(&(f64::from(i), true))));
    node.stop().await;
}

#[tokio::test]
async fn a_pingresp_that_never_comes_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, _cloud, node) = plant(folder.path(), &format!("{PER_TAG}\n{KEEP_ALIVE}")).await;
    broker.faults().withhold_pingresp.set(true);
    // A second for a busy machine: it is one and a half keep-alive to the millisecond.
    let since = Instant::now() + Duration::from_secs(1);
    assert!(is_noticed(&node, since).await.contains("PINGREQ"));
    broker.faults().withhold_pingresp.set(false);
    node.is(Connection::Up).await;
    node.stop().await;
}

#[tokio::test]
async fn a_connack_that_never_comes_is_noticed_and_the_next_broker_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (silent, broker) = (Link::to_nobody().await, broker().await);
    let since = Instant::now();
    let node =
        Node::start(&[silent.address, broker.address()], folder.path(), &format!("{PER_TAG}\n{KEEP_ALIVE}"));
    node.is(Connection::Connecting).await;
    (1..=50).for_each(|i| node.level(f64::from(i)));
    assert!(is_noticed(&node, since).await.contains("no answer within"));
    until("all are delivered", || node.cx.stats.delivered.get() == 50).await;
    assert_eq!(silent.made(), 1);
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_vanishes_without_a_word_is_noticed_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker().await;
    let cloud = Cloud::listen(broker.address(), "cloud-side").await;
    let link = Link::to(broker.address()).await;
    let node = Node::start(&[link.address], folder.path(), &format!("{PER_TAG}\n{KEEP_ALIVE}"));
    node.is(Connection::Up).await;
    link.die(true);
    let since = Instant::now();
    (1..=300).for_each(|i| node.level(f64::from(i)));
    is_noticed(&node, since).await;
    link.die(false);
    until("all are delivered", || node.cx.stats.delivered.get() == 300).await;
    assert!((1..=300).all(|i| cloud.levels().contains(&(f64::from(i), true))));
    node.stop().await;
}

/// All of it in one message would take some 8 s here, and the broker has 1 s to acknowledge it.
#[tokio::test]
async fn a_link_too_slow_for_all_that_waits_gets_it_bit_by_bit_and_not_again_and_again() {
    for qos in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let broker = broker().await;
        let link = Link::to(broker.address()).await;
        let keys = format!("per = \"batch\"\ntopic = \"plant/{{node}}\"\nack-timeout = \"1s\"\nqos = {qos}");
        let node = Node::start(&[link.address], folder.path(), &keys);
        node.is(Connection::Up).await;
        link.pace(8_000);
        let now = node.cx.clock.now().0;
        let level = |i: i64| Sample::good(LEVEL, Value::F64(i as f64), Timestamp(now + i * 1000));
        for i in 0..2 {
            let samples = (i * 300 + 1..=i * 300 + 300).map(level).collect();
            node.cx.store.accept(Batch { device: PLC, state: DeviceState::Alive, samples });
        }
        let end = Instant::now() + Duration::from_secs(60);
        while node.cx.stats.delivered.get() < 600 {
            assert!(Instant::now() < end, "{} of 600 delivered", node.cx.stats.delivered.get());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(link.made() < 10, "{} connections", link.made());
        node.stop().await;
    }
}
