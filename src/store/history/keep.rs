//! Which segments stay although no publisher waits for them. Pure.

use std::collections::BTreeSet;

use crate::model::Timestamp;
use crate::store::options::History;
use crate::store::segments::{Segments, Stretch};

/// The segments that only history keeps.
#[derive(Debug)]
pub(in crate::store) struct Keeper {
    options: Option<History>,
    kept: BTreeSet<u64>,
}

impl Keeper {
    pub(in crate::store) fn new(options: Option<History>) -> Keeper {
        Keeper { options, kept: BTreeSet::new() }
    }

    pub(in crate::store) fn is_on(&self) -> bool {
        self.options.is_some()
    }

    /// No publisher waits for it any more. False: it is to be removed.
    pub(in crate::store) fn takes(&mut self, segment: u64) -> bool {
        self.is_on() && {
            self.kept.insert(segment);
            true
        }
    }

    /// It has no block that a publisher could wait for.
    pub(in crate::store) fn has(&self, segment: u64) -> bool {
        self.kept.contains(&segment)
    }

    /// Something was written into it.
    pub(in crate::store) fn grows(&mut self, segment: u64) {
        self.kept.remove(&segment);
    }

    /// Those that publishers wait for.
    pub(in crate::store) fn waited_for<'a>(
        &'a self,
        segments: &'a Segments,
    ) -> impl Iterator<Item = Stretch> + 'a {
        segments.stretches().filter(|s| !self.has(s.segment))
    }

    /// The oldest, when the disk is short of room.
    pub(in crate::store) fn gives(&mut self) -> Option<u64> {
        self.kept.pop_first()
    }

    /// Those beyond age or bytes, which are forgotten with this: to be removed.
    pub(in crate::store) fn ends(
        &mut self,
        segments: impl Iterator<Item = Stretch>,
        now: Timestamp,
    ) -> Vec<u64> {
        let Some(options) = self.options else { return Vec::new() };
        let keep = i64::try_from(options.keep.as_micros()).unwrap_or(i64::MAX);
        let since = now.0.saturating_sub(keep);
        let kept: Vec<_> = segments.filter(|s| self.kept.contains(&s.segment)).collect();
        let mut bytes: u64 = kept.iter().map(|s| s.disk).sum();
        let mut ended = Vec::new();
        for stretch in kept {
            if stretch.newest.0 < since || bytes > options.max_bytes {
                bytes -= stretch.disk;
                self.kept.remove(&stretch.segment);
                ended.push(stretch.segment);
            }
        }
        ended
    }

    /// Bytes that only history keeps, and the oldest sample that there is at all.
    pub(in crate::store) fn extent(
        &self,
        segments: impl Iterator<Item = Stretch>,
    ) -> (u64, Option<Timestamp>) {
        let (mut bytes, mut oldest) = (0, None::<Timestamp>);
        for stretch in segments {
            bytes += if self.has(stretch.segment) { stretch.disk } else { 0 };
            oldest = Some(oldest.map_or(stretch.oldest, |at| at.min(stretch.oldest)));
        }
        (bytes, oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn stretch(segment: u64, newest: i64) -> Stretch {
        Stretch { segment, oldest: Timestamp(newest - 10), newest: Timestamp(newest), disk: 100 }
    }

    fn keeper(kept: &[u64]) -> Keeper {
        let mut keeper = Keeper::new(Some(History { keep: Duration::from_micros(50), max_bytes: 250 }));
        kept.iter().for_each(|id| assert!(keeper.takes(*id)));
        keeper
    }

    #[test]
    fn age_and_bytes_end_the_oldest_first() {
        let all = || (1..=4).map(|id| stretch(id, i64::try_from(id).unwrap() * 10));
        let mut keeper = keeper(&[1, 2, 3, 4]);
        assert_eq!(keeper.ends(all(), Timestamp(61)), [1, 2]);
        assert_eq!(keeper.ends(all().skip(2), Timestamp(61)), [0; 0]);
        assert_eq!(keeper.ends(all().skip(2), Timestamp(81)), [3]);
        assert_eq!(keeper.gives(), Some(4));
        assert_eq!(keeper.gives(), None);
    }

    #[test]
    fn what_a_publisher_waits_for_is_not_ended() {
        let all = || (1..=4).map(|id| stretch(id, 10));
        let mut keeper = keeper(&[2, 3]);
        keeper.grows(3);
        assert_eq!(keeper.ends(all(), Timestamp(1000)), [2]);
        assert_eq!(keeper.extent(all()), (0, Some(Timestamp(0))));
    }

    #[test]
    fn without_history_nothing_is_kept() {
        let mut keeper = Keeper::new(None);
        assert!(!keeper.takes(1));
        assert_eq!(keeper.gives(), None);
    }
}
