//! The OPC UA server with 10,000 variables that change every second, beside servers of asyncua and node-opcua
//! with the same variables, each in a process of its own, watched by the same client in the same run.
//!
//! ```sh
//! python3 -m venv target/bench-venv && target/bench-venv/bin/pip install asyncua
//! npm install --prefix target/bench-node node-opcua    # `node` in PATH is the program itself, no wrapper
//! BENCH_PYTHON=$PWD/target/bench-venv/bin/python NODE_PATH=$PWD/target/bench-node/node_modules \
//!     cargo bench --bench opcua
//! ```
//!
//! `BENCH_TAGS`, `BENCH_CLIENTS` and `BENCH_SECONDS` are 10,000, 1 and 30 without being set; the run with
//! ten subscribers is `BENCH_CLIENTS=10`. `BENCH_SERVERS` names some of `fieldgate,asyncua,node-opcua`; one
//! whose program is not there is left out and said. CPU and memory are those of the server's process, from
//! /proc, so this runs on Linux.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fieldgate::command::Gate;
use fieldgate::model::*;
use fieldgate::publishers::opcua::OpcUa;
use fieldgate::publishers::opcua::config::{Security, Spec};
use fieldgate::publishers::publisher::{Context, Publisher};
use fieldgate::store::{Options, Store};
use fieldgate::telemetry::{Connection, Telemetry};
use opcua::client::{ClientBuilder, DataChangeCallback, IdentityToken, Session};
use opcua::types::*;
use tokio_util::sync::CancellationToken;

/// The clock's ticks of /proc/PID/stat, a constant of the system calls of Linux.
const TICKS_A_SECOND: f64 = 100.0;
const ITEMS_A_CALL: usize = 1000;

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect(name))
}

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, port, tags] = arguments.as_slice()
        && mode == "--serve"
    {
        serve(port.parse().unwrap(), tags.parse().unwrap()).await;
        return;
    }
    let tags = number("BENCH_TAGS", 10_000);
    let clients = number("BENCH_CLIENTS", 1);
    let seconds = number("BENCH_SECONDS", 30) as u64;
    let servers = std::env::var("BENCH_SERVERS").unwrap_or_else(|_| "fieldgate,asyncua,node-opcua".into());
    println!("{tags} variables that change every second, {clients} subscribers, {seconds} s each");
    println!(
        "{:<11} {:>9} {:>7} {:>10} {:>9} {:>9} {:>9} {:>8}",
        "server", "notif./s", "missed", "CPU s/10^6", "MiB", "reads/s", "CPU s/10^6", "made in"
    );
    for name in servers.split(',') {
        match start(name, tags) {
            Ok((server, port)) => measure(name, &server, port, tags, clients, seconds).await,
            Err(why) => println!("{name:<11} left out: {why}"),
        }
    }
}

/// A server's process; it ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Server {
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // What follows the name in brackets begins with the third field; 14 and 15 are user and system.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / TICKS_A_SECOND
    }

    fn mebibytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

fn start(name: &str, tags: usize) -> Result<(Server, u16), String> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rig = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/rig");
    let mut command = match name {
        "fieldgate" => {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg("--serve");
            command
        }
        "asyncua" => {
            let python = std::env::var("BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
            let mut command = Command::new(python);
            command.arg(format!("{rig}/opcua_asyncua.py"));
            command
        }
        "node-opcua" => {
            let mut command = Command::new("node");
            command.arg(format!("{rig}/opcua_node.js"));
            command
        }
        other => return Err(format!("there is no server {other}")),
    };
    let command = command.args([port.to_string(), tags.to_string()]).stdout(Stdio::piped());
    let mut server = Server(command.spawn().map_err(|error| error.to_string())?);
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    match lines.find(|line| line.as_ref().is_ok_and(|line| line == "ready")) {
        Some(_) => {}
        None => return Err("it ended without being ready".into()),
    }
    // Some installations put a script of Python's before node: its figures would be those of the script.
    let program = std::fs::read_link(format!("/proc/{}/exe", server.0.id())).unwrap();
    if name == "node-opcua" && program.file_name() != Some("node".as_ref()) {
        return Err(format!("`node` must be the program itself, and is run by {}", program.display()));
    }
    // Read on, so that a server that says more is not held up.
    std::thread::spawn(move || lines.for_each(drop));
    Ok((server, port))
}

async fn connect(port: u16) -> Arc<Session> {
    let folder = std::env::temp_dir().join(format!("opcua-bench-{}", std::process::id()));
    let mut client = ClientBuilder::new()
        .application_name("bench")
        .application_uri("urn:bench:client")
        .pki_dir(folder)
        .trust_server_certs(true)
        .max_array_length(100_000)
        .max_message_size(64 << 20)
        .session_retry_limit(0)
        .client()
        .unwrap();
    let endpoint = EndpointDescription::from((
        format!("opc.tcp://127.0.0.1:{port}/").as_str(),
        "None",
        MessageSecurityMode::None,
        UserTokenPolicy::anonymous(),
    ));
    let (session, event_loop) =
        client.connect_to_endpoint_directly(endpoint, IdentityToken::Anonymous).unwrap();
    event_loop.spawn();
    assert!(session.wait_for_connection().await);
    session
}

/// What one client was told.
#[derive(Default)]
struct Told {
    values: AtomicU64,
    missed: AtomicU64,
}

async fn measure(name: &str, server: &Server, port: u16, tags: usize, clients: usize, seconds: u64) {
    let told = Arc::new(Told::default());
    let began = Instant::now();
    let mut sessions = Vec::new();
    for _ in 0..clients {
        let session = connect(port).await;
        let uri = if name == "fieldgate" { "urn:fieldgate:bench:gateway" } else { "urn:bench" };
        let ns = session.get_namespace_index(uri).await.unwrap();
        let nodes: Vec<NodeId> = (0..tags).map(|n| NodeId::new(ns, format!("plc/t{n}"))).collect();
        subscribe(&session, &nodes, told.clone()).await;
        sessions.push((session, nodes));
    }
    let made = began.elapsed();
    // The first values of all items, and one round more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (values, cpu, since) = (told.values.load(Ordering::Relaxed), server.cpu(), Instant::now());
    told.missed.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let values = (told.values.load(Ordering::Relaxed) - values) as f64;
    let missed = told.missed.load(Ordering::Relaxed);
    let (cpu, took, memory) = (server.cpu() - cpu, since.elapsed().as_secs_f64(), server.mebibytes());

    // Reads without subscriptions.
    let (session, nodes) = sessions.swap_remove(0);
    for (other, _) in sessions {
        other.disconnect().await.ok();
    }
    let ids = session.subscription_state().lock().subscription_ids().unwrap_or_default();
    session.delete_subscriptions(&ids).await.ok();
    let (before, since) = (server.cpu(), Instant::now());
    let mut read = 0;
    while since.elapsed() < Duration::from_secs(seconds) {
        for nodes in nodes.chunks(ITEMS_A_CALL) {
            let wanted: Vec<_> = nodes.iter().cloned().map(ReadValueId::new_value).collect();
            let values = session.read(&wanted, TimestampsToReturn::Both, 0.0).await.unwrap();
            assert!(values.iter().all(|value| value.status().is_good()));
            read += values.len();
        }
    }
    let (read_cpu, read_took) = (server.cpu() - before, since.elapsed().as_secs_f64());
    session.disconnect().await.ok();
    println!(
        "{name:<11} {:>9.0} {missed:>7} {:>10.2} {memory:>9.1} {:>9.0} {:>9.2} {:>6.1} s",
        values / took,
        cpu / values * 1e6,
        read as f64 / read_took,
        read_cpu / read as f64 * 1e6,
        made.as_secs_f64()
    );
}

async fn subscribe(session: &Session, nodes: &[NodeId], told: Arc<Told>) {
    let last: Vec<AtomicU32> = nodes.iter().map(|_| AtomicU32::new(0)).collect();
    let callback = DataChangeCallback::new(move |value, item| {
        told.values.fetch_add(1, Ordering::Relaxed);
        let Some(Variant::UInt32(now)) = value.value else { return };
        let before = last[item.client_handle() as usize - 1].swap(now, Ordering::Relaxed);
        if before != 0 && now != before + 1 {
            told.missed.fetch_add(u64::from(now.abs_diff(before + 1)), Ordering::Relaxed);
        }
    });
    let every = Duration::from_millis(500);
    let subscription = session.create_subscription(every, 1000, 100, 0, 0, true, callback).await.unwrap();
    for (chunk, nodes) in nodes.chunks(ITEMS_A_CALL).enumerate() {
        let items = nodes.iter().enumerate().map(|(at, node)| MonitoredItemCreateRequest {
            item_to_monitor: ReadValueId::new_value(node.clone()),
            monitoring_mode: MonitoringMode::Reporting,
            requested_parameters: MonitoringParameters {
                client_handle: (chunk * ITEMS_A_CALL + at + 1) as u32,
                sampling_interval: 0.0,
                filter: ExtensionObject::null(),
                queue_size: 10,
                discard_oldest: true,
            },
        });
        let items = items.collect();
        let made = session.create_monitored_items(subscription, TimestampsToReturn::Both, items).await;
        assert!(made.unwrap().iter().all(|made| made.result.status_code.is_good()));
    }
}

/// The gateway's server, fed as by a poll of all tags each second.
async fn serve(port: u16, tags: usize) {
    let device = Device::plain(DeviceId(0), "plc", "net");
    let tag = |n: usize| Tag::plain(TagId(n as u32), DeviceId(0), &format!("plc/t{n}"), DataType::U32);
    let tags: Vec<Tag> = (0..tags).map(tag).collect();
    let ids: Vec<TagId> = tags.iter().map(|tag| tag.id).collect();
    let directory = Arc::new(Directory::new("bench", "gateway", vec![device], tags));
    let clock = Clock::system();
    let telemetry = Telemetry::new(clock.now());
    let options = Options::default();
    let outbox = options.reader_rules();
    let store = Store::open(options, directory.clone(), clock.clone(), telemetry.store.clone());
    let folder = std::env::temp_dir().join(format!("opcua-bench-server-{}", std::process::id()));
    let cx = Context {
        outbox,
        name: "opcua".into(),
        directory: directory.into(),
        store: store.clone(),
        gate: Gate::default(),
        stats: telemetry.publisher("opcua", "opcua"),
        telemetry,
        clock: clock.clone(),
        folder,
        stop: CancellationToken::new(),
    };
    let spec = Spec {
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        security: vec![Security::None],
        anonymous: true,
        users: Vec::new(),
        ..Spec::default()
    };
    let stats = cx.stats.clone();
    tokio::spawn(OpcUa::new(spec).run(cx));
    while stats.state.get() != Connection::Up {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("ready");
    let mut every = tokio::time::interval(Duration::from_secs(1));
    for count in 1u32.. {
        every.tick().await;
        let (at, stamp) = clock.stamp();
        let sample = |id: &TagId| Sample { stamp, ..Sample::good(*id, Value::U32(count), at) };
        // As blocks of 100 registers bring them.
        for block in ids.chunks(50) {
            let samples = block.iter().map(sample).collect();
            store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples });
        }
    }
}
