//! A set of numbers kept as ranges: what a reader has settled, however far and in whatever order.

use std::collections::BTreeMap;

/// Disjoint, never touching ranges: start to end (exclusive).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `from .. to`.
    pub(super) fn insert(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        if let Some((&start, &end)) = self.0.range(..=from).next_back()
            && end >= from
        {
            if end >= to {
                return;
            }
            from = start;
        }
        while let Some((&start, &end)) = self.0.range(from..=to).next_back() {
            self.0.remove(&start);
            to = to.max(end);
        }
        self.0.insert(from, to);
    }

    /// Whether `at` is in it.
    pub(super) fn contains(&self, at: u64) -> bool {
        self.next_gap(at) != at
    }

    /// The first number from `at` on that is not in it.
    pub(super) fn next_gap(&self, at: u64) -> u64 {
        match self.0.range(..=at).next_back() {
            Some((_, &end)) if end > at => end,
            _ => at,
        }
    }

    /// The end of the last that is not in it, below `end`; 0 where all are.
    pub(super) fn last_gap(&self, end: u64) -> u64 {
        match self.0.range(..end).next_back() {
            Some((&start, &to)) if to >= end => start,
            _ => end,
        }
    }

    /// Whether all of `from .. to` is in it.
    pub(super) fn covers(&self, from: u64, to: u64) -> bool {
        self.next_gap(from) >= to
    }

    /// Whether any of `from .. to` is in it.
    pub(super) fn touches(&self, from: u64, to: u64) -> bool {
        self.contains(from) || self.0.range(from..to).next().is_some()
    }

    /// The ranges in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(a, b)| (*a, *b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_hold_what_a_plain_set_holds(adds in prop::collection::vec((0_u64..60, 0_u64..12), 0..40)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (from, len) in adds {
                ranges.insert(from, from + len);
                set.extend(from..from + len);
            }
            for at in 0..80 {
                prop_assert_eq!(ranges.contains(at), set.contains(&at));
                let gap = (at..).find(|n| !set.contains(n)).unwrap();
                prop_assert_eq!(ranges.next_gap(at), gap);
                prop_assert_eq!(ranges.touches(at, at + 5), (at..at + 5).any(|n| set.contains(&n)));
                prop_assert_eq!(ranges.covers(at, at + 5), (at..at + 5).all(|n| set.contains(&n)));
            }
            let spans: Vec<_> = ranges.iter().collect();
            prop_assert!(spans.windows(2).all(|w| w[0].1 < w[1].0));
        }
    }
}
