//! What is learned of a device: kept over restarts of the whole gateway, shown by `fieldgate plan --learned`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fieldgate::drivers::modbus::tcp;
use fieldgate::model::{Bad, Clock, Quality, Value};
use fieldgate::supervisor::Gateway;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A device with holding registers, each holding its own number, some of which are not there.
#[derive(Debug, Clone, Default)]
struct Device(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    holes: BTreeSet<u16>,
    /// Most registers in one read; 0: as many as the protocol has.
    most: u16,
    /// Start and count of each read, and whether it was refused.
    reads: Vec<(u16, u16, bool)>,
}

impl Device {
    async fn serve(holes: &[u16], most: u16) -> (Device, u16) {
        let device = Device::default();
        *device.state() = State { holes: holes.iter().copied().collect(), most, reads: Vec::new() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = device.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(served.clone().talk(socket));
            }
        });
        (device, port)
    }

    async fn talk(self, mut socket: TcpStream) {
        let (mut input, mut out) = (Vec::new(), Vec::new());
        loop {
            while let Ok(Some(frame)) = tcp::decode(&input) {
                let (used, transaction, unit) = (frame.used, frame.transaction, frame.unit);
                out.clear();
                tcp::encode(transaction, unit, &mut out, |out| self.answer(frame.pdu, out));
                input.drain(..used);
                if socket.write_all(&out).await.is_err() {
                    return;
                }
            }
            if !matches!(socket.read_buf(&mut input).await, Ok(1..)) {
                return;
            }
        }
    }

    fn answer(&self, pdu: &[u8], out: &mut Vec<u8>) {
        let &[3, a, b, c, d] = pdu else { return out.extend_from_slice(&[pdu[0] | 0x80, 1]) };
        let (start, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let mut state = self.state();
        let holed = (start..start + count).any(|at| state.holes.contains(&at));
        let refused = holed || (state.most > 0 && count > state.most);
        state.reads.push((start, count, refused));
        if refused {
            return out.extend_from_slice(&[0x83, 2]);
        }
        out.extend_from_slice(&[3, (count * 2) as u8]);
        out.extend((start..start + count).flat_map(u16::to_be_bytes));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// All reads since the last look.
    fn reads(&self) -> Vec<(u16, u16, bool)> {
        std::mem::take(&mut self.state().reads)
    }

    fn refused(&self) -> Vec<(u16, u16)> {
        self.reads().into_iter().filter(|r| r.2).map(|(start, count, _)| (start, count)).collect()
    }
}

/// A folder with a store and a file.
struct Site {
    folder: tempfile::TempDir,
    port: u16,
}

impl Site {
    fn new(port: u16) -> Site {
        Site { folder: tempfile::tempdir().unwrap(), port }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    fn learned(&self) -> PathBuf {
        self.folder.path().join("store/learned/net%2fpump.toml")
    }

    /// A device with a tag for each of these registers; `keys` are put into its table.
    fn write(&self, keys: &str, registers: &[u16]) {
        let tags: String = registers
            .iter()
            .map(|at| format!("r{at} = {{ at = \"holding:{at}\", type = \"u16\" }}\n"))
            .collect();
        let text = format!(
            r#"
[node]
group = "plant"
name = "gw"
[scan]
default = "20ms"
[system]
enabled = false
[[link.modbus-tcp]]
name = "net"
host = "127.0.0.1"
port = {}
[store]
path = "{}"
[[device]]
name = "pump"
link = "net"
{keys}
[device.tag]
{tags}"#,
            self.port,
            self.folder.path().join("store").display()
        );
        fs::write(self.config(), text).unwrap();
    }

    /// Runs the gateway until each register that is there has its value and each other one is bad.
    async fn run(&self, registers: &[u16], holes: &[u16]) {
        let mut config = fieldgate::config::load(&fs::read_to_string(self.config()).unwrap());
        assert!(config.mistakes.is_empty(), "{:?}", config.mistakes);
        let plan = fieldgate::plan::compile(&config.config.take().unwrap(), false, None).unwrap();
        let gateway = Gateway::start(plan, Clock::system()).await;
        let settled = |at: &u16| {
            let tag = gateway.directory().find(&format!("pump/r{at}")).unwrap().id;
            let Some(sample) = gateway.store().latest(tag) else { return false };
            match holes.contains(at) {
                true => sample.quality == Quality::Bad(Bad::Refused(2)),
                false => sample.value == Some(Value::U16(*at)) && sample.quality.is_good(),
            }
        };
        let all = async {
            while !registers.iter().all(settled) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("all registers are settled");
        gateway.stop().await;
    }

    fn plan(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        let arguments = [&["plan", config.to_str().unwrap(), "--learned"], arguments].concat();
        Command::new(env!("CARGO_BIN_EXE_fieldgate")).args(arguments).output().unwrap()
    }

    fn json(&self) -> serde_json::Value {
        let output = self.plan(&["--json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

const REGISTERS: [u16; 7] = [0, 1, 2, 3, 10, 11, 12];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_no_read_is_refused_that_was_refused_before() {
    // Register 2 has a tag and is not there; 6 lies between tags.
    let (device, port) = Device::serve(&[2, 6], 0).await;
    let site = Site::new(port);
    site.write("", &REGISTERS);
    site.run(&REGISTERS, &[2]).await;
    assert!(!device.refused().is_empty(), "it has to be found out once");
    assert!(site.learned().exists());
    site.run(&REGISTERS, &[2]).await;
    assert_eq!(device.refused(), []);

    // Another plan of the same device: what is known is of the device, not of the block.
    let others = [0, 3, 4, 10, 20];
    site.write("", &others);
    site.run(&others, &[]).await;
    assert_eq!(device.refused(), []);

    // Another unit is another box.
    site.write("unit = 2", &REGISTERS);
    site.run(&REGISTERS, &[2]).await;
    assert!(!device.refused().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_takes_short_reads_only_is_asked_for_short_ones_from_the_start() {
    let (device, port) = Device::serve(&[], 8).await;
    let site = Site::new(port);
    let registers: Vec<u16> = (0..30).collect();
    site.write("", &registers);
    site.run(&registers, &[]).await;
    device.reads();
    let more: Vec<u16> = (0..40).chain(100..120).collect();
    site.write("", &more);
    site.run(&more, &[]).await;
    assert_eq!(device.refused(), []);
    let known = &site.json()["devices"][0];
    let longest = known["areas"]["holding"]["longest"].as_u64().unwrap();
    assert_eq!(known["lines"], serde_json::json!([format!("max-registers = {longest}")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_forgotten_and_everything_found_out_anew() {
    let (device, port) = Device::serve(&[2], 0).await;
    let site = Site::new(port);
    site.write("", &REGISTERS);
    site.run(&REGISTERS, &[2]).await;
    for damage in [&b"version = 1\nunit = \xFF"[..], b"", b"version = 9\nunit = 1\n", &[0; 5000]] {
        fs::write(site.learned(), damage).unwrap();
        let output = site.plan(&[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        device.reads();
        site.run(&REGISTERS, &[2]).await;
        assert!(!device.refused().is_empty());
        let text = fs::read_to_string(site.learned()).unwrap();
        assert!(text.contains("version = 1"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_learned_gives_the_lines_with_which_nothing_has_to_be_learned() {
    let (device, port) = Device::serve(&[2, 6], 0).await;
    let site = Site::new(port);
    site.write("", &REGISTERS);
    let nothing = site.plan(&[]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&nothing.stdout).contains("nothing is known yet"), "{nothing:?}");
    assert_eq!(site.json(), serde_json::json!({ "devices": [] }));

    site.run(&REGISTERS, &[2]).await;
    let text = String::from_utf8(site.plan(&[]).stdout).unwrap();
    assert!(text.contains("pump on net, unit 1"), "{text}");
    assert!(text.contains("the tag `pump/r2` (holding:2) is refused"), "{text}");
    let known = site.json()["devices"][0].clone();
    assert_eq!((&known["device"], &known["unit"]), (&"pump".into(), &1.into()));
    assert_eq!(known["refused_tags"], serde_json::json!(["pump/r2"]));
    let lines: Vec<_> = known["lines"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert!(lines[0].starts_with("holes = [\"holding:2"), "{lines:?}");
    assert!(lines.iter().all(|line| text.contains(&format!("\n{line}\n"))), "{text}");
    assert!(known["reads_per_second_with_lines"].is_number(), "{known}");

    // Pasted, and the tag that is not there removed: a gateway that knows nothing is refused nothing.
    let present: Vec<u16> = REGISTERS.into_iter().filter(|at| *at != 2).collect();
    site.write(&lines.join("\n"), &present);
    fs::remove_dir_all(site.folder.path().join("store")).unwrap();
    device.reads();
    site.run(&present, &[]).await;
    assert_eq!(device.refused(), []);
}

#[test]
fn plan_learned_says_where_nothing_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "[node]\ngroup = \"g\"\nname = \"n\"\n").unwrap();
    let program = env!("CARGO_BIN_EXE_fieldgate");
    let output = Command::new(program).arg("plan").arg(&file).arg("--learned").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("no `path` in `[store]`"), "{output:?}");
    fs::write(&file, "[node]\ngroup = 3\n").unwrap();
    let output = Command::new(program).arg("plan").arg(&file).arg("--learned").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
