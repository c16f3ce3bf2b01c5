//! Several connections of one link: a slow device among fast ones, and hosts that take few connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::command::Origin;
use fieldgate::drivers::modbus::{pdu, tcp};
use fieldgate::model::{Clock, Value};
use fieldgate::supervisor::Gateway;
use fieldgate::telemetry::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SLOW: u8 = 4;
const SLOW_ANSWER: Duration = Duration::from_millis(1500);

/// What the host saw.
#[derive(Default)]
struct Seen {
    open: usize,
    most_open: usize,
    refused: usize,
    /// Transactions under way, and the most at once, by unit.
    under_way: HashMap<u8, (usize, usize)>,
    answers: HashMap<u8, u64>,
    /// Answers of each unit while the slow one was asked.
    meanwhile: Vec<HashMap<u8, u64>>,
    written: Vec<u16>,
    writing: HashSet<u8>,
    /// Something else was under way with a unit that was written to.
    beside_a_write: bool,
}

struct Host {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// Units behind one address; one may be slow. More connections than `most` are closed.
async fn host(most: usize, slow: bool, pipelined: bool) -> Host {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Seen>>::default());
    let shared = seen.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            {
                let mut seen = shared.lock().unwrap();
                if seen.open >= most {
                    seen.refused += 1;
                    continue;
                }
                seen.open += 1;
                seen.most_open = seen.most_open.max(seen.open);
            }
            let shared = shared.clone();
            tokio::spawn(async move {
                serve(stream, &shared, slow, pipelined).await;
                shared.lock().unwrap().open -= 1;
            });
        }
    });
    Host { address, seen }
}

async fn serve(stream: TcpStream, seen: &Arc<Mutex<Seen>>, slow: bool, pipelined: bool) {
    let (mut reading, writing) = stream.into_split();
    let writing = Arc::new(tokio::sync::Mutex::new(writing));
    let mut request = [0; 12];
    while reading.read_exact(&mut request).await.is_ok() {
        let (writing, seen) = (writing.clone(), seen.clone());
        let answer = async move {
            let frame = answer(request, &seen, slow).await;
            let _ = writing.lock().await.write_all(&frame).await;
        };
        if pipelined {
            tokio::spawn(answer);
        } else {
            answer.await;
        }
    }
}

async fn answer(request: [u8; 12], seen: &Mutex<Seen>, slow: bool) -> Vec<u8> {
    let unit = request[6];
    let writes = request[7] == 6;
    let before = {
        let mut seen = seen.lock().unwrap();
        let (now, most) = seen.under_way.entry(unit).or_default();
        *now += 1;
        *most = (*most).max(*now);
        let now = *now;
        seen.beside_a_write |= now > 1 && (writes || seen.writing.contains(&unit));
        if writes {
            seen.writing.insert(unit);
        }
        seen.answers.clone()
    };
    // Those that are asked later may well be answered sooner.
    let takes = if slow && unit == SLOW {
        SLOW_ANSWER
    } else {
        Duration::from_millis(3 + u64::from(request[9]) / 10)
    };
    tokio::time::sleep(takes).await;
    let mut frame = Vec::new();
    let id = u16::from_be_bytes([request[0], request[1]]);
    let mut seen = seen.lock().unwrap();
    tcp::encode(id, unit, &mut frame, |out| match pdu::Request::decode(&request[7..]).unwrap() {
        // A value tells its unit and address.
        pdu::Request::Read { start, count, .. } => {
            out.extend_from_slice(&[3, count as u8 * 2]);
            for at in start..start + count {
                out.extend_from_slice(&[unit, at as u8]);
            }
        }
        write @ pdu::Request::WriteRegister { word, .. } => {
            seen.written.push(word);
            write.encode(out);
        }
        other => panic!("{other:?}"),
    });
    seen.under_way.get_mut(&unit).unwrap().0 -= 1;
    if writes {
        seen.writing.remove(&unit);
    }
    *seen.answers.entry(unit).or_default() += 1;
    if slow && unit == SLOW {
        let since = |(unit, n): (&u8, &u64)| (*unit, n - before.get(unit).unwrap_or(&0));
        let meanwhile = seen.answers.iter().map(since).collect();
        seen.meanwhile.push(meanwhile);
    }
    frame
}

async fn gateway(host: &Host, every: &str, lanes: &str) -> Gateway {
    let mut text = format!(
        "node = {{ group = \"g\", name = \"n\" }}\nscan = {{ all = \"{every}\" }}\n[[link.modbus-tcp]]\nname = \"net\"\n\
         host = \"127.0.0.1\"\nport = {}\n{lanes}\ntimeout = \"20s\"\n",
        host.address.port()
    );
    for unit in 1..=SLOW {
        text += &format!(
            "[[device]]\nname = \"d{unit}\"\nlink = \"net\"\nunit = {unit}\nmax-gap = 0\nidentify = false\n[device.tag]\n\
             a = {{ at = \"holding:0\", type = \"u16\", access = \"read-write\" }}\n\
             b = {{ at = \"holding:50\", type = \"u16\" }}\nc = {{ at = \"holding:90\", type = \"u16\" }}\n"
        );
    }
    let loaded = fieldgate::config::load(&text);
    let plan = fieldgate::plan::compile(&loaded.config.unwrap(), false, None).unwrap();
    Gateway::start(plan, Clock::system()).await
}

impl Host {
    fn fast_ones_went_on(&self, connections: usize) {
        let seen = self.seen.lock().unwrap();
        for meanwhile in &seen.meanwhile[1..] {
            // Three blocks every 200 ms are 22 in that time.
            assert!((1..SLOW).all(|unit| meanwhile.get(&unit).is_some_and(|n| *n >= 6)), "{meanwhile:?}");
        }
        assert_eq!(seen.most_open, connections);
    }

    /// Waits until this is so.
    async fn until(&self, what: &str, so: impl Fn(&Seen) -> bool) {
        let wait = async {
            while !so(&self.seen.lock().unwrap()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("{what}"));
    }
}

#[tokio::test]
async fn a_slow_device_takes_one_connection_and_the_fast_ones_go_on_over_the_other() {
    let host = host(8, true, false).await;
    let gateway = gateway(&host, "200ms", "connections = 2").await;
    // The first of its reads are those before its birth.
    host.until("the slow one is asked five times", |seen| seen.meanwhile.len() >= 5).await;
    host.fast_ones_went_on(2);
    gateway.stop().await;
}

#[tokio::test]
async fn no_device_has_two_transactions_at_once_also_with_writes_among_them() {
    let host = host(8, false, false).await;
    let gateway = gateway(&host, "200ms", "connections = 4").await;
    host.until("all answer", |seen| (1..=SLOW).all(|unit| seen.answers.get(&unit) >= Some(&6))).await;
    let tag = gateway.directory().tags().iter().find(|tag| &*tag.path == "d1/a").unwrap().id;
    let origin = || Origin { publisher: "test".into(), who: String::new() };
    for value in 0..20 {
        gateway.gate().write(tag, Value::U16(value), &origin()).await.unwrap();
    }
    host.until("all go on", |seen| (1..=SLOW).all(|unit| seen.answers.get(&unit) >= Some(&30))).await;
    gateway.stop().await;
    let seen = host.seen.lock().unwrap();
    assert!(seen.under_way.values().all(|(_, most)| *most == 1), "{:?}", seen.under_way);
    assert_eq!(seen.written, (0..20).collect::<Vec<_>>());
    assert!(seen.most_open > 1);
}

#[tokio::test]
async fn a_host_that_takes_one_connection_is_polled_over_that_one() {
    let host = host(1, false, false).await;
    let gateway = gateway(&host, "200ms", "connections = 4").await;
    host.until("others are refused", |seen| seen.refused > 0).await;
    let before: HashMap<u8, u64> = host.seen.lock().unwrap().answers.clone();
    host.until("all go on", |seen| {
        (1..=SLOW)
            .all(|unit| seen.answers.get(&unit).is_some_and(|n| *n >= before.get(&unit).unwrap_or(&0) + 20))
    })
    .await;
    assert_eq!(gateway.telemetry().link("net").state.get(), Connection::Up);
    for unit in 1..=SLOW {
        let device = gateway.telemetry().device(&format!("d{unit}"), "net");
        assert_eq!((device.state.get(), device.deaths.get()), (1, 0), "unit {unit}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn in_a_pipeline_a_slow_device_holds_up_nobody_on_the_same_connection() {
    let host = host(8, true, true).await;
    // Three of four are for its own blocks.
    let gateway = gateway(&host, "200ms", "pipeline = 4").await;
    host.until("the slow one is asked eight times", |seen| seen.meanwhile.len() >= 8).await;
    host.fast_ones_went_on(1);
    gateway.stop().await;
}

#[tokio::test]
async fn in_a_pipeline_reads_of_one_device_overlap_each_gets_its_own_answer_and_a_write_is_alone() {
    let host = host(8, false, true).await;
    // All that a device has is always due.
    let gateway = gateway(&host, "10ms", "pipeline = 3").await;
    host.until("all answer", |seen| (1..=SLOW).all(|unit| seen.answers.get(&unit) >= Some(&30))).await;
    let path = |path: &str| gateway.directory().tags().iter().find(|tag| &*tag.path == path).unwrap().id;
    let origin = || Origin { publisher: "test".into(), who: String::new() };
    for value in 0..20 {
        gateway.gate().write(path("d1/a"), Value::U16(value), &origin()).await.unwrap();
    }
    for unit in 1..=SLOW {
        for (tag, address) in [("a", 0_u16), ("b", 50), ("c", 90)] {
            let sample = gateway.store().latest(path(&format!("d{unit}/{tag}"))).unwrap();
            assert_eq!(sample.value, Some(Value::U16(u16::from(unit) << 8 | address)), "d{unit}/{tag}");
        }
    }
    gateway.stop().await;
    let seen = host.seen.lock().unwrap();
    assert!(seen.under_way.values().all(|(_, most)| (1..=3).contains(most)), "{:?}", seen.under_way);
    assert!(seen.under_way.values().any(|(_, most)| *most > 1));
    assert!(!seen.beside_a_write);
    assert_eq!((seen.most_open, seen.written.as_slice()), (1, (0..20).collect::<Vec<_>>().as_slice()));
}
