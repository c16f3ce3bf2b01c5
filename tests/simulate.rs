//! `fieldgate simulate` as a user runs it: the real program serves a file's devices, the real program reads them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const WATER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/water.toml");
const FACTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/factory.toml");

fn fieldgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    command.args(arguments).stdin(Stdio::null()).env_remove("FIELDGATE_LOG");
    command
}

fn output(arguments: &[&str]) -> Output {
    fieldgate(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A program that runs; killed where a test fails.
struct Running(Child);

impl Running {
    /// Asks it to end; its exit code.
    fn end(&mut self) -> Option<i32> {
        let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        assert!(kill.unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A simulation, and the copy of its file.
struct Simulation {
    program: Running,
    out: BufReader<ChildStdout>,
    /// What it said when all was served.
    served: Value,
    copy: String,
    _folder: tempfile::TempDir,
}

impl Simulation {
    fn start(file: &str, more: &[&str]) -> Simulation {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.toml").to_str().unwrap().to_owned();
        let arguments = [&["simulate", file, "--adapt", &copy, "--json", "--for", "120s"], more].concat();
        let mut child = fieldgate(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let program = Running(child);
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let served = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        Simulation { program, out, served, copy, _folder: folder }
    }

    /// All tags as `fieldgate read` has them.
    fn read(&self) -> HashMap<String, Value> {
        let output = output(&["read", &self.copy, "--json"]);
        let read: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        let tags = read["tags"].as_array().unwrap().iter();
        tags.map(|tag| (tag["tag"].as_str().unwrap().to_owned(), tag.clone())).collect()
    }

    /// Ends it; what it was asked.
    fn end(mut self) -> Value {
        assert_eq!(self.program.end(), Some(0));
        let mut last = String::new();
        self.out.read_to_string(&mut last).unwrap();
        serde_json::from_str(&last).unwrap_or_else(|e| panic!("{e}: {last}"))
    }
}

#[test]
fn all_tags_of_the_examples_have_values_by_their_own_rules() {
    for (file, tags, links) in [(WATER, 92, 4), (FACTORY, 78, 5)] {
        let simulation = Simulation::start(file, &[]);
        assert_eq!(simulation.served["links"].as_array().unwrap().len(), links);
        let read = simulation.read();
        assert_eq!(read.len(), tags, "{file}");
        // Uncertain would be a value out of its limits.
        for (path, tag) in &read {
            assert_eq!(tag["quality"], "good", "{path}: {tag}");
            let name = path.split_once('/').unwrap().1;
            if tag["value"].is_string() {
                assert_eq!(tag["value"], *name);
            }
        }
        let before = &read[if file == WATER { "pumps-north/pumped" } else { "conveyor/parts" }];
        let deadline = Instant::now() + Duration::from_secs(30);
        while simulation.read()[before["tag"].as_str().unwrap()]["value"] == before["value"] {
            assert!(Instant::now() < deadline, "nothing moves");
        }
        assert!(simulation.end()["requests"].as_u64().unwrap() > 0);
    }
}

#[test]
fn what_is_written_stays_and_no_simulated_value_goes_north() {
    let simulation = Simulation::start(WATER, &[]);
    let copy = std::fs::read_to_string(&simulation.copy).unwrap();
    assert!(!copy.contains("scada.example") && !copy.contains("/var/lib/fieldgate"), "{copy}");
    for (tag, value) in
        [("chlorine/set-point", "1.25"), ("pumps-hill/mode", "2"), ("pumps-east/hand-2", "true")]
    {
        let output = output(&["write", &simulation.copy, tag, value]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    // Long enough for what moves to have moved.
    std::thread::sleep(Duration::from_millis(300));
    let read = simulation.read();
    assert_eq!(read["chlorine/set-point"]["value"], 1.25);
    assert_eq!(read["pumps-hill/mode"]["value"], 2);
    assert_eq!(read["pumps-east/hand-2"]["value"], true);
}

#[test]
fn faults_are_for_the_devices_that_they_are_wished_for() {
    let faults = ["--device", "ph", "--device", "pumps-east", "--exceptions", "every=1,code=4"];
    let simulation = Simulation::start(WATER, &faults);
    for (path, tag) in simulation.read() {
        let sick = path.starts_with("ph/") || path.starts_with("pumps-east/");
        assert_eq!(tag["quality"] == "good", !sick, "{path}: {tag}");
    }
    let tally = simulation.end();
    assert!(tally["exceptions"].as_u64().unwrap() > 0 && tally["cut"] == 0, "{tally}");
}

#[test]
fn a_serial_link_gets_the_name_that_it_is_wished_and_loses_it_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("bus");
    // What a simulation that was killed left behind is in nobody's way.
    std::os::unix::fs::symlink("/dev/pts/99999", &port).unwrap();
    let simulation = Simulation::start(WATER, &["--link", &format!("dosing-bus={}", port.display())]);
    assert!(std::fs::read_link(&port).unwrap().starts_with("/dev/pts"));
    assert!(std::fs::read_to_string(&simulation.copy).unwrap().contains(port.to_str().unwrap()));
    simulation.end();
    assert!(std::fs::symlink_metadata(&port).is_err());
}

#[test]
fn a_loopback_host_is_served_at_its_own_port() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plant.toml");
    let text = format!(
        "[node]\ngroup = \"g\"\nname = \"n\"\n[[link.modbus-tcp]]\nname = \"plc\"\nhost = \"localhost\"\nport = {port}\n\
         [[device]]\nname = \"d\"\nlink = \"plc\"\nunit = 9\n[device.tag]\na = {{ at = \"holding:7\", type = \"u16\" }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let simulation = Simulation::start(file.to_str().unwrap(), &[]);
    assert_eq!(simulation.served["links"][0]["address"], format!("127.0.0.1:{port}"));
    let url = format!("modbus-tcp://127.0.0.1:{port}/9/holding:7");
    assert_eq!(output(&["read", &url, "--type", "u16"]).status.code(), Some(0));
    // Taken: that is said.
    let second = output(&["simulate", file.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("link `plc` cannot be served"), "{}", said(&second));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for wrong in [
        &["--silence", "60s/20s"][..],
        &["--late", "every=5"],
        &["--exceptions", "2"],
        &["--noise", "200%"],
        &["--device", "chlorin"],
        &["--link", "dosing=/tmp/x"],
        &["--link", "plc-north=/tmp/x"],
        &["--device", "pumps-north", "--noise", "1%"],
        &["--keep-north"],
        &["--adapt", WATER],
    ] {
        let output = output(&[&["simulate", WATER, "--for", "1s"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", said(&output));
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
    assert_eq!(output(&["simulate", "/no/such/file.toml"]).status.code(), Some(2));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn tags(page: &str) -> Option<Vec<Value>> {
    let mut socket = TcpStream::connect(page).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(socket, "GET /api/v1/tags HTTP/1.1\r\nHost: {page}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    Some(body["tags"].as_array()?.iter().filter(|t| t["device"] != "system").cloned().collect())
}

#[test]
fn a_gateway_among_late_answers_and_noise_shows_no_wrong_value() {
    let faults = ["--late", "every=5,by=60ms", "--noise", "0.5%", "--exceptions", "2%", "--drop", "1%"];
    let simulation = Simulation::start(WATER, &faults);
    let page = format!("127.0.0.1:{}", free_port());
    // Time-outs as short as those of the bus, so that much is late in little time.
    let copy = std::fs::read_to_string(&simulation.copy).unwrap();
    let copy = copy
        .replace("127.0.0.1:8080", &page)
        .replace("host = \"127.0.0.1\"\n", "host = \"127.0.0.1\"\ntimeout = \"300ms\"\n");
    std::fs::write(&simulation.copy, copy).unwrap();
    let mut child = fieldgate(&["run", &simulation.copy]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = log.read_to_string(&mut text);
        text
    });
    let mut gateway = Running(child);
    let (mut seen, mut counts, deadline) =
        (HashMap::new(), HashMap::new(), Instant::now() + Duration::from_secs(60));
    // Until each tag was seen good, with all that this takes in between.
    while seen.len() < 92 || seen.values().any(|times| *times < 10) {
        assert!(Instant::now() < deadline, "{seen:?}");
        for tag in tags(&page).unwrap_or_default() {
            let path = tag["path"].as_str().unwrap().to_owned();
            // Out of its limits, and so wrong, would be uncertain; an alarm keeps its last state while nothing is known.
            let kept = tag["reason"] == "last known value" && path.contains("/alarm");
            assert!(tag["quality"] == "good" || tag["quality"] == "bad" || kept, "{tag}");
            if tag["quality"] != "good" {
                continue;
            }
            let name = path.split_once('/').unwrap().1;
            let value = &tag["value"];
            match name {
                "station" | "serial" => assert_eq!(value, name),
                "mode" => assert_eq!(value, 1),
                "hand-1" | "hand-2" | "refill" => assert_eq!(value, false),
                "hand-stroke" => assert_eq!(value, 50.0),
                "set-point" => assert!([2.75, 0.75, 7.5].contains(&value.as_f64().unwrap()), "{tag}"),
                "pumped" | "hours-1" | "hours-2" | "dosed" => {
                    let now = value.as_f64().unwrap();
                    let before = counts.insert(path.clone(), now).unwrap_or(now);
                    assert!(now >= before && now - before < 10_000.0, "{path}: {before}, {now}");
                }
                _ => {}
            }
            *seen.entry(path).or_insert(0) += 1;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(gateway.end(), Some(0));
    let log = log.join().unwrap();
    assert!(!log.contains("panicked"), "{log}");
    let tally = simulation.end();
    assert!(tally["late"].as_u64().unwrap() > 5, "{tally}");
}
