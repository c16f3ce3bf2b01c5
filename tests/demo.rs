//! The demo as a user runs it: the real program, both sites, and their configuration files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Two demos that start at once could choose the same port.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn fieldgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    command.args(arguments).stdin(Stdio::null()).env_remove("FIELDGATE_LOG");
    command
}

/// A demo that runs; killed where a test fails.
struct Demo {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Demo {
        let arguments = [&["demo", "--for", "90s"], arguments].concat();
        let mut child = fieldgate(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Demo { child, out, said: String::new() }
    }

    /// Reads until a line holds this; gives the line.
    fn wait_for(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).unwrap();
            assert!(read > 0, "no `{part}` in:\n{}", self.said);
            self.said.push_str(&line);
            if line.contains(part) {
                return line;
            }
        }
    }

    /// What stands behind the name in the list of addresses.
    fn address(&mut self, name: &str, scheme: &str) -> String {
        let line = self.wait_for(&format!("  {name} "));
        let url = line.split_whitespace().find(|word| word.starts_with(scheme)).unwrap();
        url[scheme.len()..].trim_end_matches('/').to_owned()
    }

    fn end(mut self) -> (ExitStatus, String) {
        self.out.read_to_string(&mut self.said).unwrap();
        let status = self.child.wait().unwrap();
        (status, std::mem::take(&mut self.said))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(host: &str, path: &str) -> Option<Value> {
    let mut socket = TcpStream::connect(host).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).ok()
}

/// Waits until the condition gives something.
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Tags of the field that are not good; one device is silent now and then.
fn not_good(tags: &Value) -> Vec<String> {
    let field = tags["tags"].as_array().unwrap().iter();
    let field = field.filter(|t| t["device"] != "system" && t["device"] != "turbidity");
    field
        .filter(|t| t["quality"] != "good")
        .map(|t| format!("{}: {} {}", t["path"], t["quality"], t["reason"]))
        .collect()
}

/// The demo shows good values of all devices, moves on, and ends when it is told to.
fn shows_a_working_gateway(site: &str, devices: usize, moving: &[&str]) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let mut demo = Demo::start(&["--site", site]);
    let mqtt = demo.address("MQTT", "mqtt://");
    let opcua = demo.address("OPC UA", "opc.tcp://");
    let page = demo.address("page", "http://");
    for address in [&mqtt, &opcua, &page] {
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        until(address, || TcpStream::connect(address).ok());
    }
    let mut last = vec!["no answer".to_owned()];
    let tags = until("all tags are good", || {
        let tags = get(&page, "/api/v1/tags")?;
        last = not_good(&tags);
        last.is_empty().then_some(tags)
    });
    let names: std::collections::BTreeSet<_> =
        tags["tags"].as_array().unwrap().iter().map(|t| t["device"].as_str().unwrap()).collect();
    // And the gateway itself.
    assert_eq!(names.len(), devices + 1, "{names:?}");
    for tag in moving {
        let path = format!("/api/v1/tags/{tag}");
        let value = || get(&page, &path).map(|t| t["value"].clone());
        let first = until(tag, value);
        until(&format!("{tag} moves on"), || value().filter(|v| *v != first));
    }
    let loads = demo.wait_for("load ");
    assert!(loads.contains('%'), "{loads}");
    demo.wait_for("outbox");
    let killed = Command::new("sh").args(["-c", &format!("kill -TERM {}", demo.child.id())]).status();
    assert!(killed.unwrap().success());
    let (status, said) = demo.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("ended after") && said.contains(" 0 lost"), "{said}");
}

#[test]
fn the_water_utility_shows_good_values_that_move() {
    shows_a_working_gateway("water", 6, &["pumps-north/level", "chlorine/residual"]);
}

#[test]
fn the_factory_shows_good_values_that_move() {
    shows_a_working_gateway("factory", 5, &["weld-cell-1/spots", "conveyor/parts"]);
}

#[test]
fn a_demo_ends_by_itself_and_leaves_nothing() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let temp = tempfile::tempdir().unwrap();
    let output = fieldgate(&["demo", "--for", "4s"]).env("TMPDIR", temp.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("6 of 6 devices alive"), "{said}");
    assert!(said.contains("ended after 4 s"), "{said}");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for wrong in [&["--for", "30"][..], &["--site", "moon"], &["--broker", "http://127.0.0.1:1883"]] {
        let output = fieldgate(&[&["demo"], wrong].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}

/// How many files of a folder each of these commands is content with, without a warning.
fn good(folder: &str, commands: &[&str]) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = paths.filter(|path| path.is_file()).collect();
    for (path, command) in files.iter().flat_map(|path| commands.iter().map(move |command| (path, command))) {
        let output = fieldgate(&[command, path.to_str().unwrap()]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{command} {}:\n{out}{err}", path.display());
        assert!(err.is_empty(), "{command} {}:\n{err}", path.display());
    }
    files.len()
}

#[test]
fn every_example_is_good() {
    assert!(good("config/examples", &["check", "test"]) >= 2);
}

#[test]
fn every_example_for_a_cloud_is_good() {
    assert_eq!(good("config/examples/cloud", &["check"]), 9);
}
