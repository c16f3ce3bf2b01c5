//! What a HistoryRead means: its time domain, the intervals of an aggregate, the status of a result. Pure.

use super::status::Status;
use crate::model::Timestamp;
use crate::store::history::Bin;

/// The times that a client asks for, both included, and in which direction time flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Domain {
    pub(super) low: Timestamp,
    pub(super) high: Timestamp,
    pub(super) backward: bool,
}

impl Domain {
    /// Part 11 §6.5.3.2 and table 1: the start is included, the end is not; time flows backward when the end comes
    /// first, or when only an end and a number of values are given. `start` and `end` are to be rounded up where
    /// time flows forward; `None` where fewer than two of the three are given.
    pub(super) fn new(
        start: Option<Timestamp>,
        end: Option<Timestamp>,
        values: u32,
        backward: bool,
    ) -> Option<Domain> {
        let (low, high) = match (start, end) {
            (Some(at), Some(same)) if at == same => (at, at),
            (Some(start), Some(end)) if backward => (next(end), start),
            (Some(start), Some(end)) => (start, before(end)),
            (Some(start), None) if values > 0 => (start, Timestamp(i64::MAX)),
            (None, Some(end)) if values > 0 => (Timestamp(i64::MIN), end),
            _ => return None,
        };
        Some(Domain { low, high, backward })
    }
}

pub(super) fn next(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_add(1))
}

pub(super) fn before(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_sub(1))
}

/// The intervals between two times, each of `width` microseconds from the start on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intervals {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// 0: one over all.
    pub(super) width: u64,
}

/// Some of them, as the store's bins are to be laid: whole ones from `from` to before `to`, and samples from `low`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) low: Timestamp,
    pub(super) high: Timestamp,
}

impl Intervals {
    fn span(self) -> u64 {
        self.end.0.abs_diff(self.start.0)
    }

    fn width(self) -> u64 {
        if self.width == 0 { self.span().max(1) } else { self.width }
    }

    pub(super) fn count(self) -> u64 {
        self.span().div_ceil(self.width())
    }

    pub(super) fn is_backward(self) -> bool {
        self.end < self.start
    }

    /// `count` of them, from the `first` on. Where time flows backward an interval has its later edge and not its
    /// earlier one, which in whole microseconds is the forward one a microsecond later.
    pub(super) fn part(self, first: u64, count: u64) -> Part {
        let near = i64::try_from(first.saturating_mul(self.width())).unwrap_or(i64::MAX);
        let far = i64::try_from(first.saturating_add(count).saturating_mul(self.width())).unwrap_or(i64::MAX);
        if self.is_backward() {
            let to = next(Timestamp(self.start.0.saturating_sub(near)));
            let from = next(Timestamp(self.start.0.saturating_sub(far)));
            Part { from, to, low: from.max(next(self.end)), high: before(to) }
        } else {
            let from = Timestamp(self.start.0.saturating_add(near));
            let to = Timestamp(self.start.0.saturating_add(far)).min(self.end);
            Part { from, to, low: from, high: before(to) }
        }
    }

    /// The time of an interval, which is where it starts as time flows; and whether it is cut short by the end.
    pub(super) fn stamp(self, bin: &Bin) -> (Timestamp, bool) {
        if self.is_backward() {
            (before(bin.to), bin.from <= self.end)
        } else {
            (bin.from, bin.to.0.abs_diff(bin.from.0) < self.width())
        }
    }
}

/// How a client wants samples that are not good to be taken (Part 13 §4.2.1.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) uncertain_is_bad: bool,
    pub(super) percent_bad: u8,
    pub(super) percent_good: u8,
}

impl Rules {
    /// Ours, where the client leaves it to the server.
    pub(super) const DEFAULT: Rules = Rules { uncertain_is_bad: true, percent_bad: 100, percent_good: 100 };

    /// Part 13 §4.2.1.2: percentages of 0 to 100, and nothing between good and bad counts twice.
    pub(super) fn are_valid(self) -> bool {
        self.percent_bad <= 100
            && self.percent_good <= 100
            && u16::from(self.percent_good) + u16::from(self.percent_bad) >= 100
    }

    /// The status of an aggregate that is not based on time (Part 13 §5.4.3): by the share of samples.
    pub(super) fn status(self, bin: &Bin, partial: bool) -> Status {
        let all = bin.good + bin.not_good;
        if bin.good == 0 {
            return Status::BAD_NO_DATA;
        }
        let status = if bin.good * 100 >= u64::from(self.percent_good) * all {
            Status::GOOD
        } else if bin.not_good * 100 >= u64::from(self.percent_bad) * all {
            return Status::BAD_NO_DATA;
        } else {
            Status::UNCERTAIN_DATA_SUB_NORMAL
        };
        // Part 4 §7.39: the info type of data, the historian bits `calculated` and `partial`.
        Status(status.0 | 0x0400 | 0x01 | if partial { 0x04 } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bad, Sample, TagId, Value};
    use crate::store::history::Bins;

    fn domain(start: Option<i64>, end: Option<i64>, values: u32) -> Option<(i64, i64, bool)> {
        let backward = end.is_some_and(|end| start.is_none_or(|start| end < start));
        let domain = Domain::new(start.map(Timestamp), end.map(Timestamp), values, backward)?;
        Some((domain.low.0, domain.high.0, domain.backward))
    }

    #[test]
    fn the_start_is_in_the_domain_and_the_end_is_not() {
        assert_eq!(domain(Some(10), Some(20), 0), Some((10, 19, false)));
        assert_eq!(domain(Some(20), Some(10), 0), Some((11, 20, true)));
        assert_eq!(domain(Some(10), Some(10), 0), Some((10, 10, false)));
        assert_eq!(domain(Some(10), None, 3), Some((10, i64::MAX, false)));
        assert_eq!(domain(None, Some(10), 3), Some((i64::MIN, 10, true)));
        assert_eq!(
            (domain(Some(10), None, 0), domain(None, Some(10), 0), domain(None, None, 3)),
            (None, None, None)
        );
    }

    fn bins(intervals: Intervals, first: u64, count: u64) -> Vec<(i64, bool, u64)> {
        let part = intervals.part(first, count);
        let mut bins = Bins::new(part.from, part.to, intervals.width, false);
        for at in part.low.0..=part.high.0 {
            bins.take(&Sample::good(TagId(0), Value::I64(at), Timestamp(at)));
        }
        let stamped = bins.done();
        let stamped = stamped.iter().map(|bin| (intervals.stamp(bin).0.0, intervals.stamp(bin).1, bin.good));
        let mut all: Vec<_> = stamped.collect();
        if intervals.is_backward() {
            all.reverse();
        }
        all
    }

    #[test]
    fn intervals_begin_at_the_start_and_the_last_is_cut_by_the_end() {
        let forward = Intervals { start: Timestamp(100), end: Timestamp(125), width: 10 };
        assert_eq!(forward.count(), 3);
        assert_eq!(bins(forward, 0, 3), [(100, false, 10), (110, false, 10), (120, true, 5)]);
        assert_eq!(bins(forward, 1, 1), [(110, false, 10)]);
        let backward = Intervals { start: Timestamp(125), end: Timestamp(100), width: 10 };
        assert_eq!(bins(backward, 0, 3), [(125, false, 10), (115, false, 10), (105, true, 5)]);
        assert_eq!(bins(backward, 2, 1), [(105, true, 5)]);
        let one = Intervals { start: Timestamp(100), end: Timestamp(125), width: 0 };
        assert_eq!(bins(one, 0, one.count()), [(100, false, 25)]);
    }

    #[test]
    fn the_status_is_by_the_share_of_good_samples() {
        let status = |good: i64, bad: i64, rules: Rules| {
            let mut bins = Bins::new(Timestamp(0), Timestamp(10), 10, false);
            (0..good).for_each(|v| bins.take(&Sample::good(TagId(0), Value::I64(v), Timestamp(1))));
            (0..bad).for_each(|_| bins.take(&Sample::bad(TagId(0), Bad::NoAnswer, Timestamp(1))));
            rules.status(&bins.done()[0], false).0
        };
        let calculated = |status: Status| status.0 | 0x401;
        assert_eq!(status(4, 0, Rules::DEFAULT), calculated(Status::GOOD));
        assert_eq!(status(3, 1, Rules::DEFAULT), calculated(Status::UNCERTAIN_DATA_SUB_NORMAL));
        assert_eq!(status(0, 4, Rules::DEFAULT), Status::BAD_NO_DATA.0);
        assert_eq!(status(0, 0, Rules::DEFAULT), Status::BAD_NO_DATA.0);
        let half = Rules { percent_good: 75, percent_bad: 50, ..Rules::DEFAULT };
        assert_eq!(status(3, 1, half), calculated(Status::GOOD));
        assert_eq!(status(2, 2, half), Status::BAD_NO_DATA.0);
        assert!(half.are_valid() && !Rules { percent_good: 40, percent_bad: 50, ..half }.are_valid());
    }
}
