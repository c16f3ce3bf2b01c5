//! The page over real sockets.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::command::Gate;
use fieldgate::model::*;
use fieldgate::publishers::http::Http;
use fieldgate::publishers::http::config::Spec;
use fieldgate::publishers::publisher::{Context, PublishError, Publisher};
use fieldgate::store::{History, Options, Store};
use fieldgate::telemetry::{Connection, Telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A page with two devices: `pump` alive, `valve` dead.
struct Page {
    cx: Context,
    task: JoinHandle<Result<(), PublishError>>,
    address: SocketAddr,
}

fn tag(id: u32, device: u32, path: &str, kind: DataType) -> Tag {
    Tag {
        access: if id == 0 { Access::ReadWrite } else { Access::Read },
        unit: (id == 0).then(|| "m3/h".into()),
        ..Tag::plain(TagId(id), DeviceId(device), path, kind)
    }
}

fn device(id: u32, name: &str) -> Device {
    Device::plain(DeviceId(id), name, "bus-a")
}

fn context() -> Context {
    let clock = Clock::starting_at(Timestamp(1_760_000_000_000_000));
    let telemetry = Telemetry::new(clock.now());
    telemetry.link("bus-a").timeouts.add(3);
    telemetry.link("bus-a").foreign.add(5);
    telemetry.link("bus-a").state.set(Connection::Up);
    telemetry.device("pump", "bus-a").state.set(1);
    telemetry.device("valve", "bus-a").state.set(2);
    let store = Store::in_memory();
    let at = clock.now();
    store.accept(Batch {
        device: DeviceId(0),
        state: DeviceState::Alive,
        samples: vec![
            Sample::good(TagId(0), Value::F32(112.5), at),
            Sample::good(TagId(1), Value::U64(u64::MAX), at),
            Sample::uncertain(TagId(2), Value::F64(f64::NAN), Uncertain::OutOfLimits, at),
        ],
    });
    store.accept(Batch {
        device: DeviceId(1),
        state: DeviceState::Dead,
        samples: vec![Sample::bad(TagId(3), Bad::NoAnswer, at)],
    });
    let directory = Directory::new(
        "water",
        "pump-station-07",
        vec![device(0, "pump"), device(1, "valve")],
        vec![
            tag(0, 0, "pump/flow", DataType::F32),
            tag(1, 0, "pump/total/count", DataType::U64),
            tag(2, 0, "pump/odd", DataType::F64),
            tag(3, 1, "valve/name", DataType::Text),
            tag(4, 1, "valve/unread", DataType::Bool),
        ],
    );
    let labels = Arc::new(Labels::Switch { off: "shut".into(), on: "open".into() });
    let directory = directory.with_labels([(TagId(4), labels)].into());
    Context {
        outbox: fieldgate::store::Options::default().reader_rules(),
        name: "http".into(),
        directory: Arc::new(directory).into(),
        store,
        gate: Gate::default(),
        stats: telemetry.publisher("http", "http"),
        telemetry,
        clock,
        folder: PathBuf::from("."),
        stop: CancellationToken::new(),
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

async fn page() -> Page {
    serve(context()).await
}

async fn serve(cx: Context) -> Page {
    let listen = "127.0.0.1:0".parse().unwrap();
    let task = tokio::spawn(Http::new(Spec { listen }).run(cx.clone()));
    until("the page is up", || cx.stats.state.get() == Connection::Up).await;
    let address = cx.stats.address.lock().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    Page { cx, task, address }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Page {
    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)).await
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        serde_json::from_str(&answer.body).unwrap()
    }
}

#[tokio::test]
async fn the_page_comes_with_all_that_it_needs_and_a_strict_policy() {
    let page = page().await;
    let html = page.get("/").await;
    assert_eq!(html.status, 200);
    assert!(html.head.contains("content-type: text/html"));
    assert!(html.head.contains("content-security-policy: default-src 'none'"), "{}", html.head);
    assert!(html.head.contains("x-content-type-options: nosniff"));
    // Every file that the page names is served here, and no other host is named.
    let named: Vec<_> = html
        .body
        .split('"')
        .collect::<Vec<_>>()
        .windows(2)
        .filter(|w| w[0].ends_with("href=") || w[0].ends_with("src="))
        .map(|w| w[1].to_owned())
        .collect();
    assert!(named.len() >= 4, "{named:?}");
    for path in named {
        assert!(path.starts_with('/') && !path.starts_with("//"), "{path}");
        assert_eq!(page.get(&path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_tags_come_with_value_quality_and_time() {
    let page = page().await;
    let tags = page.json("/api/v1/tags").await;
    assert!(tags["now"].as_i64().unwrap() >= 1_760_000_000_000);
    let tags = tags["tags"].as_array().unwrap();
    assert_eq!(tags.len(), 5);
    assert_eq!(tags[0]["path"], "pump/flow");
    assert_eq!(tags[0]["value"], 112.5);
    assert_eq!(tags[0]["unit"], "m3/h");
    assert_eq!(tags[0]["quality"], "good");
    assert_eq!(tags[0]["writable"], true);
    assert_eq!(tags[0]["at"], 1_760_000_000_000_i64);
    assert_eq!(tags[1]["device"], "pump");
    assert_eq!(tags[1]["tag"], "total/count");
    assert_eq!(tags[1]["value"], u64::MAX.to_string());
    assert_eq!(tags[2]["value"], serde_json::Value::Null);
    assert_eq!(tags[2]["quality"], "uncertain");
    assert_eq!(tags[3]["value"], serde_json::Value::Null);
    assert_eq!(tags[3]["reason"], "no answer");
    assert_eq!(tags[4]["quality"], "bad");
    assert_eq!(tags[4]["at"], serde_json::Value::Null);
}

#[tokio::test]
async fn one_tag_is_found_by_its_path() {
    let page = page().await;
    assert_eq!(page.json("/api/v1/tags/pump/total/count").await["type"], "u64");
    assert_eq!(page.json("/api/v1/tags/pump/fl%6Fw").await["path"], "pump/flow");
    assert!(page.json("/api/v1/tags/pump/flow").await.get("labels").is_none());
    let labels = &page.json("/api/v1/tags/valve/unread").await["labels"];
    assert_eq!(*labels, serde_json::json!({"off": "shut", "on": "open"}));
    assert_eq!(page.get("/api/v1/tags/pump/none").await.status, 404);
}

#[tokio::test]
async fn the_status_names_what_does_not_work() {
    let page = page().await;
    let status = page.json("/api/v1/status").await;
    assert_eq!(status["node"]["name"], "pump-station-07");
    assert_eq!(status["devices"][0]["state"], "alive");
    assert_eq!(status["devices"][1]["state"], "dead");
    assert_eq!(status["links"][0]["timeouts"], 3);
    assert_eq!(status["links"][0]["foreign"], 5);
    assert_eq!(status["publishers"][0]["state"], "up");
    let health = page.json("/healthz").await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["problems"], serde_json::json!(["device `valve` does not answer"]));
    assert_eq!(status["health"], health);
    let alive = Batch { device: DeviceId(1), state: DeviceState::Alive, samples: Vec::new() };
    page.cx.store.accept(alive);
    assert_eq!(page.json("/healthz").await["status"], "good");
}

#[tokio::test]
async fn it_is_ready_while_something_answers_and_every_publisher_is_up() {
    let page = page().await;
    assert_eq!(page.json("/readyz").await, serde_json::json!({"ready": true, "reasons": []}));
    let unready = async |reasons: serde_json::Value| {
        let answer = page.get("/readyz").await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body, serde_json::json!({"ready": false, "reasons": reasons}));
        // It is alive all the same.
        assert_eq!(page.get("/healthz").await.status, 200);
    };
    let cloud = page.cx.telemetry.publisher("cloud", "sparkplug");
    unready(serde_json::json!(["publisher `cloud` is stopped"])).await;
    cloud.state.down("no route to host");
    unready(serde_json::json!(["publisher `cloud` is down: no route to host"])).await;
    cloud.state.set(Connection::Up);
    assert_eq!(page.get("/readyz").await.status, 200);
    let none = "no link is up with a device that answers";
    let link = page.cx.telemetry.link("bus-a");
    link.state.down("no such port");
    unready(serde_json::json!([none, "link `bus-a` is down: no such port"])).await;
    link.state.set(Connection::Up);
    let dead = Batch { device: DeviceId(0), state: DeviceState::Dead, samples: Vec::new() };
    page.cx.store.accept(dead);
    unready(serde_json::json!([none])).await;
}

#[tokio::test]
async fn the_metrics_are_in_the_text_format() {
    let page = page().await;
    let metrics = page.get("/metrics").await;
    assert!(metrics.head.contains("content-type: application/openmetrics-text"));
    let mut named = std::collections::HashSet::new();
    for line in metrics.body.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
        assert!(named.insert(name.to_owned()), "twice: {line}");
    }
    assert!(named.contains("fieldgate_device_state{device=\"valve\",link=\"bus-a\"}"), "{named:?}");
    assert!(metrics.body.contains("\nfieldgate_link_timeouts_total{link=\"bus-a\"} 3\n"));
    assert!(metrics.body.contains("\nfieldgate_link_foreign_total{link=\"bus-a\"} 5\n"));
    assert!(metrics.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn an_unknown_path_is_not_found_and_nothing_can_be_written() {
    let page = page().await;
    assert_eq!(page.get("/nothing").await.status, 404);
    let host = page.address;
    for method in ["POST", "PUT", "DELETE"] {
        let request =
            format!("{method} /api/v1/tags/pump/flow HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(page.ask(&request).await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn a_host_name_that_is_not_loopback_is_refused() {
    let page = page().await;
    for host in ["evil.example", "10.0.0.5:8080", "localhost.evil.example"] {
        let request = format!("GET /api/v1/tags HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = page.ask(&request).await;
        assert_eq!(answer.status, 403, "{host}");
        assert!(!answer.body.contains("pump"));
    }
    let absolute =
        "GET http://evil.example/api/v1/tags HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(page.ask(absolute).await.status, 403);
    assert_eq!(page.ask("GET / HTTP/1.0\r\n\r\n").await.status, 403);
    let tunnel = "GET / HTTP/1.1\r\nHost: localhost:9999\r\nConnection: close\r\n\r\n";
    assert_eq!(page.ask(tunnel).await.status, 200);
}

#[tokio::test]
async fn it_stops_also_while_a_client_holds_its_connection() {
    let page = page().await;
    let mut idle = TcpStream::connect(page.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    page.cx.stop.cancel();
    page.task.await.unwrap().unwrap();
    assert_eq!(page.cx.stats.state.get(), Connection::Stopped);
    assert!(TcpStream::connect(page.address).await.is_err());
}

#[tokio::test]
async fn a_busy_port_is_tried_again() {
    let occupant = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cx = context();
    let listen = occupant.local_addr().unwrap();
    let task = tokio::spawn(Http::new(Spec { listen }).run(cx.clone()));
    until("the port is found busy", || cx.stats.state.get() == Connection::Down).await;
    assert!(cx.stats.state.trouble().contains(&listen.to_string()));
    drop(occupant);
    until("the page is up", || cx.stats.state.get() == Connection::Up).await;
    cx.stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_assets_say_what_is_configured_and_what_the_device_says_itself() {
    let mut cx = context();
    let plate = Plate {
        is_asked: true,
        protocol: "modbus-rtu",
        address: "/dev/ttyS0".into(),
        unit: Some(3),
        manufacturer: Some("Acme".into()),
        model: None,
    };
    let directory = (*cx.directory.now()).clone().with_plates([(DeviceId(0), plate)].into());
    cx.directory = Arc::new(directory).into();
    let identity = Identity { vendor: Some("Acme".into()), running: Some(true), ..Identity::default() };
    let at = Timestamp(1_760_000_000_500_000);
    cx.store
        .identify(DeviceId(0), Identified { identity: Arc::new(identity), at, stamp: Stamp::Synchronised });
    let page = serve(cx).await;
    let assets = page.json("/api/v1/assets").await["assets"].clone();
    assert_eq!(assets.as_array().unwrap().len(), 2);
    let (pump, valve) = (&assets[0], &assets[1]);
    assert_eq!(
        (&pump["device"], &pump["unit"], &pump["state"]),
        (&"pump".into(), &3.into(), &"alive".into())
    );
    assert_eq!((&pump["protocol"], &pump["address"]), (&"modbus-rtu".into(), &"/dev/ttyS0".into()));
    assert_eq!((&pump["identity"]["vendor"], &pump["identity"]["running"]), (&"Acme".into(), &true.into()));
    assert!(pump["identity"]["model"].is_null() && pump["manufacturer"] == "Acme");
    assert_eq!(pump["identified_at"], 1_760_000_000_500_i64);
    assert_eq!(pump["first_seen"], 1_760_000_000_000_i64);
    assert!(valve["identity"].is_null() && valve["identified_at"].is_null() && valve["state"] == "dead");
    page.task.abort();
    let _ = page.cx;
}

/// Two hundred samples of `pump/flow`, one a second, and a text that CSV has to quote.
async fn with_history(folder: &std::path::Path) -> Page {
    let mut cx = context();
    let options = Options {
        path: Some(folder.join("store")),
        history: Some(History { keep: Duration::from_secs(7 * 86400), max_bytes: 512 << 20 }),
        ..Options::default()
    };
    cx.store = Store::open(options, cx.directory.now(), cx.clock.clone(), cx.telemetry.store.clone());
    let at = |n: i64| Timestamp(1_760_000_000_000_000 + n * 1_000_000);
    for n in 0..200 {
        let sample = match n {
            5 => Sample::bad(TagId(0), Bad::NoAnswer, at(n)),
            _ => Sample::good(TagId(0), Value::F32(n as f32), at(n)),
        };
        cx.store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples: vec![sample] });
        if n == 99 {
            cx.store.drain(Duration::from_secs(20)).await;
        }
    }
    let text = Sample::good(TagId(3), Value::Text("a,\"b\"".into()), at(0));
    cx.store.accept(Batch { device: DeviceId(1), state: DeviceState::Alive, samples: vec![text] });
    serve(cx).await
}

#[tokio::test]
async fn history_comes_in_pages_that_lead_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let page = with_history(folder.path()).await;
    let whole = "/api/v1/history?tag=pump/flow&from=2025-10-09T08:53:30Z&to=1760000150000000";
    let all = page.json(whole).await;
    assert_eq!(all["tag"], "pump/flow");
    assert_eq!(
        (&all["type"], &all["unit"], &all["next"]),
        (&"f32".into(), &"m3/h".into(), &serde_json::Value::Null)
    );
    let samples = all["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 140);
    let first = serde_json::json!({
        "time": "2025-10-09T08:53:30.000000Z", "value": 10.0, "quality": "good", "reason": null, "synchronised": true
    });
    assert_eq!(samples[0], first);
    assert_eq!(samples[139]["value"], 149.0);

    let (mut found, mut address) = (Vec::new(), format!("{whole}&limit=33"));
    loop {
        let answer = page.get(&address).await;
        let part: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        found.extend(part["samples"].as_array().unwrap().iter().cloned());
        let link = answer.head.lines().find_map(|line| line.strip_prefix("link: <"));
        let Some(link) = link else {
            assert_eq!(part["next"], serde_json::Value::Null);
            break;
        };
        address = link.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(&found, samples);
}

#[tokio::test]
async fn history_comes_as_csv_and_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let page = with_history(folder.path()).await;
    let answer = page.get("/api/v1/history?tag=pump/flow&from=1760000004000000&limit=3&format=csv").await;
    assert!(
        answer.head.contains("content-type: text/csv") && answer.head.contains("link: <"),
        "{}",
        answer.head
    );
    assert_eq!(
        answer.body,
        "time,value,quality,synchronised\r\n2025-10-09T08:53:24.000000Z,4,good,true\r\n\
         2025-10-09T08:53:25.000000Z,,bad: no answer,true\r\n2025-10-09T08:53:26.000000Z,6,good,true\r\n"
    );
    let request = "GET /api/v1/history?tag=valve/name HTTP/1.1\r\nHost: localhost\r\nAccept: text/csv\r\n\
                   Connection: close\r\n\r\n";
    assert_eq!(
        page.ask(request).await.body,
        "time,value,quality,synchronised\r\n2025-10-09T08:53:20.000000Z,\"a,\"\"b\"\"\",good,true\r\n"
    );

    let summed =
        "/api/v1/history?tag=pump/flow&from=2025-10-09T08:53:20Z&to=2025-10-09T08:53:45Z&interval=10s";
    for (aggregate, values) in [
        ("min", ["0.0", "10.0", "20.0"]),
        ("max", ["9.0", "19.0", "24.0"]),
        ("average", ["4.444444444444445", "14.5", "22.0"]),
        ("count", ["9", "10", "5"]),
    ] {
        let all = page.json(&format!("{summed}&aggregate={aggregate}")).await;
        let intervals = all["intervals"].as_array().unwrap();
        let found: Vec<_> = intervals.iter().map(|i| i["value"].to_string()).collect();
        assert_eq!(found, values, "{aggregate}");
        assert_eq!((&intervals[0]["good"], &intervals[0]["not_good"]), (&9.into(), &1.into()));
        assert_eq!(intervals[2]["to"], "2025-10-09T08:53:45.000000Z");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_of_history_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let page = with_history(folder.path()).await;
    for (query, status, why) in [
        ("", 400, "write the tag"),
        ("?tag=pump/no", 404, "no such tag"),
        ("?tag=pump/flow&from=yesterday", 400, "`from` is no time"),
        ("?tag=pump/flow&from=2&to=1", 400, "after"),
        ("?tag=pump/flow&limit=0", 400, "1 to 10000"),
        ("?tag=pump/flow&limit=10001", 400, "1 to 10000"),
        ("?tag=pump/flow&cursor=x", 400, "cursor"),
        ("?tag=pump/flow&format=xml", 400, "json or csv"),
        ("?tag=pump/flow&interval=1m", 400, "needs an `aggregate`"),
        ("?tag=pump/flow&aggregate=median&from=1", 400, "min, max, average or count"),
        ("?tag=pump/flow&aggregate=min", 400, "write `from`"),
        ("?tag=pump/flow&aggregate=min&from=1&interval=1s", 400, "more than 10000 intervals"),
        ("?tag=pump/flow&aggregate=min&from=1&interval=0s", 400, "cannot be 0"),
        ("?tag=pump/flow&aggregate=min&from=1&interval=soon", 400, "no duration"),
        ("?tag=pump/flow&tags=pump/odd", 400, "unknown field"),
    ] {
        let answer = page.get(&format!("/api/v1/history{query}")).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        assert!(answer.body.contains(why), "{query}: {}", answer.body);
    }
    let page = self::page().await;
    let answer = page.get("/api/v1/history?tag=pump/flow").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("[store.history]"), "{}", answer.body);
}
