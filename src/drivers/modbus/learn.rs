//! What to read of a block that its device refuses as a whole: pure.
//!
//! Exceptions 2 and 3 (Application Protocol V1.1b3, section 7) refuse a read for its addresses or its length,
//! and do not say which register it was. So the block is cut in halves, between values, until what is
//! refused is one value or the gap between two; all others are read without it from then on.

use std::time::Duration;

use tokio::time::Instant;

use super::pdu::exception;
use crate::model::{Fault, Missing};

/// So many registers or bits from an offset into the block on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) at: u16,
    pub(super) count: u16,
}

impl Part {
    fn end(self) -> u16 {
        self.at + self.count
    }
}

/// Whether a fault says that a read asks for what is not there.
pub(super) fn is_lesson(fault: Fault) -> bool {
    matches!(fault, Fault::Refused(exception::ILLEGAL_ADDRESS | exception::ILLEGAL_VALUE))
}

/// What is to be expected of a read, by what its device taught before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forecast {
    /// Nothing speaks against it.
    Answer,
    /// It is refused with this code.
    Refused(u8),
    /// It asks for more than the device gives in one go.
    TooLong,
}

/// What is known of one block.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lesson {
    /// What is still to be tried: ranges of values, as indices into the block's parts.
    search: Vec<(usize, usize)>,
    /// Ranges of values that were read in one go.
    good: Vec<(usize, usize)>,
    /// Values that were refused by themselves.
    refused: Vec<Refused>,
    /// Ranges of several values that were refused, with their codes.
    cuts: Vec<(usize, usize, u8)>,
    /// Something was refused that nobody was told yet.
    news: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Refused {
    part: usize,
    code: u8,
    again: Instant,
    pause: Duration,
}

/// One read of a lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Try {
    values: (usize, usize),
    /// What to ask for.
    pub(super) part: Part,
}

impl Lesson {
    /// How long a value that was refused is left alone at first, and at most.
    const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
    /// And one that an earlier run knows to be refused.
    const KNOWN_PAUSE: Duration = Duration::from_secs(60);

    /// Of a block of these values that was refused as a whole.
    pub(super) fn new(parts: &[Part], code: u8, now: Instant) -> Lesson {
        let mut lesson = Lesson::nothing();
        lesson.cut((0, parts.len()), code, now);
        lesson
    }

    /// Of a block that was not read yet, by what its device taught before; `None` where it can be read whole.
    /// What is expected wrongly is found out as if it had been read before.
    pub(super) fn expected(
        parts: &[Part],
        forecast: impl Fn(Part) -> Forecast,
        now: Instant,
    ) -> Option<Lesson> {
        let of = |from, to| Some(forecast(ask(parts, (from, to))?.part));
        if parts.len() < 2 || of(0, parts.len())? == Forecast::Answer {
            return None;
        }
        let mut lesson = Lesson::nothing();
        let mut from = 0;
        while let Some(alone) = of(from, from + 1) {
            let mut to = from + 1;
            if let Forecast::Refused(code) = alone {
                let (again, pause) = (now + Self::KNOWN_PAUSE, Self::KNOWN_PAUSE);
                lesson.refused.push(Refused { part: from, code, again, pause });
            } else {
                while to < parts.len() && of(from, to + 1) == Some(Forecast::Answer) {
                    to += 1;
                }
                lesson.good.push((from, to));
            }
            from = to;
        }
        Some(lesson)
    }

    fn nothing() -> Lesson {
        Lesson { search: Vec::new(), good: Vec::new(), refused: Vec::new(), cuts: Vec::new(), news: false }
    }

    fn cut(&mut self, (from, to): (usize, usize), code: u8, now: Instant) {
        self.news = true;
        if to - from <= 1 {
            let (pause, _) = Self::PAUSE;
            self.refused.retain(|r| r.part != from);
            self.refused.push(Refused { part: from, code, again: now + pause, pause });
            return;
        }
        let middle = middle(from, to);
        self.cuts.retain(|(f, t, _)| (*f, *t) != (from, to));
        self.cuts.push((from, to, code));
        self.search.extend([(middle, to), (from, middle)]);
    }

    /// All reads to be made this time, those that are known to work first.
    pub(super) fn tries(&self, parts: &[Part], now: Instant) -> Vec<Try> {
        let again = self.refused.iter().filter(|r| r.again <= now).map(|r| (r.part, r.part + 1));
        let open = self.search.iter().rev().copied().take(Self::MOST_AT_ONCE);
        self.good.iter().copied().chain(open).chain(again).filter_map(|v| ask(parts, v)).collect()
    }

    /// New cuts tried in one go, so that neighbours on the line do not wait long.
    const MOST_AT_ONCE: usize = 8;

    /// One of the tries was answered.
    pub(super) fn accepted(&mut self, asked: Try) {
        let values = asked.values;
        self.refused.retain(|r| (r.part, r.part + 1) != values);
        if let Some(at) = self.search.iter().position(|v| *v == values) {
            self.search.remove(at);
        }
        if !self.good.contains(&values) {
            self.good.push(values);
            self.good.sort_unstable();
        }
    }

    /// One of the tries was refused.
    pub(super) fn refused(&mut self, asked: Try, code: u8, now: Instant) {
        let values = asked.values;
        self.good.retain(|v| *v != values);
        self.search.retain(|v| *v != values);
        match self.refused.iter_mut().find(|r| (r.part, r.part + 1) == values) {
            Some(refused) => {
                refused.pause = (refused.pause * 2).min(Self::PAUSE.1);
                refused.again = now + refused.pause;
                refused.code = code;
            }
            None => self.cut(values, code, now),
        }
    }

    /// Whether nothing is left to be found out.
    pub(super) fn is_learned(&self) -> bool {
        self.search.is_empty()
    }

    /// Whether all is found out of something that was refused since this was asked last.
    pub(super) fn has_news(&mut self) -> bool {
        self.is_learned() && std::mem::take(&mut self.news)
    }

    /// The reads of several values that were refused while both their halves were answered, with their codes
    /// and what lies between the halves: one past the last of the left one, and the first of the right one.
    pub(super) fn cuts(&self, parts: &[Part]) -> impl Iterator<Item = (Part, u8, Option<(u16, u16)>)> {
        self.cuts.iter().filter_map(move |(from, to, code)| {
            let middle = middle(*from, *to);
            let both = self.good.contains(&(*from, middle)) && self.good.contains(&(middle, *to));
            let left = parts.get(*from..middle)?.iter().map(|p| p.end()).max()?;
            let right = parts.get(middle)?.at;
            both.then_some((ask(parts, (*from, *to))?.part, *code, Some((left, right))))
        })
    }

    /// Where the block's raw has no value: refused, or not found out yet.
    pub(super) fn missing(&self, parts: &[Part], code: u8) -> Vec<Missing> {
        let missing = |part: usize, code| {
            let part = parts.get(part)?;
            Some(Missing { at: usize::from(part.at), count: usize::from(part.count), code })
        };
        let refused = self.refused.iter().filter_map(|r| missing(r.part, r.code));
        let open = self.search.iter().flat_map(|(from, to)| *from..*to).filter_map(|p| missing(p, code));
        refused.chain(open).collect()
    }

    /// The reads that work, and the values that are refused with their codes.
    pub(super) fn known(&self, parts: &[Part]) -> (Vec<Part>, Vec<(Part, u8)>) {
        let reads = self.good.iter().filter_map(|v| Some(ask(parts, *v)?.part)).collect();
        let refused = self.refused.iter().filter_map(|r| Some((*parts.get(r.part)?, r.code))).collect();
        (reads, refused)
    }
}

/// Where a range is cut.
fn middle(from: usize, to: usize) -> usize {
    from + (to - from) / 2
}

fn ask(parts: &[Part], values: (usize, usize)) -> Option<Try> {
    let within = parts.get(values.0..values.1)?;
    let (first, end) = (within.first()?, within.iter().map(|p| p.end()).max()?);
    Some(Try { values, part: Part { at: first.at, count: end - first.at } })
}

/// The values of a block in the order of their places; those that overlap are one.
pub(super) fn parts(places: impl Iterator<Item = (u16, u16)>) -> Vec<Part> {
    let mut sorted: Vec<Part> = places.map(|(at, count)| Part { at, count }).collect();
    sorted.sort_unstable();
    let mut parts: Vec<Part> = Vec::new();
    for part in sorted {
        match parts.last_mut() {
            Some(last) if part.at < last.end() => last.count = last.end().max(part.end()) - last.at,
            _ => parts.push(part),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A device that refuses every read that touches one of these registers, or is longer than this.
    fn learn(parts: &[Part], holes: &[u16], longest: u16) -> (Lesson, usize) {
        let now = Instant::now();
        let mut lesson = Lesson::new(parts, 2, now);
        let mut reads = 0;
        for _ in 0..1000 {
            for asked in lesson.tries(parts, now) {
                reads += 1;
                let part = asked.part;
                if part.count > longest || holes.iter().any(|h| (part.at..part.end()).contains(h)) {
                    lesson.refused(asked, 2, now);
                } else {
                    lesson.accepted(asked);
                }
            }
            if lesson.is_learned() {
                return (lesson, reads);
            }
        }
        panic!("it never ends");
    }

    fn values(of: &[(u16, u16)]) -> Vec<Part> {
        parts(of.iter().copied())
    }

    #[test]
    fn the_one_bad_register_alone_is_bad() {
        let parts = values(&[(0, 2), (2, 2), (4, 1), (5, 1), (6, 2), (8, 4)]);
        let (lesson, _) = learn(&parts, &[5], 125);
        let (reads, refused) = lesson.known(&parts);
        assert_eq!(refused, [(Part { at: 5, count: 1 }, 2)]);
        let covered: u16 = reads.iter().map(|r| r.count).sum();
        assert_eq!(covered, 11);
        assert_eq!(lesson.missing(&parts, 2), [Missing { at: 5, count: 1, code: 2 }]);
    }

    #[test]
    fn a_hole_between_two_values_costs_no_value() {
        let parts = values(&[(0, 2), (10, 2)]);
        let (lesson, _) = learn(&parts, &[5], 125);
        assert_eq!(lesson.known(&parts), (vec![Part { at: 0, count: 2 }, Part { at: 10, count: 2 }], vec![]));
    }

    #[test]
    fn a_device_that_takes_short_reads_only_is_read_in_short_ones() {
        let parts: Vec<_> = (0..60).map(|i| Part { at: i * 2, count: 2 }).collect();
        let (lesson, _) = learn(&parts, &[], 32);
        let (reads, refused) = lesson.known(&parts);
        assert!(refused.is_empty() && reads.iter().all(|r| r.count <= 32) && reads.len() <= 4, "{reads:?}");
    }

    #[test]
    fn a_refused_value_is_tried_again_ever_more_rarely_and_comes_back() {
        let parts = values(&[(0, 1), (1, 1)]);
        let (mut lesson, _) = learn(&parts, &[1], 125);
        let mut now = Instant::now();
        assert_eq!(lesson.tries(&parts, now).len(), 1);
        for _ in 0..10 {
            now += Lesson::PAUSE.1;
            let again: Vec<_> = lesson.tries(&parts, now).into_iter().filter(|t| t.part.at == 1).collect();
            assert_eq!(again.len(), 1);
            lesson.refused(again[0], 2, now);
            assert_eq!(lesson.tries(&parts, now).len(), 1);
        }
        now += Lesson::PAUSE.1;
        let again = lesson.tries(&parts, now).into_iter().find(|t| t.part.at == 1).unwrap();
        lesson.accepted(again);
        assert_eq!(lesson.missing(&parts, 2), []);
        assert_eq!(lesson.tries(&parts, now).len(), 2);
    }

    #[test]
    fn a_refused_read_with_two_good_halves_says_what_lies_between_them() {
        let parts = values(&[(0, 2), (2, 2), (10, 2), (12, 2)]);
        let (mut lesson, _) = learn(&parts, &[5], 125);
        let cuts: Vec<_> = lesson.cuts(&parts).collect();
        assert_eq!(cuts, [(Part { at: 0, count: 14 }, 2, Some((4, 10)))]);
        assert!(lesson.has_news() && !lesson.has_news());
        let (mut lesson, _) = learn(&parts, &[2], 125);
        assert_eq!(lesson.known(&parts).1, [(Part { at: 2, count: 2 }, 2)]);
        assert_eq!(lesson.cuts(&parts).count(), 0);
        let now = Instant::now();
        let good = lesson.tries(&parts, now)[0];
        lesson.refused(Try { values: (0, 1), ..good }, 2, now);
        assert!(lesson.has_news());
    }

    #[test]
    fn what_is_expected_is_read_without_a_refusal_and_tried_again_in_time() {
        let parts = values(&[(0, 2), (2, 2), (4, 2), (6, 2), (8, 2)]);
        let hole = |part: Part| match part.at <= 4 && part.end() > 5 {
            true => Forecast::Refused(2),
            false if part.count > 2 && part.at >= 6 => Forecast::TooLong,
            false => Forecast::Answer,
        };
        let now = Instant::now();
        let lesson = Lesson::expected(&parts, hole, now).unwrap();
        let places = |of: Vec<Try>| of.into_iter().map(|t| (t.part.at, t.part.count)).collect::<Vec<_>>();
        assert_eq!(places(lesson.tries(&parts, now)), [(0, 4), (6, 2), (8, 2)]);
        assert_eq!(lesson.missing(&parts, 2), [Missing { at: 4, count: 2, code: 2 }]);
        assert_eq!(lesson.tries(&parts, now + Lesson::PAUSE.1).len(), 4);
        assert_eq!(Lesson::expected(&parts, |_| Forecast::Answer, now), None);
        assert_eq!(Lesson::expected(&parts[..1], |_| Forecast::Refused(2), now), None);
    }

    #[test]
    fn bits_of_one_register_are_one_value_to_the_wire() {
        assert_eq!(
            values(&[(3, 1), (3, 1), (0, 4), (7, 2)]),
            [Part { at: 0, count: 4 }, Part { at: 7, count: 2 }]
        );
    }

    proptest! {
        #[test]
        fn every_value_without_a_hole_is_read_and_every_other_is_missing(
            map in prop::collection::btree_map(0_u16..120, 1_u16..4, 1..40),
            holes in prop::collection::vec(0_u16..124, 0..6),
            longest in 8_u16..125,
        ) {
            let parts = parts(map.into_iter());
            // A block of one value is refused or not: nothing to learn.
            prop_assume!(parts.len() > 1 && parts.iter().all(|p| p.count <= longest));
            let (lesson, reads) = learn(&parts, &holes, longest);
            prop_assert!(reads < 4000);
            let (good, refused) = lesson.known(&parts);
            for part in &parts {
                let has_hole = holes.iter().any(|h| (part.at..part.end()).contains(h));
                let read = good.iter().any(|r| r.at <= part.at && part.end() <= r.end());
                prop_assert_eq!(read, !has_hole);
                prop_assert_eq!(refused.iter().any(|(p, _)| p == part), has_hole);
            }
        }
    }
}
