//! Bits flip wherever they like in the store's files: it starts, serves nothing wrong, and says what is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fieldgate::store::{Durability, Options};

use super::bench::{
    Random, batch, north, number_of_some, open, options, report, rounds, run, say, take_all, take_some,
    until, weight,
};
use super::writer::Writer;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, about) = entry.map(|e| (e.path(), e.metadata().unwrap())).unwrap();
        if about.is_dir() {
            found.extend(files(&path))
        } else if about.len() > 0 {
            found.push(path)
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.metadata().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Five runs of a store, of which nobody took anything; in the state `killed` each ends by a SIGKILL.
struct State {
    kept: tempfile::TempDir,
    /// What is in it, by the run that wrote it.
    whole: BTreeMap<u32, usize>,
    /// What was called written.
    promised: BTreeSet<u32>,
    clean: bool,
}

const RUNS: u32 = 5;

impl State {
    fn new(clean: bool) -> State {
        let kept = in_memory();
        let path = kept.path().join("store");
        let mut promised = BTreeSet::new();
        for part in 0..RUNS {
            let from = part * 1_000_000;
            if !clean {
                let mut writer = Writer::start(&path, from, Durability::Spill, false);
                writer.listen(400);
                promised.extend(writer.end().handed);
                continue;
            }
            run(async {
                let (store, stats) = open(settings(&path));
                let _reader = north(&store);
                let mut samples = 0;
                for n in from..from + 600 {
                    store.accept(batch(n));
                    samples += weight(n);
                    if n % 40 == 0 {
                        until("the commit", || stats.spooled.get() >= samples).await;
                    }
                }
                store.drain(Duration::from_secs(20)).await;
            });
            promised.extend(from..from + 600);
        }
        let mut state = State { kept, whole: BTreeMap::new(), promised, clean };
        let copied = state.copied();
        assert_eq!(segments(&copied.path().join("store")).len(), RUNS as usize, "a segment a run");
        let (store, _) = open(settings(&copied.path().join("store")));
        let mut reader = north(&store);
        let all = run(take_all(&store, &mut reader));
        state.whole = all.into_iter().map(|n| (n, (n / 1_000_000) as usize)).collect();
        state
    }

    fn copied(&self) -> tempfile::TempDir {
        let folder = in_memory();
        copy(self.kept.path(), folder.path());
        folder
    }
}

/// Where a sync costs nothing: hundreds of stores are opened here.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn settings(folder: &Path) -> Options {
    let commit = Duration::from_millis(5);
    Options { durability: Durability::Always, commit, ballast: 0, ..options(folder) }
}

/// Their folders, in the order of their names; beside each lies its list of blocks.
fn segments(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.join("segments")).unwrap().map(|e| e.unwrap().path());
    let mut segments: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    segments.sort();
    segments
}

/// Flips bits anywhere in what is written; gives which segments were hit, in the order of their names, and
/// whether a list of blocks was hit more than once: it has each entry twice.
fn flip(path: &Path, flips: u64, random: &mut Random) -> (BTreeSet<usize>, bool) {
    let segments = segments(path);
    let end = |bytes: &[u8]| bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let mut all: Vec<_> = files(path)
        .into_iter()
        .map(|file| {
            let bytes = std::fs::read(&file).unwrap();
            let length = end(&bytes);
            (file, bytes, length)
        })
        .collect();
    let total: usize = all.iter().map(|(.., length)| length).sum();
    let (mut hit, mut lists, mut twice) = (BTreeSet::new(), BTreeSet::new(), false);
    for _ in 0..flips {
        let mut at = random.below(total as u64) as usize;
        for (file, bytes, length) in &mut all {
            if at < *length {
                bytes[at] ^= 1 << random.below(8);
                hit.extend(segments.iter().position(|segment| {
                    file.starts_with(segment) || file.with_extension("").with_extension("") == *segment
                }));
                if file.to_string_lossy().contains(".index") {
                    twice |= !lists.insert(file.clone());
                }
                break;
            }
            at -= *length;
        }
    }
    all.iter().for_each(|(file, bytes, _)| std::fs::write(file, bytes).unwrap());
    (hit, twice)
}

/// sled's panics on damage are caught and told by the store; a backtrace of each takes longer than the round.
fn silence_sled() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|at| at.file().contains("sled")) {
            usual(panic);
        }
    }));
}

#[test]
fn flipped_bits_cost_what_they_hit_never_the_start_and_never_a_wrong_value() {
    let (mut random, start) = (Random::new("rot"), Instant::now());
    silence_sled();
    let states = [State::new(true), State::new(false)];
    let (mut lossy, mut lost, mut counted, mut exact, mut all) = (0, 0, 0, 0, 0);
    let rounds = rounds(100);
    for round in 0..rounds {
        let state = &states[round as usize % 2];
        let folder = state.copied();
        let path = folder.path().join("store");
        let (hit, unlisted) = flip(&path, 1 + random.below(100), &mut random);
        let (store, stats) = open(settings(&path));
        assert_eq!(stats.disk_errors.get(), 0, "round {round}: the start does not fail");
        let mut reader = north(&store);
        let found = run(take_some(&store, &mut reader, number_of_some));
        let r = report(&store);
        assert!(
            found.keys().all(|n| state.whole.contains_key(n)),
            "round {round}: a record that nobody wrote"
        );
        let lacks = |n: u32| weight(n) - found.get(&n).copied().unwrap_or(0);
        let missing: Vec<u32> = state.whole.keys().copied().filter(|n| lacks(*n) > 0).collect();
        let samples: u64 = missing.iter().map(|n| lacks(*n)).sum();
        let said = stats.damaged.get() + stats.quarantined.get();
        let about = format!("round {round}, clean {}: {r:?}, {said} said, hit {hit:?}", state.clean);
        assert!(missing.iter().all(|n| hit.contains(&state.whole[n])), "only what was hit: {about}");
        assert_eq!(r.delivered, found.values().sum::<u64>(), "{about}");
        assert!(r.dropped == 0 || said > 0, "a loss is said: {about}");
        // What a kill left in the database before its write was done was promised to nobody, and is in no list.
        let promised: u64 = missing.iter().filter(|n| state.promised.contains(n)).map(|n| lacks(*n)).sum();
        exact += u32::from(!unlisted);
        assert!(unlisted || r.dropped >= promised, "each lost sample is counted: {promised} {about}");
        assert!(r.dropped <= samples, "and none that came: {samples} {about}");
        lossy += u32::from(samples > 0);
        lost += samples;
        counted += r.dropped;
        all += state.whole.keys().map(|n| weight(*n)).sum::<u64>();
    }
    say(&format!(
        "rot: {rounds} starts of {rounds}, 0 wrong; {lossy} rounds lost something, {lost} samples of {all}, {counted} \
         of them counted; to the last one in the {exact} rounds that hit no list of blocks twice; {:.0?} a round",
        start.elapsed() / rounds
    ));
    assert!(lossy > rounds / 4, "the flips hit something");
}
