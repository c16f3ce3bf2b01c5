//! `fieldgate store`: the real program on a store that a gateway has left, or still has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/directory.rs"]
mod directory;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::model::*;
use fieldgate::store::{Next, Options, Reader, ReaderOptions, Settled, Store};

const START: i64 = 1_700_000_000_000_000;

struct Bench {
    folder: tempfile::TempDir,
    config: String,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gateway.toml");
        let store = folder.path().join("store");
        let text = format!("[node]\ngroup = \"g\"\nname = \"n\"\n[store]\npath = \"{}\"\n", store.display());
        std::fs::write(&config, text).unwrap();
        Bench { config: config.display().to_string(), folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// `fieldgate store WHAT CONFIG …`
    fn run(&self, what: &str, more: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_fieldgate");
        let mut command = Command::new(program);
        command.args(["store", what, &self.config]).args(more).stdin(Stdio::null());
        // The copies that are read lie here, and are gone afterwards.
        command.env("TMPDIR", self.tmp()).output().unwrap()
    }

    fn tmp(&self) -> PathBuf {
        let tmp = self.folder.path().join("tmp");
        std::fs::create_dir_all(&tmp).unwrap();
        tmp
    }

    fn open(&self) -> Arc<Store> {
        let directory = Arc::new(directory::directory(&["a", "b"]));
        let options =
            Options { path: Some(self.path()), spill_after: Duration::from_millis(20), ..Options::default() };
        Store::open(options, directory, Clock::starting_at(Timestamp(START)), Arc::default())
    }

    /// A stopped gateway's store: of 1,000 samples `cloud` has still to get the last 900, `site` all.
    async fn left(&self) {
        let store = self.open();
        let (mut cloud, site) = (reader(&store, "cloud"), reader(&store, "site"));
        (0..1000).for_each(|n| store.accept(batch(n)));
        settle(&mut cloud, 100).await;
        drop((cloud, site));
        store.drain(Duration::from_secs(20)).await;
    }

    /// Every file of the store with its content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.path(), &mut found);
        found
    }
}

fn reader(store: &Store, name: &str) -> Reader {
    store.reader(name, ReaderOptions { durable: true, rules: None })
}

fn batch(n: u32) -> Batch {
    let sample = Sample::good(TagId(n % 2), Value::U32(n), Timestamp(START + i64::from(n)));
    Batch { device: DeviceId(0), state: DeviceState::Alive, samples: vec![sample] }
}

async fn settle(reader: &mut Reader, count: usize) {
    for _ in 0..count {
        let next = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("a batch");
        let (Next::Live(seq, _) | Next::History(seq, _)) = next;
        reader.settle(seq, Settled::Sent);
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{} {}", out(output), err(output)))
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", out(output), err(output)))
}

/// The values of an export in JSON lines.
fn values(output: &Output) -> Vec<u64> {
    let line =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["value"].as_u64().unwrap();
    out(output).lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_a_running_gateway_has_on_its_disk() {
    let bench = Bench::new();
    let output = bench.run("status", &[]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("no gateway has run with it yet"), "{}", err(&output));
    let store = bench.open();
    let _site = reader(&store, "site");
    (0..1000).for_each(|n| store.accept(batch(n)));
    let deadline = Instant::now() + Duration::from_secs(30);
    let status = loop {
        let output = bench.run("status", &["--json"]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        let status = json(&output);
        if status["samples"] == 1000 {
            break status;
        }
        assert!(Instant::now() < deadline, "{status}");
    };
    let site = &status["publishers"][0];
    assert_eq!(
        (&site["name"], &site["pending"], &site["exact"]),
        (&"site".into(), &1000.into(), &true.into())
    );
    assert_eq!((site["oldest"].as_i64(), site["newest"].as_i64()), (Some(START), Some(START + 999)));
    assert!(status["bytes"].as_u64().unwrap() > 0 && status["next"].as_u64().unwrap() > 1000, "{status}");
    assert_eq!(
        (&status["segments"], &status["quarantined"], &status["unlisted"]),
        (&1.into(), &0.into(), &0.into())
    );
    // Where the system does not tell who has locked a file, nothing is said of it.
    if let Some(holder) = status["held_by"].as_str() {
        assert!(holder.ends_with(&format!("process {}", std::process::id())), "{holder}");
        assert!(status["missing"][0].as_str().unwrap().contains("/metrics"), "{status}");
    }
    store.accept(batch(1000));
    assert_eq!(code(&bench.run("verify", &[])), 1, "a running gateway writes");
    let output = bench.run("purge", &["--all", "--yes"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("stop the gateway first"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_that_a_block_settled_in_part_is_not_exact() {
    let bench = Bench::new();
    bench.left().await;
    let status = json(&bench.run("status", &["--json"]));
    let (cloud, site) = (&status["publishers"][0], &status["publishers"][1]);
    assert_eq!((&cloud["name"], &site["name"]), (&"cloud".into(), &"site".into()));
    let pending = cloud["pending"].as_u64().unwrap();
    assert!(pending == 900 && cloud["exact"] == true || pending > 900 && cloud["exact"] == false, "{cloud}");
    assert_eq!((&site["pending"], &site["exact"]), (&1000.into(), &true.into()));
    assert_eq!(status["held_by"], serde_json::Value::Null);
    let text = out(&bench.run("status", &[]));
    assert!(text.contains("1000 samples") && text.contains("2023-11-14T22:13:20.000Z"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_each_damage() {
    let bench = Bench::new();
    bench.left().await;
    let before = bench.files();
    let output = bench.run("verify", &["--json"]);
    assert_eq!(code(&output), 0, "{} {}", out(&output), err(&output));
    let found = json(&output);
    assert_eq!((&found["samples"], &found["damage"]), (&1000.into(), &serde_json::json!([])));
    assert_eq!(bench.files(), before, "it only reads");
    assert_eq!(std::fs::read_dir(bench.tmp()).unwrap().count(), 0, "no copy is left");

    // A cursor, the sequence number and a block.
    std::fs::write(bench.path().join("readers/cloud.cursor"), [7; 8192]).unwrap();
    std::fs::write(bench.path().join("sequence"), [7; 8192]).unwrap();
    let (database, mut bytes) =
        before.into_iter().filter(|(path, _)| path.ends_with("db")).max_by_key(|(_, b)| b.len()).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        bytes[at] ^= 0x10;
    }
    std::fs::write(&database, bytes).unwrap();
    let output = bench.run("verify", &["--json"]);
    assert_eq!(code(&output), 1);
    let damage = json(&output)["damage"].clone();
    let has = |place: &str| {
        damage.as_array().unwrap().iter().any(|d| d["place"].as_str().unwrap().starts_with(place))
    };
    for place in ["readers/cloud.cursor", "sequence", "segments/segment-"] {
        assert!(has(place), "{place}: {damage}");
    }
    let text = err(&bench.run("verify", &[]));
    assert!(text.contains("the cursor of `cloud` is damaged"), "{text}");
    assert!(bench.path().join("segments").read_dir().unwrap().count() > 0, "nothing is moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_prints_what_is_undelivered_and_changes_nothing() {
    let bench = Bench::new();
    bench.left().await;
    let before = bench.files();
    let cloud = bench.run("export", &["--publisher", "cloud"]);
    assert_eq!(code(&cloud), 0, "{}", err(&cloud));
    assert_eq!(values(&cloud), (100..1000).collect::<Vec<_>>());
    for more in [&[][..], &["--all"], &["--publisher", "site"]] {
        assert_eq!(values(&bench.run("export", more)), (0..1000).collect::<Vec<_>>(), "{more:?}");
    }
    let first = out(&cloud).lines().next().unwrap().to_owned();
    let line: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&line["path"], &line["quality"]), (&"d/a".into(), &"good".into()));
    assert_eq!((&line["us"], &line["synchronised"]), (&(START + 100).into(), &true.into()));
    assert_eq!(line["time"], "2023-11-14T22:13:20.000100Z");

    let file = bench.folder.path().join("out.csv").display().to_string();
    let output = bench.run("export", &["--format", "csv", "--publisher", "cloud", "--out", &file]);
    assert_eq!((code(&output), out(&output).as_str()), (0, ""));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 901);
    assert_eq!(lines[0], "path,time,us,value,quality,synchronised");
    assert_eq!(lines[2], format!("d/b,2023-11-14T22:13:20.000101Z,{},101,good,true", START + 101));
    assert_eq!(bench.files(), before, "the store is as it was");
    assert_eq!(std::fs::read_dir(bench.tmp()).unwrap().count(), 0, "no copy is left");

    let output = bench.run("export", &["--publisher", "clod"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("only `cloud`, `site`"), "{}", err(&output));
    // And the gateway goes on with it.
    let store = bench.open();
    let mut cloud = reader(&store, "cloud");
    settle(&mut cloud, 900).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_drops_what_waits_for_one_publisher_and_for_no_other() {
    let bench = Bench::new();
    bench.left().await;
    let before = bench.files();
    let output = bench.run("purge", &["--publisher", "cloud"]);
    assert_eq!(code(&output), 2);
    assert!(
        err(&output).contains("with --yes it would drop 900 undelivered samples of 2023-"),
        "{}",
        err(&output)
    );
    assert_eq!(bench.files(), before);
    assert_eq!(code(&bench.run("purge", &[])), 2, "one publisher or all has to be said");

    let output = bench.run("purge", &["--publisher", "cloud", "--yes"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("dropped 900 undelivered samples") && out(&output).contains("`cloud`"));
    let store = bench.open();
    let (mut cloud, mut site) = (reader(&store, "cloud"), reader(&store, "site"));
    let pending =
        |store: &Store| store.readers().iter().map(|r| (r.name.clone(), r.pending)).collect::<Vec<_>>();
    assert_eq!(pending(&store), [("cloud".into(), 0), ("site".into(), 1000)]);
    store.accept(batch(1000));
    settle(&mut cloud, 1).await;
    settle(&mut site, 1001).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_of_all_leaves_an_empty_store_that_counts_on() {
    let bench = Bench::new();
    bench.left().await;
    let next = json(&bench.run("status", &["--json"]))["next"].as_u64().unwrap();
    let output = bench.run("purge", &["--all", "--yes"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("dropped 1000 undelivered samples"), "{}", out(&output));
    let status = json(&bench.run("status", &["--json"]));
    assert_eq!((&status["segments"], &status["publishers"]), (&0.into(), &serde_json::json!([])));
    let store = bench.open();
    let mut cloud = reader(&store, "cloud");
    store.accept(batch(0));
    let (Next::Live(seq, _) | Next::History(seq, _)) =
        tokio::time::timeout(Duration::from_secs(20), cloud.next()).await.unwrap();
    assert!(seq.0 >= next, "no sequence number is used twice");
}

#[test]
fn a_file_without_a_store_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, "[node]\ngroup = \"g\"\nname = \"n\"\n").unwrap();
    for what in ["status", "verify", "export"] {
        let output = Command::new(env!("CARGO_BIN_EXE_fieldgate"))
            .args(["store", what])
            .arg(&config)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(code(&output), 2, "{what}");
        assert!(err(&output).contains("has no `path` in [store]"), "{}", err(&output));
    }
}
