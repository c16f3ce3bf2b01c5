//! The commissioning tools: the real program against devices that others wrote, and against hostile ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "tools/plc.rs"]
mod plc;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fieldgate::drivers::modbus::{rtu, tcp};
use plc::device;

/// Runs the program to its end.
fn fieldgate(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_fieldgate");
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", out(output), err(output)))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{} {}", out(output), err(output)))
}

const ONLY_READS: [u8; 5] = [1, 3, 4, 17, 43];

#[test]
fn read_asks_only_for_the_chosen_tags_and_shows_them_by_the_files_rules() {
    let device = device();
    device.set(10, &[0, 0x4365]);
    device.set(20, &[1234]);
    let (_folder, file) = device.file();
    let output = fieldgate(&["read", &file, "pump-1/*", "--raw"]);
    let text = out(&output);
    assert_eq!(code(&output), 0, "{text} {}", err(&output));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(lines[0])[..4], ["pump-1/power", "229", "kW", "good"]);
    assert_eq!(cells(lines[0])[5..], ["0000", "4365"]);
    assert_eq!(cells(lines[1])[..4], ["pump-1/speed", "123.4", "rpm", "good"]);
    assert!(device.plc.memory().log.iter().all(|(unit, ..)| *unit == 1), "{:?}", device.plc.memory().log);
    let output = fieldgate(&["read", &file, "pump-1/speed", "--json"]);
    let tags = json(&output)["tags"].clone();
    assert_eq!((&tags[0]["tag"], &tags[0]["value"]), (&"pump-1/speed".into(), &123.4.into()));
    assert_eq!(tags[0]["registers"], serde_json::json!(["04d2"]));
    assert_eq!(tags.as_array().unwrap().len(), 1);
}

#[test]
fn read_tells_what_to_do_where_there_is_no_value() {
    let device = device();
    let (_folder, file) = device.file();
    let output = fieldgate(&["read", &file, "pump-3/speed"]);
    assert_eq!(code(&output), 1);
    assert!(out(&output).contains("bad: refused with exception 1"), "{}", out(&output));
    assert!(err(&output).contains("try another area"), "{}", err(&output));
    let output = fieldgate(&["read", &file, "far/value"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("link elsewhere: 127.0.0.1:1 cannot be reached"), "{}", err(&output));
    let output = fieldgate(&["read", &file, "pump-1/sped"]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("did you mean `pump-1/speed`?"), "{}", err(&output));
    assert_eq!(code(&fieldgate(&["read", "/no/such/file.toml"])), 2);
    let output = fieldgate(&["read", &device.url(77, "holding:0").replace("500ms", "50ms")]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("check power, wiring and unit number"), "{}", err(&output));
}

#[test]
fn read_by_address_needs_no_file() {
    let device = device();
    device.set(98, &[0, 0x4365, 0, 0xC365, 7]);
    let url = device.url(2, "holding:98");
    let output = fieldgate(&["read", &url, "--type", "f32", "--order", "cdab", "--count", "2", "--json"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let tags = json(&output)["tags"].clone();
    assert_eq!((&tags[0]["tag"], &tags[0]["value"]), (&"holding:98".into(), &229.0.into()));
    assert_eq!((&tags[1]["tag"], &tags[1]["value"]), (&"holding:100".into(), &(-229.0).into()));
    let output = fieldgate(&["read", &device.url(2, "40103"), "--scale", "-0.5", "--offset", "10"]);
    assert!(out(&output).starts_with("holding:102  6.5"), "{} {}", out(&output), err(&output));
    let output = fieldgate(&["read", &device.url(2, "holding:102.1")]);
    assert_eq!(code(&output), 2, "{}", err(&output));
    let output = fieldgate(&["read", &device.url(2, "holding:102.1"), "--type", "bool"]);
    assert!(out(&output).starts_with("holding:102.1  true"), "{} {}", out(&output), err(&output));
    for bad in [
        "modbus-tcp://127.0.0.1/holding:4",
        "modbus-udp://127.0.0.1/1/holding:4",
        "modbus-tcp://127.0.0.1/1/holding:4?timeouts=1s",
        "modbus-tcp://127.0.0.1/1/holding:99999",
        "modbus-rtu:///dev/null/300/holding:4",
        "modbus-rtu:///dev/null/0/holding:4",
    ] {
        let output = fieldgate(&["read", bad]);
        assert_eq!(code(&output), 2, "{bad}: {} {}", out(&output), err(&output));
        assert!(!err(&output).is_empty());
    }
}

#[test]
fn probe_finds_type_order_and_scale_and_a_map_that_counts_from_one() {
    let device = device();
    device.set(40, &[0, 0x4365]);
    let probe = |at: &str, more: &[&str]| {
        let url = device.url(1, at);
        fieldgate(&[&["probe", &url, "--expect", "229.0"], more].concat())
    };
    let output = probe("holding:40", &[]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let first = out(&output).lines().find(|l| l.starts_with(" 1")).unwrap().to_owned();
    assert!(first.contains(r#"at = "holding:40", type = "f32", order = "cdab""#), "{first}");
    device.set(40, &[0, 0]);
    device.set(60, &[2290, 0]);
    let output = probe("holding:61", &["--json"]);
    let best = json(&output)["candidates"][0].clone();
    assert_eq!((&best["at"], &best["scale"]), (&"holding:60".into(), &0.1.into()), "{best}");
    assert_eq!(best["as_asked"], false);
    // A map with a hole behind the register, and one that ends there.
    device.plc.memory().holes = BTreeSet::from([61]);
    let best = json(&probe("holding:60", &["--json"]))["candidates"][0].clone();
    assert_eq!((&best["at"], &best["type"]), (&"holding:60".into(), &"u16".into()));
    device.set(999, &[229]);
    let best = json(&probe("holding:999", &["--json"]))["candidates"][0].clone();
    assert_eq!((&best["at"], &best["scale"]), (&"holding:999".into(), &1.0.into()));
    device.plc.memory().input[300] = 229;
    let best = json(&probe("holding:300", &["--json", "--tolerance", "0.5"]))["candidates"][0].clone();
    assert_eq!(best["at"], "input:300");
    let output = probe("holding:500", &[]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("nothing explains 229"), "{}", err(&output));
    assert_eq!(code(&probe("coil:1", &[])), 2);
    assert_eq!(code(&probe("holding:1", &["--tolerance", "x"])), 2);
}

#[test]
fn scan_tcp_finds_who_answers_also_with_an_exception_and_never_writes() {
    let device = device();
    let host = format!("127.0.0.1:{}", device.port);
    let output = fieldgate(&["scan", "tcp", &host, "--units", "1-8", "--timeout", "100ms", "--json"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let units = json(&output)["units"].clone();
    let found: Vec<_> = units.as_array().unwrap().iter().map(|u| u["unit"].as_u64().unwrap()).collect();
    assert_eq!(found, [1, 2, 3]);
    let identification = &units[0]["identification"];
    assert_eq!(identification["vendor"], "Acme");
    assert_eq!((&identification["revision"], &identification["product"]), (&"2.11".into(), &"Pump".into()));
    assert_eq!(units[0]["server_id"]["text"], "Pump v2", "{units:#}");
    assert_eq!(units[0]["server_id"]["running"], true);
    assert_eq!(units[2]["said"], "exception 1");
    let log = device.plc.memory().log.clone();
    assert!(log.iter().all(|(_, function, _)| ONLY_READS.contains(function)), "{log:?}");
    let output = fieldgate(&["scan", "tcp", &host, "--units", "1", "--timeout", "100ms"]);
    assert!(!out(&output).contains('\u{1b}'), "what a device says does not reach the terminal as it is");
    assert!(out(&output).contains("Acme"), "{}", out(&output));
}

#[test]
fn scan_says_when_there_is_nobody_and_when_the_command_line_is_wrong() {
    let device = device();
    let host = format!("127.0.0.1:{}", device.port);
    let output = fieldgate(&["scan", "tcp", &host, "--units", "4-6", "--timeout", "50ms"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("no unit answers"), "{}", err(&output));
    let output = fieldgate(&["scan", "tcp", "127.0.0.1:1"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("cannot be reached"), "{}", err(&output));
    assert_eq!(code(&fieldgate(&["scan", "tcp", "127.0.0.1:0"])), 2);
    assert_eq!(code(&fieldgate(&["scan", "tcp", &host, "--units", "9-1"])), 2);
    assert_eq!(code(&fieldgate(&["scan", "serial", "/dev/null", "--units", "0"])), 2);
    let output = fieldgate(&["scan", "serial", "/dev/no-such-port"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("/dev/no-such-port cannot be opened"), "{}", err(&output));
}

/// A socket that answers each request frame with what `answer` makes of unit and PDU; nothing for nothing.
fn scripted(answer: impl Fn(u8, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &*answer));
        }
    });
    port
}

/// Unit and PDU to the PDU of the answer.
type Script = dyn Fn(u8, &[u8]) -> Option<Vec<u8>>;

fn serve(mut stream: StdStream, answer: &Script) {
    let mut input = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        input.extend_from_slice(&buffer[..read]);
        while let Ok(Some(frame)) = tcp::decode(&input) {
            let (transaction, unit, used) = (frame.transaction, frame.unit, frame.used);
            if let Some(pdu) = answer(unit, frame.pdu) {
                let mut out = Vec::new();
                tcp::encode(transaction, unit, &mut out, |out| out.extend_from_slice(&pdu));
                let _ = stream.write_all(&out);
            }
            input.drain(..used);
        }
    }
}

#[test]
fn an_identification_in_several_answers_is_put_together_and_one_without_end_is_left() {
    let port = scripted(|unit, pdu| match (unit, pdu) {
        (_, [3, ..]) => Some(vec![3, 2, 0, 0]),
        (1, [43, 14, 1, 0]) => Some(vec![43, 14, 1, 1, 0xFF, 1, 1, 0, 1, b'A']),
        (1, [43, 14, 1, 1]) => Some(vec![43, 14, 1, 1, 0xFF, 2, 1, 1, 1, b'B']),
        (1, [43, 14, 1, 2]) => Some(vec![43, 14, 1, 1, 0, 0, 1, 2, 1, b'C']),
        // Always the same page, always more.
        (2, [43, 14, ..]) => Some(vec![43, 14, 1, 1, 0xFF, 0, 1, 0, 1, b'X']),
        // Cut in the middle of an object.
        (3, [43, 14, ..]) => Some(vec![43, 14, 1, 1, 0, 0, 3, 0, 200, b'X']),
        (_, [17]) => Some(vec![0x91, 1]),
        _ => None,
    });
    let host = format!("127.0.0.1:{port}");
    let output = fieldgate(&["scan", "tcp", &host, "--units", "1-3", "--timeout", "200ms", "--json"]);
    let units = json(&output)["units"].clone();
    let identification = |at: usize| units[at]["identification"].clone();
    let whole = serde_json::json!({ "vendor": "A", "product-code": "B", "revision": "C" });
    assert_eq!(identification(0), whole);
    assert_eq!(identification(1), serde_json::json!({ "vendor": "X" }));
    assert_eq!(identification(2), serde_json::json!({}));
    assert!(units[0]["server_id"].is_null());
}

#[test]
fn a_late_answer_marks_its_own_unit_and_no_other() {
    let port = scripted(|unit, pdu| match (unit, pdu) {
        (3, [3, ..]) => {
            std::thread::sleep(Duration::from_millis(250));
            Some(vec![3, 2, 0, 0])
        }
        (6, [3, ..]) => Some(vec![0x83, 2]),
        _ => None,
    });
    let host = format!("127.0.0.1:{port}");
    let output = fieldgate(&["scan", "tcp", &host, "--units", "1-8", "--timeout", "100ms", "--json"]);
    let report = json(&output);
    let found: Vec<_> =
        report["units"].as_array().unwrap().iter().map(|u| u["unit"].as_u64().unwrap()).collect();
    assert_eq!(found, [3, 6], "{report}");
    assert!(report["hints"][0].as_str().unwrap().contains("unit 3 answers after"), "{report}");
}

#[test]
fn bytes_without_sense_end_neither_the_scan_nor_the_program() {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (at, mut stream) in listener.incoming().flatten().enumerate() {
            let mut seed = at as u32 + 1;
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(1..) = stream.read(&mut buffer) {
                    let noise = (0..300).map(|_| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (seed >> 24) as u8
                    });
                    if stream.write_all(&noise.collect::<Vec<u8>>()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let host = format!("127.0.0.1:{port}");
    let output = fieldgate(&["scan", "tcp", &host, "--units", "1-20", "--timeout", "50ms", "--json"]);
    assert_eq!(code(&output), 1, "{}", err(&output));
    assert_eq!(json(&output)["units"], serde_json::json!([]));
    let url = format!("modbus-tcp://{host}/1/holding:0?timeout=50ms");
    assert_eq!(code(&fieldgate(&["read", &url])), 1);
    assert_eq!(code(&fieldgate(&["probe", &url, "--expect", "1"])), 1);
}

/// A serial line without a wire: whoever holds `master` plays the devices.
fn cable() -> (File, File, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    // Without it reading from the master would fail whenever the program has closed its end.
    let keep = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    (File::from(master), keep, path)
}

#[test]
fn scan_serial_finds_speed_and_units_and_a_slow_one_is_not_taken_for_its_neighbour() {
    let (mut master, keep, path) = cable();
    let asked: Arc<Mutex<Vec<(u8, u8)>>> = Arc::default();
    let log = asked.clone();
    std::thread::spawn(move || {
        let mut input = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(read @ 1..) = master.read(&mut buffer) {
            input.extend_from_slice(&buffer[..read]);
            let Some((unit, pdu)) = rtu::decode(&input).map(|(unit, pdu)| (unit, pdu.to_vec())) else {
                continue;
            };
            input.clear();
            log.lock().unwrap().push((unit, pdu[0]));
            let speed = rustix::termios::tcgetattr(&keep).unwrap().output_speed();
            if speed != 19_200 {
                continue;
            }
            let answer: Vec<u8> = match (unit, pdu.as_slice()) {
                (2, [3, ..]) => vec![0x83, 2],
                (2, [17]) => vec![17, 6, 1, 0xFF, b'V', b'F', b'D', b'3'],
                (4 | 7, [3, ..]) => vec![3, 2, 0, 1],
                (7, [43, 14, 1, 0]) => vec![43, 14, 1, 1, 0, 0, 1, 0, 4, b'A', b'c', b'm', b'e'],
                (7, [43 | 17, ..]) => vec![pdu[0] | 0x80, 1],
                _ => continue,
            };
            let mut out = Vec::new();
            rtu::encode(unit, &mut out, |out| out.extend_from_slice(&answer));
            let mut line = master.try_clone().unwrap();
            // The slow one answers while others are asked.
            let slow = Duration::from_millis(if unit == 4 { 250 } else { 0 });
            std::thread::spawn(move || {
                std::thread::sleep(slow);
                line.write_all(&out).unwrap();
            });
        }
    });
    let arguments = ["scan", "serial", &path, "--units", "1-8", "--bauds", "9600,19200,38400"];
    let output =
        fieldgate(&[&arguments[..], &["--parities", "none", "--timeout", "100ms", "--json"]].concat());
    let report = json(&output);
    assert_eq!(code(&output), 0, "{report}");
    let units = report["units"].as_array().unwrap();
    let found: Vec<_> =
        units.iter().map(|u| (u["unit"].as_u64().unwrap(), u["baud"].as_u64().unwrap())).collect();
    assert_eq!(found, [(2, 19_200), (4, 19_200), (7, 19_200)], "{report}");
    assert_eq!(units[0]["server_id"]["text"], "VFD3");
    assert_eq!(units[2]["identification"]["vendor"], "Acme");
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|(_, function)| ONLY_READS.contains(function)), "{asked:?}");
}

#[test]
fn watch_prints_a_line_for_each_change_and_ends_in_time() {
    let device = device();
    device.set(20, &[100]);
    let (_folder, file) = device.file();
    let program = env!("CARGO_BIN_EXE_fieldgate");
    let mut child = Command::new(program)
        .args(["watch", &file, "pump-1/speed", "--interval", "20ms", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!((&first["tag"], &first["value"]), (&"pump-1/speed".into(), &10.0.into()));
    device.set(20, &[200]);
    assert_eq!(next()["value"], 20.0);
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let started = Instant::now();
    let output = fieldgate(&["watch", &file, "pump-1/*", "--for", "500ms"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(out(&output).lines().count(), 3, "{}", out(&output));
    assert!(out(&output).contains("pump-1/speed  20 rpm  good"), "{}", out(&output));
    let output = fieldgate(&["watch", &file, "far/value", "--for", "500ms"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("link elsewhere"), "{}", err(&output));
}

#[test]
fn write_shows_the_value_before_and_the_one_read_back() {
    let device = device();
    device.set(20, &[100]);
    let (_folder, file) = device.file();
    let output = fieldgate(&["write", &file, "pump-1/speed", "55.5"]);
    assert_eq!(code(&output), 0, "{} {}", out(&output), err(&output));
    assert_eq!(out(&output), "pump-1/speed before: 10 rpm (good)\npump-1/speed after:  55.5 rpm (good)\n");
    assert_eq!(device.plc.memory().holding[20], 555);
    device.plc.memory().most = Some(600);
    let output = fieldgate(&["write", &file, "pump-1/speed", "100", "--json"]);
    let report = json(&output);
    assert_eq!((code(&output), &report["after"]), (1, &60.0.into()), "{report}");
    assert!(err(&output).contains("does it limit the value"), "{}", err(&output));
}

#[test]
fn a_tag_that_is_only_written_is_written_and_not_read() {
    let device = device();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    let text = format!(
        "[node]\ngroup = \"g\"\nname = \"n\"\n[[link.modbus-tcp]]\nname = \"l\"\nhost = \"127.0.0.1\"\nport = {}\n\
         [[device]]\nname = \"d\"\nlink = \"l\"\nunit = 1\n[device.tag]\n\
         state = {{ at = \"holding:30\", type = \"u16\" }}\n\
         bit = {{ at = \"holding:31.2\", type = \"bool\", access = \"read-write\" }}\n\
         reset = {{ at = \"holding:40\", type = \"u16\", access = \"write-only\" }}\n",
        device.port
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let output = fieldgate(&["write", file, "d/reset", "7"]);
    assert_eq!(code(&output), 0, "{} {}", out(&output), err(&output));
    assert_eq!(
        out(&output),
        "d/reset before: unknown (bad: never read)\nd/reset after:  unknown (bad: never read)\n"
    );
    assert_eq!(device.plc.memory().holding[40], 7);
    assert!(device.plc.memory().log.iter().all(|(_, _, at)| *at == 40), "{:?}", device.plc.memory().log);
    let output = fieldgate(&["read", file]);
    assert_eq!(code(&output), 0, "{} {}", out(&output), err(&output));
    assert!(err(&output).contains("write-only"), "{}", err(&output));
    assert_eq!(code(&fieldgate(&["read", file, "d/reset"])), 1);
    // This device has no function 22, and is not written by another.
    device.plc.memory().log.clear();
    let output = fieldgate(&["write", file, "d/bit", "true"]);
    assert_eq!(code(&output), 1, "{}", out(&output));
    assert!(err(&output).contains("`bit-write = \"read-modify-write\"`"), "{}", err(&output));
    assert!(
        device.plc.memory().log.iter().all(|(_, f, _)| matches!(f, 3 | 22)),
        "{:?}",
        device.plc.memory().log
    );
}

#[test]
fn a_write_that_the_file_does_not_allow_never_reaches_the_device() {
    let device = device();
    let (_folder, file) = device.file();
    for (tag, value, exit, said) in [
        ("pump-1/state", "1", 1, "read-only"),
        ("pump-1/speed", "300.1", 1, "low is 0, high 300"),
        ("pump-1/speed", "-1", 1, "out of range"),
        ("pump-1/speed", "fast", 2, "no number"),
        ("pump-1/speed", "NaN", 2, "no number"),
        ("pump-1/*", "1", 2, "several tags"),
        ("pump-1/sped", "1", 2, "did you mean"),
    ] {
        let output = fieldgate(&["write", &file, tag, value]);
        assert_eq!(code(&output), exit, "{tag} {value}: {} {}", out(&output), err(&output));
        assert!(err(&output).contains(said), "{tag} {value}: {}", err(&output));
    }
    assert_eq!(device.plc.memory().log, [], "not even a connection is needed to refuse");
    let output = fieldgate(&["write", &file, "pump-3/speed", "1"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("refused with exception 1"), "{}", err(&output));
}
