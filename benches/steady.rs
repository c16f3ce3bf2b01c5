//! The gateway as a process in steady state: memory, processor time and disk writes.
//!
//! 1,000 tags that all change every second, Sparkplug at a broker on loopback, spill mode, for a minute
//! (or `-- SECONDS`); once with the OPC UA server and page, once without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod rig;

use std::time::{Duration, Instant};

use fieldgate::simulate::broker::Broker;

/// What the kernel says of a process.
struct Usage {
    at: Instant,
    cpu_ticks: u64,
    resident_kib: u64,
    peak_kib: u64,
    written: u64,
}

fn usage(pid: u32) -> Usage {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let field = |text: &str, name: &str| -> u64 {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let stat = read("stat");
    // Behind the name in brackets: user and system time are fields 14 and 15 of proc(5).
    let stat: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let (status, io) = (read("status"), read("io"));
    Usage {
        at: Instant::now(),
        cpu_ticks: stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap(),
        resident_kib: field(&status, "VmRSS:"),
        peak_kib: field(&status, "VmHWM:"),
        written: field(&io, "write_bytes:"),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(60);
    let broker = Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let north = "publish.opcua = { listen = \"127.0.0.1:0\", security = [\"none\"], anonymous = true }\n\
                 publish.http = { listen = \"127.0.0.1:0\" }";
    println!("1,000 tags changing every second, {seconds} s each:");
    for (what, rest) in [("Sparkplug alone", ""), ("with OPC UA and page", north)] {
        let (slave, _) = rig::slave().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let rest = format!("store = {{ path = \"{}\" }}\n{rest}", folder.path().join("store").display());
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, rig::config(slave, broker.address(), 1000, "1s", &rest)).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_fieldgate"))
            .arg("run")
            .arg(&file)
            .stdin(std::process::Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let published = broker.counts().published.get();
        while broker.counts().published.get() < published + 100 {
            assert!(process.try_wait().unwrap().is_none(), "the gateway ended");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (before, messages) = (usage(process.id()), broker.counts().published.get());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let (after, messages) = (usage(process.id()), broker.counts().published.get() - messages);
        process.kill().unwrap();
        process.wait().unwrap();
        let span = (after.at - before.at).as_secs_f64();
        // The kernel counts in hundredths of a second (USER_HZ).
        let cpu = (after.cpu_ticks - before.cpu_ticks) as f64 / 100.0 / span * 100.0;
        println!(
            "{what}: {:.1} MiB resident (peak {:.1}), {cpu:.2} % of a core, {} bytes written to disk, {:.1} messages/s",
            after.resident_kib as f64 / 1024.0,
            after.peak_kib as f64 / 1024.0,
            after.written - before.written,
            messages as f64 / span,
        );
    }
}
