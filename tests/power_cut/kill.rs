//! A writer that is killed at random moments: what it said to have handed out is there afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use fieldgate::store::Durability;

use super::bench::{Random, north, open, rounds, run, say, take_all};
use super::writer::{Writer, settings};

#[test]
fn what_was_handed_out_is_there_after_each_of_a_hundred_kills() {
    let mut random = Random::new("kills");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (mut expected, mut settled, mut kept) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut told, mut twice, mut most, mut for_good) = (0, 0, 0, 0);
    for round in 0..rounds(100) {
        let durability = if round % 4 == 3 { Durability::Spill } else { Durability::Always };
        let mut writer = Writer::start(&path, round * 1_000_000, durability, false);
        writer.listen(random.below(150));
        // A cursor is written once a second: some live to see that.
        if round % 20 == 10 {
            writer.listen_until_kept();
        }
        std::thread::sleep(Duration::from_micros(random.below(15_000)));
        let said = writer.end();
        told += said.handed.len() + said.settled.len();
        expected.extend(said.handed);
        if let Some(up_to) = said.kept.last() {
            kept.extend(said.settled.range(..=up_to));
        }
        settled.extend(said.settled);
        // What several runs left is to come too: not every round is looked at.
        if random.below(4) != 0 && round + 1 < rounds(100) {
            continue;
        }
        let (store, stats) = open(settings(&path, Durability::Always));
        assert_eq!((stats.disk_errors.get(), stats.quarantined.get(), stats.damaged.get()), (0, 0, 0));
        let mut reader = north(&store);
        let found = run(take_all(&store, &mut reader));
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(missing.is_empty(), "round {round}: handed out, not settled, and lost: {missing:?}");
        // Only what was settled while its cursor was not on the disk yet can come again.
        let early: Vec<_> = found.intersection(&kept).collect();
        assert!(early.is_empty(), "round {round}: settled, kept so on the disk, and there again: {early:?}");
        for_good += kept.len();
        let again = found.intersection(&settled).count();
        (twice, most) = (twice + again, most.max(again));
        run(store.drain(Duration::from_secs(20)));
        drop((reader, store));
        let (store, _) = open(settings(&path, Durability::Always));
        assert!(store.readers().iter().all(|r| r.pending == 0), "round {round}: all was settled");
        expected.clear();
        settled.clear();
        kept.clear();
    }
    assert!(told > 200, "the writer wrote: {told}");
    assert!(for_good > 20, "settled for good: {for_good}");
    say(&format!(
        "kills: {told} told, 0 lost, {twice} delivered twice, at most {most} at once, none of {for_good} that were settled for good"
    ));
}
