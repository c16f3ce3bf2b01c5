//! The store against SQLite and a plain log: the same samples, the same syncs, the same disk.
//!
//! `cargo bench --bench store -- [--backlog MiB] [--commits N] [--bulk N] [--folder PATH] [NAME…]`
//!
//! Each measurement is a process of its own, so that memory and counters are its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "store/block.rs"]
mod block;
#[path = "store/contender.rs"]
mod contender;
#[path = "store/feed.rs"]
mod feed;
#[path = "store/log.rs"]
mod log;
#[path = "store/measure.rs"]
mod measure;
#[path = "store/ours.rs"]
mod ours;
#[path = "store/sqlite.rs"]
mod sqlite;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use contender::Contender;
use feed::{BULK, COMMIT, TAGS};

/// What a child is to do: contender, phase, its number, folder.
const CHILD: &str = "FIELDGATE_BENCH_STORE";
const NAMES: [&str; 4] = ["fieldgate", "sqlite rows", "sqlite blobs", "plain log"];

fn main() {
    match std::env::var(CHILD) {
        Ok(task) => child(&task),
        Err(_) => parent(),
    }
}

// ---- a child ----

fn open(name: &str, folder: &Path) -> Box<dyn Contender> {
    match name {
        "fieldgate" => Box::new(ours::Ours::open(folder)),
        "sqlite rows" => Box::new(sqlite::Sqlite::open(folder, true)),
        "sqlite blobs" => Box::new(sqlite::Sqlite::open(folder, false)),
        _ => Box::new(log::Log::open(folder)),
    }
}

fn child(task: &str) {
    let parts: Vec<_> = task.split('|').collect();
    let [name, phase, number, folder] = parts[..] else { panic!("{task}") };
    let (number, folder): (u64, &Path) = (number.parse().unwrap(), Path::new(folder));
    std::fs::create_dir_all(folder).unwrap();
    let told = match phase {
        "commits" => append(name, folder, COMMIT, |commits, _| commits < number),
        "bulk" => append(name, folder, BULK, |_, samples| samples < number),
        "fill" => append(name, folder, BULK, |commits, _| {
            // A look at the disk is not free.
            commits % 8 != 0 || measure::disk(folder) < number << 20
        }),
        _ => drain(name, folder),
    };
    let told: Vec<_> = told.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    println!("{}", told.join(" "));
}

type Told = Vec<(&'static str, f64)>;

/// Commits of so many samples while `more` says so.
fn append(name: &str, folder: &Path, commit: usize, more: impl Fn(u64, u64) -> bool) -> Told {
    let mut store = open(name, folder);
    // What it takes to be opened is none of the samples' own.
    let (bytes, device) = (measure::written_by_process(), measure::written_to_device(folder));
    let processor = measure::processor();
    let (mut commits, mut samples, mut polls, mut sum) = (0, 0, 0, 0_u64);
    let (mut took, mut longest) = (0.0, 0.0_f64);
    while more(commits, samples) {
        // Made outside of the clock.
        let group = feed::group(polls, commit);
        polls += group.len() as u64;
        samples += group.len() as u64 * u64::from(TAGS);
        sum = group.iter().map(feed::check).fold(sum, u64::wrapping_add);
        let began = Instant::now();
        store.commit(group);
        let this = began.elapsed().as_secs_f64();
        (took, longest) = (took + this, longest.max(this));
        commits += 1;
    }
    let of = samples as f64;
    let device =
        measure::written_to_device(folder).zip(device).map_or(f64::NAN, |(now, then)| (now - then) as f64);
    let told = vec![
        ("samples", of),
        ("commits", commits as f64),
        ("rate", of / took),
        ("commit_ms", took * 1e3 / commits as f64),
        ("longest_ms", longest * 1e3),
        ("processor_us", (measure::processor() - processor) * 1e6 / of),
        ("bytes", (measure::written_by_process() - bytes) as f64 / of),
        ("device", device / of),
        ("disk", measure::disk(folder) as f64),
        ("peak", measure::peak_memory() as f64),
    ];
    // Said to the drain, which must find exactly this.
    std::fs::write(folder.with_extension("sum"), format!("{samples} {sum}")).unwrap();
    told
}

/// Opens what is there, hands out the first batch, then all.
fn drain(name: &str, folder: &Path) -> Told {
    let began = Instant::now();
    let mut store = open(name, folder);
    let (mut samples, mut sum) = (0_u64, 0_u64);
    store.drain(1, &mut |batch| {
        samples += batch.samples.len() as u64;
        sum = sum.wrapping_add(feed::check(batch));
    });
    let opened = (began.elapsed().as_secs_f64(), measure::peak_memory());
    let began = Instant::now();
    let first = samples;
    store.drain(u64::MAX, &mut |batch| {
        samples += batch.samples.len() as u64;
        sum = sum.wrapping_add(feed::check(batch));
    });
    let took = began.elapsed().as_secs_f64();
    drop(store);
    let expected = std::fs::read_to_string(folder.with_extension("sum")).unwrap();
    assert_eq!(format!("{samples} {sum}"), expected, "{name}: all that was written came back, and once");
    vec![
        ("samples", samples as f64),
        ("open_ms", opened.0 * 1e3),
        ("open_peak", opened.1 as f64),
        ("rate", (samples - first) as f64 / took),
        ("disk", measure::disk(folder) as f64),
        ("peak", measure::peak_memory() as f64),
    ]
}

// ---- the parent ----

struct Arguments {
    backlog: u64,
    commits: u64,
    bulk: u64,
    folder: Option<PathBuf>,
    names: Vec<String>,
}

fn arguments() -> Arguments {
    let mut given =
        Arguments { backlog: 500, commits: 2000, bulk: 5_000_000, folder: None, names: Vec::new() };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{text} is no number"));
        match word.as_str() {
            "--backlog" => given.backlog = number(value()),
            "--commits" => given.commits = number(value()),
            "--bulk" => given.bulk = number(value()),
            "--folder" => given.folder = Some(value().into()),
            name => given.names.push(name.to_owned()),
        }
    }
    given
}

fn ask(name: &str, phase: &str, number: u64, folder: &Path) -> HashMap<String, f64> {
    let program = std::env::current_exe().unwrap();
    let task = format!("{name}|{phase}|{number}|{}", folder.display());
    let output = Command::new(program).env(CHILD, task).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}, {phase}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let pair = |pair: &str| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.parse().unwrap_or(f64::NAN)));
    text.split_whitespace().filter_map(pair).collect()
}

fn parent() {
    let given = arguments();
    let place = given.folder.clone().unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned());
    std::fs::create_dir_all(&place).unwrap();
    let root = tempfile::tempdir_in(&place).unwrap();
    println!("in {}; every commit is synced; the page cache is warm at each drain\n", place.display());
    let chosen = |name: &&&str| given.names.is_empty() || given.names.iter().any(|n| n == **name);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);

    let phases = [
        ("commits", given.commits, format!("{COMMIT} samples a commit (1,000 samples/s, every 250 ms)")),
        ("bulk", given.bulk, format!("bulk, {BULK} samples a commit")),
        ("fill", given.backlog, format!("a backlog of {} MiB on the disk", given.backlog)),
    ];
    for (phase, number, title) in phases {
        if number == 0 {
            continue;
        }
        println!("## {title}\n");
        println!(
            "| | samples | append, samples/s | ms a commit | longest | µs processor a sample | bytes written a sample: process | device | on disk, MiB | memory while appending, MiB | open, ms | memory then | drain, samples/s | memory while draining | on disk then, MiB |"
        );
        println!("|{}", "---|".repeat(15));
        for (at, name) in NAMES.iter().enumerate().filter(|(_, name)| chosen(name)) {
            let folder = root.path().join(format!("{phase}-{at}"));
            let put = ask(name, phase, number, &folder);
            let got = ask(name, "drain", 0, &folder);
            println!(
                "| {name} | {:.0} | {:.0} | {:.2} | {:.1} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} | {:.1} | {:.1} |",
                put["samples"],
                put["rate"],
                put["commit_ms"],
                put["longest_ms"],
                put["processor_us"],
                put["bytes"],
                put["device"],
                mib(put["disk"]),
                mib(put["peak"]),
                got["open_ms"],
                mib(got["open_peak"]),
                got["rate"],
                mib(got["peak"]),
                mib(got["disk"]),
            );
            let _ = std::fs::remove_dir_all(&folder);
        }
        println!();
    }
}
