//! The gateway without a field, and a host that keeps what it saw, over the small broker.

pub(super) use std::collections::HashMap;
pub(super) use std::net::SocketAddr;
pub(super) use std::path::Path;
pub(super) use std::sync::{Arc, Mutex};
pub(super) use std::time::Duration;

pub(super) use fieldgate::command::{Gate, Write, WriteRule};
pub(super) use fieldgate::model::*;
pub(super) use fieldgate::publishers::publisher::{Context, Directories, Publisher};
pub(super) use fieldgate::publishers::sparkplug::Sparkplug;
pub(super) use fieldgate::publishers::sparkplug::config;
pub(super) use fieldgate::publishers::sparkplug::payload::{Metric, Payload, Property, Raw};
pub(super) use fieldgate::simulate::broker::Broker;
pub(super) use fieldgate::store::Store;
pub(super) use fieldgate::telemetry::{Connection, Telemetry};
pub(super) use tokio::sync::{mpsc, watch};
pub(super) use tokio::task::JoinHandle;
pub(super) use tokio_util::sync::CancellationToken;

pub(super) const SYSTEM: DeviceId = DeviceId(0);
pub(super) const PLC: DeviceId = DeviceId(1);
pub(super) const LATE: DeviceId = DeviceId(2);
pub(super) const UPTIME: TagId = TagId(0);
pub(super) const SPEED: TagId = TagId(1);
pub(super) const LEVEL: TagId = TagId(2);
pub(super) const LATE_LEVEL: TagId = TagId(3);

pub(super) fn directory() -> Arc<Directory> {
    let device = |id, name: &str, is_node| Device { is_node, ..Device::plain(id, name, "net") };
    let tag = |id, device, owner: &str, name: &str, kind| Tag {
        access: Access::ReadWrite,
        unit: Some("°C".into()),
        low: Some(0.0),
        high: Some(100.0),
        ..Tag::plain(id, device, &format!("{owner}/{name}"), kind)
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
pub(super) struct Node {
    pub(super) cx: Context,
    pub(super) configuration: watch::Sender<Arc<Directory>>,
    pub(super) task: JoinHandle<()>,
    pub(super) writes: mpsc::Receiver<Write>,
}

impl Node {
    pub(super) fn start(address: SocketAddr, folder: &Path, more: &str) -> Node {
        Node::of(directory(), address, folder, more)
    }

    pub(super) fn of(directory: Arc<Directory>, address: SocketAddr, folder: &Path, more: &str) -> Node {
        Node::with(directory, address, folder, more, Store::in_memory(), Clock::system())
    }

    /// With a store and a clock of one's own.
    pub(super) fn with(
        directory: Arc<Directory>,
        address: SocketAddr,
        folder: &Path,
        more: &str,
        store: Arc<Store>,
        clock: Clock,
    ) -> Node {
        Node::at(directory, &[address], folder, more, store, clock)
    }

    /// With several brokers, too.
    pub(super) fn at(
        directory: Arc<Directory>,
        brokers: &[SocketAddr],
        folder: &Path,
        more: &str,
        store: Arc<Store>,
        clock: Clock,
    ) -> Node {
        let brokers: Vec<_> = brokers.iter().map(|address| format!("mqtt://{address}")).collect();
        let toml = format!("name = \"cloud\"\nbroker = {brokers:?}\n{more}");
        let spec = config::compile(&toml::from_str(&toml).unwrap()).unwrap();
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
        let (configuration, directories) = Directories::following(directory);
        let cx = Context {
            name: "cloud".into(),
            directory: directories,
            store,
            gate,
            stats: telemetry.publisher("cloud", "sparkplug"),
            outbox: fieldgate::store::Options::default().reader_rules(),
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
            configuration,
            writes,
        }
    }

    /// As the supervisor does at a reload.
    pub(super) fn configure(&self, directory: Directory) {
        let directory = Arc::new(directory);
        self.cx.store.follow(directory.clone());
        self.configuration.send_replace(directory);
        self.cx.store.followed();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.cx.clock.now()
    }

    pub(super) fn batch(&self, device: DeviceId, state: DeviceState, samples: Vec<Sample>) {
        self.cx.store.accept(Batch { device, state, samples });
    }

    pub(super) fn level(&self, value: f64) {
        self.batch(PLC, DeviceState::Alive, vec![Sample::good(LEVEL, Value::F64(value), self.now())]);
    }

    pub(super) fn all_devices_answer_but_late(&self) {
        let at = self.now();
        self.batch(SYSTEM, DeviceState::Alive, vec![Sample::good(UPTIME, Value::U64(1), at)]);
        let speed = Sample::good(SPEED, Value::U16(50), at);
        let level = Sample::good(LEVEL, Value::F64(0.0), at);
        self.batch(PLC, DeviceState::Alive, vec![speed, level]);
        self.batch(LATE, DeviceState::Dead, vec![Sample::bad(LATE_LEVEL, Bad::NoAnswer, at)]);
    }

    pub(super) async fn is_up(&self) {
        until("the publisher is up", || self.cx.stats.state.get() == Connection::Up).await;
    }

    pub(super) async fn stop(self) {
        self.cx.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.unwrap().unwrap();
    }

    /// SIGKILL: no farewell.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(super) async fn until(what: &str, wanted: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !wanted() {
        assert!(tokio::time::Instant::now() < end, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One message as a host sees it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) kind: String,
    pub(super) device: String,
    pub(super) payload: Payload,
}

impl Seen {
    pub(super) fn bd_seq(&self) -> Option<u64> {
        let metric = self.payload.metrics.iter().find(|m| m.name.as_deref() == Some("bdSeq"))?;
        assert_eq!((metric.datatype, metric.timestamp.is_some()), (Some(4), true));
        match metric.value {
            Some(Raw::Long(v)) => Some(v),
            _ => None,
        }
    }

    pub(super) fn levels(&self) -> Vec<(f64, bool)> {
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
pub(super) struct Host {
    pub(super) client: rumqttc::AsyncClient,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    pub(super) task: JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Host {
    pub(super) async fn listen(address: SocketAddr) -> Host {
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

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn of(&self, kind: &str, device: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|m| m.kind == kind && m.device == device).collect()
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        let name = |m: Seen| if m.device.is_empty() { m.kind } else { format!("{} {}", m.kind, m.device) };
        self.seen().into_iter().map(name).collect()
    }

    pub(super) fn levels(&self) -> Vec<(f64, bool)> {
        self.of("DDATA", "plc").iter().flat_map(Seen::levels).collect()
    }

    pub(super) async fn sees(&self, what: &str, wanted: impl Fn(&Host) -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while !wanted(self) {
            assert!(tokio::time::Instant::now() < end, "not within 20 s: {what}; seen: {:#?}", self.kinds());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn say(&self, topic: &str, payload: Vec<u8>) {
        self.client.publish(topic, rumqttc::QoS::AtMostOnce, false, payload).await.unwrap();
    }

    pub(super) async fn command(&self, topic: &str, metric: Metric) {
        self.say(topic, Payload { metrics: vec![metric], ..Payload::default() }.bytes()).await;
    }

    pub(super) async fn rebirth(&self) {
        let metric = Metric {
            name: Some("Node Control/Rebirth".into()),
            value: Some(Raw::Bool(true)),
            ..Metric::default()
        };
        self.command("spBv1.0/g/NCMD/n", metric).await;
    }

    /// tck-id-payloads-sequence-num-incrementing, tck-id-topics-nbirth-seq-num, and what else always holds.
    pub(super) fn check(&self) {
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

pub(super) async fn broker() -> Broker {
    Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A born node, with its host.
pub(super) async fn plant(folder: &Path, more: &str) -> (Broker, Host, Node) {
    let broker = broker().await;
    let host = Host::listen(broker.address()).await;
    let node = Node::start(broker.address(), folder, more);
    node.all_devices_answer_but_late();
    node.is_up().await;
    host.sees("births", |h| !h.of("DBIRTH", "plc").is_empty()).await;
    (broker, host, node)
}
