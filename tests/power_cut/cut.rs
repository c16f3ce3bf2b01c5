//! The power goes at a random moment: the file system is shut down under a stopped writer, mounted and opened again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fieldgate::store::Durability;

use super::bench::{Random, north, open, rounds, run, say, skipped, take_all};
use super::mounts::{Cut, Mount};
use super::sync;
use super::writer::{Told, Writer, settings};

/// One writer and one cut; the file system is mounted again afterwards.
fn cut(mount: &mut Mount, random: &mut Random, from: u32, durability: Durability, lies: bool) -> Told {
    let mut writer = Writer::start(&mount.path().join("store"), from, durability, lies);
    // Now and then the cut comes while the store is opened.
    writer.listen(if random.below(8) == 0 { random.below(3) } else { random.below(250) });
    std::thread::sleep(Duration::from_micros(random.below(20_000)));
    sync::stop(writer.process());
    // ext4 has a journal that may be just going out by itself: both are moments of a power cut.
    mount.shut_down(if random.below(4) == 0 { Cut::LogFlush } else { Cut::NoLogFlush });
    let told = writer.end();
    mount.unmount(false);
    assert!(mount.mount(), "the file system mounts again");
    told
}

fn power_cuts(name: &str, durability: Durability) {
    let Some(mut mount) = Mount::ext4(48) else { return skipped(name, "only root can mount a file system") };
    let (mut random, start) = (Random::new(name), Instant::now());
    let path = mount.path().join("store");
    let (mut expected, mut told, mut opens, mut twice) = (BTreeSet::new(), 0, 0, 0);
    for round in 0..rounds(50) {
        let said = cut(&mut mount, &mut random, round * 1_000_000, durability, false);
        told += said.handed.len() + said.settled.len();
        expected.extend(said.handed);
        let (store, stats) = open(settings(&path, durability));
        assert_eq!(stats.disk_errors.get(), 0, "round {round}: it opens");
        assert_eq!(stats.quarantined.get() + stats.damaged.get(), 0, "round {round}: all of it is well");
        opens += 1;
        let mut reader = north(&store);
        let found = run(take_all(&store, &mut reader));
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(missing.is_empty(), "round {round}: told to be durable, and lost: {missing:?}");
        twice += found.intersection(&said.settled).count();
        // Every other time the store is left as it is, so that the next cut meets old segments.
        if round % 2 == 0 {
            run(store.drain(Duration::from_secs(20)));
            expected.clear();
        } else {
            drop(store);
            expected = BTreeSet::new();
        }
    }
    say(&format!(
        "{name}: {opens} cuts and opens, {told} told, 0 lost, {twice} delivered twice, {:.0?} a round",
        start.elapsed() / opens
    ));
    assert!(told > 10 * opens as usize, "the writer wrote: {told}");
}

#[test]
fn what_always_handed_out_survives_fifty_power_cuts() {
    power_cuts("what_always_handed_out_survives_fifty_power_cuts", Durability::Always);
}

#[test]
fn what_was_spilled_survives_fifty_power_cuts() {
    power_cuts("what_was_spilled_survives_fifty_power_cuts", Durability::Spill);
}

/// The proof that the two above can fail: with sled's own sync they would.
#[test]
fn a_sync_that_lies_is_found_by_the_power_cut() {
    let name = "a_sync_that_lies_is_found_by_the_power_cut";
    let mut random = Random::new(name);
    for round in 0..40 {
        let Some(mut mount) = Mount::ext4(48) else {
            return skipped(name, "only root can mount a file system");
        };
        let path = mount.path().join("store");
        let told = cut(&mut mount, &mut random, 0, Durability::Always, true);
        let (store, stats) = open(settings(&path, Durability::Always));
        let broken = stats.disk_errors.get() + stats.quarantined.get() + stats.damaged.get();
        let mut reader = north(&store);
        let found = run(take_all(&store, &mut reader));
        let lost = told.handed.difference(&found).count();
        if lost > 0 {
            let of = told.handed.len();
            return say(&format!("{name}: cut {} lost {lost} of {of}, {broken} errors", round + 1));
        }
    }
    panic!("forty cuts, and nothing lost by a sync that does not sync");
}
