//! The process whose end is sudden: this test program again, told by its environment to write to a store.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use fieldgate::store::{Durability, Next, Options, Settled};

use super::bench::{batch, north, number, open, options, run, weight};
use super::sync::LIES;

/// The folder, the first number, and the durability of the child.
const FOLDER: &str = "FIELDGATE_TEST_WRITER_FOLDER";
const FROM: &str = "FIELDGATE_TEST_WRITER_FROM";
const SPILLS: &str = "FIELDGATE_TEST_WRITER_SPILLS";

/// As the child has it open, and the parent after it.
pub(crate) fn settings(folder: &Path, durability: Durability) -> Options {
    let (commit, spill_after) = (Duration::from_millis(4), Duration::from_millis(15));
    Options { durability, commit, spill_after, ..options(folder) }
}

fn tell(word: &str, n: u32) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word} {n}").unwrap();
    out.flush().unwrap();
}

/// The child's part; nothing when this is run as any other test.
#[test]
fn child() {
    let (Ok(folder), Ok(from)) = (std::env::var(FOLDER), std::env::var(FROM)) else { return };
    let from: u32 = from.parse().unwrap();
    if std::env::var_os(SPILLS).is_some() { spills(&folder, from) } else { writes_always(&folder, from) }
}

/// Accepts, and tells each number that it was handed; settles every third of them after it has told so, and
/// tells at times up to which number all that it settled is so on the disk.
fn writes_always(folder: &str, from: u32) {
    run(async {
        let (store, stats) = open(settings(folder.as_ref(), Durability::Always));
        let mut reader = north(&store);
        let mut n = from;
        // The last number that was settled, and how often a cursor had been on the disk by then.
        let mut waits = None;
        loop {
            // The next may have been on its way already, without this number; the one after it has it.
            if let Some((n, _)) = waits.take_if(|(_, seen)| stats.cursors.get() >= *seen + 2) {
                tell("kept", n);
            }
            for _ in 0..7 {
                store.accept(batch(n));
                n += 1;
            }
            for _ in 0..7 {
                // What an earlier round left comes in between and is not settled.
                let (seq, got) = loop {
                    if let Next::Live(seq, got) = reader.next().await {
                        break (seq, got);
                    }
                };
                if stats.disk_errors.get() > 0 {
                    tell("trouble", 0);
                    std::process::exit(1);
                }
                let n = number(&got);
                let settles = n.is_multiple_of(3);
                tell(if settles { "settled" } else { "handed" }, n);
                if settles {
                    reader.settle(seq, Settled::Sent);
                    // Late enough to be about many.
                    if n >= from + 100 {
                        waits.get_or_insert((n, stats.cursors.get()));
                    }
                }
            }
        }
    });
}

/// Accepts and takes nothing: all spills in the order of its numbers, and each is told when the store
/// says that it is on the disk.
fn spills(folder: &str, from: u32) {
    let (store, stats) = open(settings(folder.as_ref(), Durability::Spill));
    let _reader = north(&store);
    let (mut n, mut told, mut samples) = (from, from, 0);
    loop {
        for _ in 0..9 {
            store.accept(batch(n));
            n += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
        if stats.disk_errors.get() > 0 {
            tell("trouble", 0);
            std::process::exit(1);
        }
        while told < n && stats.spooled.get() >= samples + weight(told) {
            samples += weight(told);
            tell("handed", told);
            told += 1;
        }
    }
}

/// A child that writes.
pub(crate) struct Writer {
    child: Child,
    output: BufReader<ChildStdout>,
    told: Told,
}

/// What it promised.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) handed: BTreeSet<u32>,
    pub(crate) settled: BTreeSet<u32>,
    /// Numbers up to which all that was settled is so for good.
    pub(crate) kept: BTreeSet<u32>,
}

impl Writer {
    pub(crate) fn start(folder: &Path, from: u32, durability: Durability, lies: bool) -> Writer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "writer::child", "--nocapture"]);
        command.env(FOLDER, folder).env(FROM, from.to_string());
        if durability == Durability::Spill {
            command.env(SPILLS, "1");
        }
        if lies {
            command.env(LIES, "1");
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Writer { child, output, told: Told::default() }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Reads so many lines of what it tells.
    pub(crate) fn listen(&mut self, lines: u64) {
        for _ in 0..lines {
            assert!(self.line(), "the writer ended by itself");
        }
    }

    /// Reads until something that was settled is so for good.
    pub(crate) fn listen_until_kept(&mut self) {
        while self.told.kept.is_empty() {
            self.listen(1);
        }
    }

    fn line(&mut self) -> bool {
        let mut line = String::new();
        if self.output.read_line(&mut line).unwrap() == 0 {
            return false;
        }
        // A line that the kill cut in two has no end, and a number cut in two is not what was told.
        let Some(line) = line.strip_suffix('\n') else { return true };
        assert!(!line.contains("trouble"), "the disk was well when this was told");
        // The test harness writes its own words to the same output.
        for (word, all) in [
            ("handed ", &mut self.told.handed),
            ("settled ", &mut self.told.settled),
            ("kept ", &mut self.told.kept),
        ] {
            if let Some(n) = line.rsplit_once(word).and_then(|(_, n)| n.trim().parse().ok()) {
                all.insert(n);
            }
        }
        true
    }

    /// Kills it, and gives all that it had told until then.
    pub(crate) fn end(mut self) -> Told {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while self.line() {}
        std::mem::take(&mut self.told)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
