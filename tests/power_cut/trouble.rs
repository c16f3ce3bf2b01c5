//! A disk that is full, read-only, forbidden, gone, or does not sync; and files that are not what they should be.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::store::{Durability, Next, Options, Reader, Settled, Store};
use fieldgate::telemetry::StoreStats;

use super::bench::{
    balanced, batch, north, number, open, open_at, options, report, run, say, skipped, take_all, until,
    weight,
};
use super::mounts::{Cut, Mount};
use super::sync::Fails;

const NOT_ROOT: &str = "only root can mount a file system";
const DRAIN: Duration = Duration::from_secs(20);

/// A store that writes all, with its one reader, and the count of what it accepted.
struct Bench {
    store: Arc<Store>,
    stats: Arc<StoreStats>,
    reader: Reader,
    accepted: u32,
    samples: u64,
}

impl Bench {
    fn open(options: Options) -> Bench {
        let (store, stats) = open(options);
        let reader = north(&store);
        Bench { store, stats, reader, accepted: 0, samples: 0 }
    }

    fn accept(&mut self, count: u32) {
        for _ in 0..count {
            self.store.accept(batch(self.accepted));
            self.samples += weight(self.accepted);
            self.accepted += 1;
        }
        balanced(&self.store, self.samples);
    }

    /// The gateway goes on: what is accepted now is delivered now.
    async fn delivers(&mut self) {
        let wanted = self.accepted;
        self.accept(1);
        loop {
            let next = tokio::time::timeout(DRAIN, self.reader.next()).await.expect("it delivers");
            let (Next::Live(seq, got) | Next::History(seq, got)) = next;
            self.reader.settle(seq, Settled::Sent);
            balanced(&self.store, self.samples);
            if number(&got) == wanted {
                return;
            }
        }
    }

    async fn spools_again(&mut self) -> Duration {
        let (before, start) = (self.stats.spooled.get(), Instant::now());
        while self.stats.spooled.get() == before {
            assert!(start.elapsed() < DRAIN, "the spool works again");
            self.accept(1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        start.elapsed()
    }
}

fn always(folder: &Path) -> Options {
    Options { durability: Durability::Always, commit: Duration::from_millis(10), ..options(folder) }
}

/// A store in `folder` with so many records that nobody took.
fn filled(folder: &Path, records: u32) {
    let (store, _) = open(Options { ballast: 1 << 20, ..options(folder) });
    let reader = north(&store);
    (0..records).for_each(|n| store.accept(batch(n)));
    drop(reader);
    run(store.drain(DRAIN));
}

#[test]
fn the_ballast_goes_first_when_the_disk_is_full_and_comes_back_with_the_room() {
    let name = "the_ballast_goes_first_when_the_disk_is_full_and_comes_back_with_the_room";
    for kind in ["ext4", "tmpfs"] {
        let mount = if kind == "ext4" { Mount::ext4(48) } else { Mount::tmpfs("32m") };
        let Some(mount) = mount else { return skipped(name, NOT_ROOT) };
        run(async {
            let mut bench = Bench::open(always(&mount.path().join("store")));
            until("the ballast", || bench.stats.ballast_bytes.get() >= 8 << 20).await;
            assert_eq!((bench.stats.disk_full.get(), bench.stats.spool_bytes.get()), (0, 0), "{kind}");
            bench.accept(100);
            until("the first commit", || bench.stats.spooled.get() == bench.samples).await;
            let filler = mount.fill();
            let start = Instant::now();
            // sled takes room a piece at a time.
            while bench.stats.disk_full.get() == 0 {
                assert!(start.elapsed() < DRAIN, "{kind}: the disk is full");
                bench.accept(500);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            until("all of it on the disk", || bench.stats.spooled.get() >= bench.samples).await;
            assert_eq!((bench.stats.ballast_bytes.get(), bench.stats.disk_full.get()), (0, 1), "{kind}");
            assert_eq!(report(&bench.store).dropped, 0, "{kind}: nothing was given up but the ballast");
            std::fs::remove_file(filler).unwrap();
            until("the ballast again", || bench.stats.ballast_bytes.get() >= 8 << 20).await;
            assert_eq!(bench.stats.disk_full.get(), 0, "{kind}");
            assert_eq!(bench.stats.durable.get(), 1, "{kind}");
            let Bench { store, mut reader, accepted, .. } = bench;
            assert_eq!(take_all(&store, &mut reader).await, (0..accepted).collect());
        });
    }
}

#[test]
fn a_full_disk_at_the_start_is_opened_with_the_ballast_or_waited_for_without_one() {
    let name = "a_full_disk_at_the_start_is_opened_with_the_ballast_or_waited_for_without_one";
    for ballast in [4 << 20, 0] {
        let Some(mount) = Mount::ext4(48) else { return skipped(name, NOT_ROOT) };
        let path = mount.path().join("store");
        run(async {
            let settings = Options { ballast, ..always(&path) };
            let mut bench = Bench::open(settings.clone());
            bench.accept(1000);
            until("the ballast", || bench.stats.ballast_bytes.get() as u64 >= ballast).await;
            bench.store.drain(DRAIN).await;
            drop(bench);
            let filler = mount.fill();

            let mut bench = Bench::open(settings);
            (bench.accepted, bench.samples) = (1000, report(&bench.store).pending);
            if ballast > 0 {
                assert_eq!((bench.stats.durable.get(), bench.stats.disk_full.get()), (1, 1));
                assert_eq!(bench.samples, (0..1000).map(weight).sum::<u64>());
                bench.spools_again().await;
            } else {
                assert_eq!((bench.stats.durable.get(), bench.stats.disk_full.get()), (0, 1));
                bench.delivers().await;
                std::fs::remove_file(filler).unwrap();
                let took = until("the store opens", || bench.stats.durable.get() == 1).await;
                say(&format!("{name}: used {took:.1?} after there was room"));
            }
            let Bench { store, mut reader, accepted, .. } = bench;
            let found = take_all(&store, &mut reader).await;
            assert!((0..1000).all(|n| found.contains(&n)), "what lay on the disk comes");
            assert_eq!(found.len() as u32, if ballast > 0 { accepted } else { accepted - 1 });
            assert_eq!(report(&store).dropped, 0);
        });
    }
}

#[test]
fn a_disk_that_fills_while_samples_wait_keeps_delivering_and_each_sample_is_accounted_for() {
    let name = "a_disk_that_fills_while_samples_wait_keeps_delivering_and_each_sample_is_accounted_for";
    for kind in ["ext4", "tmpfs"] {
        let mount = if kind == "ext4" { Mount::ext4(24) } else { Mount::tmpfs("16m") };
        let Some(mount) = mount else { return skipped(name, NOT_ROOT) };
        run(async {
            let mut bench = Bench::open(Options { ballast: 0, ..always(&mount.path().join("store")) });
            bench.accept(100);
            until("the first commit", || bench.stats.spooled.get() == bench.samples).await;
            let filler = mount.fill();
            let start = Instant::now();
            let mut errors = 0;
            while bench.stats.disk_errors.get() < 3 {
                assert!(start.elapsed() < DRAIN, "the disk is full");
                bench.accept(20);
                // What a commit gave up is not called written, and delivery does not wait for the disk.
                assert!(bench.stats.spooled.get() <= bench.samples);
                if bench.stats.disk_errors.get() > errors {
                    errors = bench.stats.disk_errors.get();
                    bench.delivers().await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            std::fs::remove_file(filler).unwrap();
            let took = bench.spools_again().await;
            say(&format!("{name}: {kind}: used {took:.1?} after there was room"));
            until("the disk is well", || bench.stats.disk_full.get() == 0).await;
            until("all is written", || bench.stats.durable.get() == 1).await;
            take_all(&bench.store, &mut bench.reader).await;
            let r = report(&bench.store);
            say(&format!("{name}: {kind}: {} delivered, {} dropped", r.delivered, r.dropped));
            balanced(&bench.store, bench.samples);
        });
    }
}

#[test]
fn a_read_only_disk_is_waited_for_and_its_backlog_comes_when_it_can_be_written() {
    let name = "a_read_only_disk_is_waited_for_and_its_backlog_comes_when_it_can_be_written";
    let Some(mount) = Mount::ext4(32) else { return skipped(name, NOT_ROOT) };
    let path = mount.path().join("store");
    filled(&path, 500);
    // Refused while a file of it is still open for writing.
    let began = Instant::now();
    while !mount.remount("ro") {
        assert!(began.elapsed() < DRAIN, "the disk stays in use");
        std::thread::sleep(Duration::from_millis(20));
    }
    run(async {
        let mut bench = Bench::open(always(&path));
        assert!(bench.stats.disk_errors.get() > 0);
        bench.accepted = 500;
        bench.delivers().await;
        bench.accept(10);
        assert!(mount.remount("rw"));
        let took = until("the store opens", || bench.stats.durable.get() == 1).await;
        say(&format!("{name}: used {took:.1?} after it could be written"));
        let found = take_all(&bench.store, &mut bench.reader).await;
        assert_eq!(found, (0..500).chain(501..511).collect());
        balanced(&bench.store, bench.samples + (0..500).map(weight).sum::<u64>());
        assert_eq!(bench.stats.quarantined.get() + bench.stats.damaged.get(), 0);
    });
}

#[test]
fn a_disk_that_goes_away_and_comes_back_is_used_again_in_the_same_run() {
    let name = "a_disk_that_goes_away_and_comes_back_is_used_again_in_the_same_run";
    let Some(mut mount) = Mount::ext4(32) else { return skipped(name, NOT_ROOT) };
    let path = mount.path().join("store");
    run(async {
        let mut bench = Bench::open(always(&path));
        bench.accept(300);
        until("the first commit", || bench.stats.spooled.get() == bench.samples).await;
        mount.shut_down(Cut::NoLogFlush);
        let start = Instant::now();
        while bench.stats.disk_errors.get() == 0 {
            assert!(start.elapsed() < DRAIN, "the disk is gone");
            bench.accept(1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What the disk takes after its end is not called written.
        let (spooled, errors) = (bench.stats.spooled.get(), bench.stats.disk_errors.get());
        bench.accept(10);
        until("another try", || bench.stats.disk_errors.get() > errors).await;
        assert_eq!((bench.stats.spooled.get(), bench.stats.durable.get()), (spooled, 0));
        mount.unmount(true);
        // The kernel gives the old file system out again as long as anybody has a file of it open.
        until("a mount that can be written", || {
            let well = mount.mount() && std::fs::write(mount.path().join("probe"), b"well").is_ok();
            if !well {
                mount.unmount(true);
            }
            well
        })
        .await;
        let took = until("the store is used again", || bench.stats.durable.get() == 1).await;
        say(&format!("{name}: used {took:.1?} after it was back"));
        until("all is written", || bench.stats.spooled.get() >= bench.samples).await;
        let Bench { store, reader, accepted, samples, .. } = bench;
        balanced(&store, samples);
        assert_eq!(report(&store).dropped, 0);
        // As if killed: all that was said to be written is there.
        drop((reader, store));
        let (store, _) = open(always(&path));
        let mut reader = north(&store);
        assert_eq!(take_all(&store, &mut reader).await, (0..accepted).collect());
    });
}

#[test]
fn a_sync_that_fails_acknowledges_nothing_and_all_is_written_when_it_works_again() {
    for durability in [Durability::Always, Durability::Spill] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        run(async {
            let spill_after = Duration::from_millis(10);
            let settings = Options { durability, spill_after, ..always(&path) };
            let mut bench = Bench::open(settings.clone());
            bench.accept(200);
            until("the first commit", || bench.stats.spooled.get() == bench.samples).await;
            let before = bench.samples;
            let failing = Fails::below(&path);
            bench.accept(200);
            until("two errors", || bench.stats.disk_errors.get() >= 2).await;
            assert_eq!(bench.stats.spooled.get(), before, "{durability:?}: nothing is called written");
            assert_eq!(bench.stats.durable.get(), 0);
            let (Next::Live(..) | Next::History(..)) =
                tokio::time::timeout(DRAIN, bench.reader.next()).await.expect("delivery goes on");
            drop(failing);
            let took = until("all is written", || bench.stats.spooled.get() >= bench.samples).await;
            say(&format!("a failing sync, {durability:?}: all written {took:.1?} after it worked again"));
            assert_eq!((bench.stats.durable.get(), report(&bench.store).dropped), (1, 0));
            balanced(&bench.store, bench.samples);
            // As if killed.
            drop(bench);
            let (store, _) = open(settings);
            let mut reader = north(&store);
            assert_eq!(take_all(&store, &mut reader).await, (0..400).collect());
        });
    }
}

#[test]
fn a_folder_without_rights_is_waited_for() {
    let name = "a_folder_without_rights_is_waited_for";
    let change = |program: &str, how: &str, path: &Path| {
        assert!(std::process::Command::new(program).arg(how).arg(path).status().unwrap().success());
    };
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    // Rights do not bind root; a folder that cannot be changed does.
    let mount = if root { Mount::ext4(32) } else { None };
    let folder = tempfile::tempdir().unwrap();
    let (path, program, forbid, allow) = match (&mount, root) {
        (Some(mount), _) => (mount.path().join("store"), "chattr", "+i", "-i"),
        (None, false) => (folder.path().join("store"), "chmod", "000", "700"),
        (None, true) => return skipped(name, NOT_ROOT),
    };
    filled(&path, 50);
    change(program, forbid, &path);
    run(async {
        let mut bench = Bench::open(always(&path));
        let waits = bench.stats.disk_errors.get() > 0;
        bench.accepted = 50;
        bench.accept(1);
        change(program, allow, &path);
        assert!(waits, "it cannot be used");
        let took = until("the store opens", || bench.stats.durable.get() == 1).await;
        say(&format!("{name}: used {took:.1?} after the rights were back"));
        assert_eq!(take_all(&bench.store, &mut bench.reader).await, (0..51).collect());
    });
}

#[test]
fn what_is_in_the_place_of_a_file_or_folder_is_set_aside_and_counted() {
    let spoil = |path: &Path| {
        let _ = std::fs::remove_dir_all(path);
        let _ = std::fs::remove_file(path);
    };
    for (name, keeps) in [
        ("lock", true),
        ("sequence", true),
        ("ballast", true),
        ("proof", true),
        ("readers", true),
        ("readers/north.cursor", true),
        ("quarantine", true),
        ("learned", true),
        ("segments", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        filled(&store, 50);
        let path = store.join(name);
        let was_folder = path.is_dir() || ["proof", "quarantine", "learned"].contains(&name);
        spoil(&path);
        if was_folder {
            std::fs::write(&path, b"no folder").unwrap();
        } else {
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("something"), b"no file").unwrap();
        }
        let mut bench = Bench::open(options(&store));
        assert_eq!(bench.stats.disk_errors.get(), 0, "{name}: the start does not fail");
        assert_eq!((bench.stats.quarantined.get(), bench.stats.durable.get()), (1, 1), "{name}");
        assert!(store.join(format!("{name}.damaged.1")).exists(), "{name}: it can be looked at");
        (bench.accepted, bench.samples) = (50, report(&bench.store).pending);
        bench.accept(5);
        let found = run(take_all(&bench.store, &mut bench.reader));
        // Without its cursor the reader is a new one, unless the file says that it was there.
        let old = keeps && name != "readers";
        assert_eq!(found, (if old { 0 } else { 50 }..55).collect(), "{name}");
    }
}

#[test]
fn a_damaged_sequence_costs_nothing_and_no_number_is_used_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    filled(&path, 50);
    std::fs::write(path.join("sequence"), vec![7; 8192]).unwrap();
    let mut bench = Bench::open(options(&path));
    assert_eq!(bench.stats.disk_errors.get(), 0);
    (bench.accepted, bench.samples) = (50, report(&bench.store).pending);
    bench.accept(5);
    assert_eq!(run(take_all(&bench.store, &mut bench.reader)), (0..55).collect());
}

#[test]
fn a_store_whose_numbers_are_ahead_is_taken_up_in_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("store"), folder.path().join("away"));
    run(async {
        // A run that began without its folder took its numbers from the clock.
        std::fs::write(&path, b"in the way").unwrap();
        let (store, stats) = open(options(&path));
        assert!(stats.disk_errors.get() > 0);
        std::fs::remove_file(&path).unwrap();
        until("the store opens", || stats.durable.get() == 1).await;
        let reader = north(&store);
        (0..100).for_each(|n| store.accept(batch(n)));
        store.drain(DRAIN).await;
        drop((reader, store));
        // The next one does so too, and its clock stands in 1970.
        std::fs::rename(&path, &away).unwrap();
        std::fs::write(&path, b"in the way").unwrap();
        let (store, stats) = open_at(options(&path), 5_000_000);
        let mut reader = north(&store);
        (100..200).for_each(|n| store.accept(batch(n)));
        let mut given = Vec::new();
        for n in 100..150 {
            let Next::Live(seq, got) = reader.next().await else { panic!("nothing is history yet") };
            assert_eq!(number(&got), n);
            given.push(seq);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&away, &path).unwrap();
        until("the store opens", || stats.durable.get() == 1).await;
        // What was given before keeps its name, and nothing else is taken for it.
        let total: u64 = (0..200).map(weight).sum();
        assert_eq!(report(&store).pending, total);
        let Next::Live(seq, got) = reader.next().await else { panic!("live comes first") };
        assert_eq!((number(&got), seq.0), (150, given[49].0 + 1));
        given.iter().chain([&seq]).for_each(|seq| reader.settle(*seq, Settled::Sent));
        let left: u64 = (0..100).chain(151..200).map(weight).sum();
        assert_eq!(report(&store).pending, left);
        assert_eq!(take_all(&store, &mut reader).await, (0..100).chain(151..200).collect());
        balanced(&store, total);
        (200..250).for_each(|n| store.accept(batch(n)));
        store.drain(DRAIN).await;
        drop((reader, store));
        let (store, _) = open(options(&path));
        let mut reader = north(&store);
        assert_eq!(take_all(&store, &mut reader).await, (200..250).collect());
    });
}
