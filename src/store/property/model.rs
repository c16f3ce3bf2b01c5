//! The reference model: what was accepted, and what of it each reader is owed, was given and is done with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{Batch, TagId};
use crate::store::Settled;
use crate::store::reader::Place;

type Seqs = BTreeSet<u64>;

/// Everything that was ever accepted, and who is owed it.
#[derive(Default)]
pub(super) struct Model {
    pub(super) accepted: Accepted,
    pub(super) readers: BTreeMap<&'static str, Owed>,
    /// What durable readers left in a run before this one, until the folder is open again.
    pub(super) left: BTreeMap<&'static str, Left>,
}

/// By sequence number.
#[derive(Default)]
pub(super) struct Accepted {
    all: BTreeMap<u64, Batch>,
    /// In this run. The numbers of a run that wrote none of its own are above those of the next.
    run: Seqs,
    /// Of runs whose disk failed: where it let none be reserved, they are used again.
    unreserved: Seqs,
}

impl Accepted {
    pub(super) fn add(&mut self, seq: u64, batch: Batch) {
        let known = self.all.insert(seq, batch).is_some();
        assert!(!known || self.unreserved.remove(&seq), "{seq} is used twice");
        self.run.insert(seq);
    }

    /// `broke`: the disk failed in it.
    pub(super) fn end_of_run(&mut self, broke: bool) {
        let run = std::mem::take(&mut self.run);
        if broke {
            self.unreserved.extend(run);
        }
    }

    fn samples<'a>(&self, seqs: impl IntoIterator<Item = &'a u64>) -> u64 {
        seqs.into_iter().filter_map(|seq| self.all.get(seq)).map(|batch| batch.samples.len() as u64).sum()
    }
}

/// One reader in this run.
pub(super) struct Owed {
    pub(super) durable: bool,
    pub(super) attached: bool,
    /// From an earlier run and never taken up in this one.
    pub(super) absent: bool,
    /// It is owed all from here on, and what an earlier run left.
    pub(super) start: u64,
    pub(super) left: Seqs,
    pub(super) done: BTreeMap<u64, Settled>,
    pub(super) given: Seqs,
    /// Owed, not done, and never to come: each of it must be counted.
    pub(super) lost: Seqs,
    /// On the disk and not done: no crash may take it.
    pub(super) safe: Seqs,
    /// Done or lost when the cursor was kept: no crash may bring it back.
    pub(super) kept: Seqs,
    pub(super) live_from: u64,
    /// The last that was given of a tag, live or not.
    last: HashMap<(bool, TagId), u64>,
}

/// What a reader left behind.
pub(super) struct Left {
    pub(super) owed: Seqs,
    pub(super) safe: Seqs,
    pub(super) kept: Seqs,
    /// After a clean stop: exactly this comes.
    pub(super) exactly: Option<Seqs>,
    /// But for this, which left memory while it was given, perhaps while it was being written.
    pub(super) gone: Seqs,
}

impl Owed {
    pub(super) fn new(durable: bool, start: u64) -> Owed {
        Owed {
            durable,
            attached: true,
            absent: false,
            start,
            left: Seqs::new(),
            done: BTreeMap::new(),
            given: Seqs::new(),
            lost: Seqs::new(),
            safe: Seqs::new(),
            kept: Seqs::new(),
            live_from: start,
            last: HashMap::new(),
        }
    }

    pub(super) fn rewound(&mut self, next: u64) {
        self.given.clear();
        self.last.clear();
        self.live_from = next;
    }

    /// All that it is owed, done or not.
    pub(super) fn owed(&self, accepted: &Accepted) -> Seqs {
        self.left.iter().chain(accepted.run.range(self.start..)).copied().collect()
    }

    /// What it has still to get or to settle.
    pub(super) fn pending(&self, accepted: &Accepted) -> Seqs {
        let mut owed = self.owed(accepted);
        owed.retain(|seq| !self.done.contains_key(seq) && !self.lost.contains(seq));
        owed
    }

    /// Checks a batch that the outbox gives.
    pub(super) fn gives(&mut self, seq: u64, live: bool, batch: &Batch, accepted: &Accepted) {
        assert_eq!(accepted.all.get(&seq), Some(batch), "{seq} is given as it was accepted");
        assert!(self.pending(accepted).contains(&seq), "{seq} is not owed (any more)");
        assert!(self.given.insert(seq), "{seq} is given twice without a rewind");
        assert_eq!(live, seq >= self.live_from, "{seq}: live is what was accepted since the rewind");
        for sample in &batch.samples {
            let last = self.last.insert((live, sample.tag), seq);
            assert!(last.is_none_or(|last| last <= seq), "{seq} after {last:?} of {:?}", sample.tag);
        }
    }

    /// History that waits and was not given.
    pub(super) fn history(&self, accepted: &Accepted) -> Option<u64> {
        self.pending(accepted).range(..self.live_from).find(|seq| !self.given.contains(seq)).copied()
    }

    /// Compares with the outbox; gives what was lost since the last time.
    pub(super) fn compare(&mut self, name: &str, place: &Place, next: u64, accepted: &Accepted) -> Seqs {
        let owed = self.owed(accepted);
        let waiting = gaps(place, next, &owed, name);
        let again: Vec<_> = waiting.iter().filter(|s| self.done.contains_key(s)).collect();
        assert!(again.is_empty(), "{name}: {again:?} are settled and wait again");
        let again: Vec<_> = waiting.intersection(&self.lost).collect();
        assert!(again.is_empty(), "{name}: {again:?} were lost and wait again");
        let lost: Seqs =
            owed.difference(&waiting).filter(|seq| !self.done.contains_key(seq)).copied().collect();
        let given: Seqs = place.given.keys().copied().collect();
        assert_eq!(given, self.given, "{name}: given and not settled");

        let with = |how| self.done.iter().filter(move |(_, h)| **h == how).map(|(seq, _)| seq);
        let delivered = accepted.samples(with(Settled::Sent));
        let dropped = accepted.samples(with(Settled::Rejected)) + accepted.samples(&lost);
        let expected = (delivered, accepted.samples(&waiting), dropped);
        let counts = &place.counts;
        let counted = (counts.delivered, counts.pending, counts.all_dropped());
        assert_eq!(counted, expected, "{name}: samples delivered, pending, dropped; lost are {lost:?}");
        assert_eq!(delivered + counts.pending + dropped, accepted.samples(&owed), "{name}: the balance");

        let new = lost.difference(&self.lost).copied().collect();
        self.lost = lost;
        // What left memory while it was given and is not on the disk may still be settled, no more.
        let gone = |seq: &u64| place.given.get(seq).is_some_and(|given| given.gone.is_some());
        self.safe.retain(|seq| waiting.contains(seq) && !gone(seq));
        new
    }
}

/// What a reader has not settled; all of it must be owed.
pub(super) fn gaps(place: &Place, next: u64, owed: &Seqs, name: &str) -> Seqs {
    let mut gaps = Seqs::new();
    let mut seq = place.settled.next_gap(0);
    while seq < next {
        assert!(owed.contains(&seq), "{name} waits for {seq}, which it is not owed");
        gaps.insert(seq);
        seq = place.settled.next_gap(seq + 1);
    }
    gaps
}

impl Left {
    /// Checks what came back from the disk.
    pub(super) fn compare(&self, name: &str, back: &Seqs) {
        if let Some(exactly) = &self.exactly {
            let sure = |seqs: &Seqs| seqs.difference(&self.gone).copied().collect::<Seqs>();
            assert_eq!(sure(back), sure(exactly), "{name}: what waits after a clean stop");
        }
        let invented: Vec<_> = back.difference(&self.owed).collect();
        assert!(invented.is_empty(), "{name}: {invented:?} come from nowhere");
        let lost: Vec<_> = self.safe.difference(back).collect();
        assert!(lost.is_empty(), "{name}: {lost:?} were on the disk and are lost");
        let again: Vec<_> = back.intersection(&self.kept).collect();
        assert!(again.is_empty(), "{name}: {again:?} were done when the cursor was kept and come again");
    }
}
