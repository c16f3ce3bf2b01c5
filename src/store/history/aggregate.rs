//! Raw samples summed up in intervals: count, minimum, maximum, average. Pure.
//!
//! OPC UA Part 13 (1.05): Average (5.4.3.5) is the simple mean of the Good raw values within the interval, not a
//! time-weighted one; Minimum (5.4.3.10), Maximum (5.4.3.11) and Count (5.4.3.21 in 1.04) take Good raw values only.

use crate::model::{Sample, Timestamp, Value};

/// What one interval holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Bin {
    /// Its first and the time after its last microsecond.
    pub from: Timestamp,
    /// See `from`.
    pub to: Timestamp,
    /// Samples that count.
    pub good: u64,
    /// Samples that do not.
    pub not_good: u64,
    /// The smallest of those that count, as it was; `None` where none is a number.
    pub min: Option<Value>,
    /// The largest.
    pub max: Option<Value>,
    sum: f64,
    numbers: u64,
}

impl Bin {
    fn new(from: Timestamp, to: Timestamp) -> Bin {
        Bin { from, to, good: 0, not_good: 0, min: None, max: None, sum: 0.0, numbers: 0 }
    }

    /// The mean of those that count; `None` where none is a number.
    pub fn average(&self) -> Option<f64> {
        (self.numbers > 0).then(|| self.sum / self.numbers as f64)
    }

    fn take(&mut self, sample: &Sample, uncertain_counts: bool) {
        let counts = sample.quality.is_good() || uncertain_counts && !sample.quality.is_bad();
        let Some(value) = sample.value.as_ref().filter(|_| counts) else {
            self.not_good += 1;
            return;
        };
        self.good += 1;
        let Some(number) = number(value) else { return };
        self.sum += number;
        self.numbers += 1;
        if self.min.as_ref().is_none_or(|min| less(value, min)) {
            self.min = Some(value.clone());
        }
        if self.max.as_ref().is_none_or(|max| less(max, value)) {
            self.max = Some(value.clone());
        }
    }
}

/// Intervals one after the other from a start to an end; the last may be shorter.
#[derive(Debug)]
pub struct Bins {
    bins: Vec<Bin>,
    from: i64,
    width: i64,
    uncertain_counts: bool,
}

impl Bins {
    /// How many intervals there are between two times; a width of 0 is one over all.
    pub fn count(from: Timestamp, to: Timestamp, width: u64) -> u64 {
        let span = to.0.saturating_sub(from.0).max(0) as u64;
        if width == 0 { u64::from(span > 0) } else { span.div_ceil(width) }
    }

    /// Empty intervals of `width` microseconds from `from` to before `to`; a width of 0 is one over all. Whether
    /// uncertain samples count is the reader's to say.
    pub fn new(from: Timestamp, to: Timestamp, width: u64, uncertain_counts: bool) -> Bins {
        let span = to.0.saturating_sub(from.0).max(1);
        let width = i64::try_from(width).unwrap_or(i64::MAX);
        let width = if width == 0 { span } else { width.min(span) };
        let mut bins = Vec::new();
        let mut at = from.0;
        while at < to.0 {
            let end = at.saturating_add(width).min(to.0);
            bins.push(Bin::new(Timestamp(at), Timestamp(end)));
            at = end;
        }
        Bins { bins, from: from.0, width, uncertain_counts }
    }

    /// Takes a sample, in any order; one outside is left out.
    pub fn take(&mut self, sample: &Sample) {
        let at = sample.at.0.checked_sub(self.from).filter(|since| *since >= 0);
        let at = at.and_then(|since| usize::try_from(since / self.width).ok());
        // The last one may be shorter than the others.
        if let Some(bin) = at.and_then(|at| self.bins.get_mut(at)).filter(|bin| sample.at < bin.to) {
            bin.take(sample, self.uncertain_counts);
        }
    }

    /// The intervals, the earliest first.
    pub fn done(self) -> Vec<Bin> {
        self.bins
    }
}

/// A value as a number; a switch is 0 or 1, a text or an array is none.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(v) => Some(f64::from(u8::from(*v))),
        Value::Text(_) | Value::Array(_) => None,
        other => other.as_f64(),
    }
}

/// Whether a value is below another of the same type, exact also where a double would round.
fn less(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::I64(a), Value::I64(b)) => a < b,
        (Value::U64(a), Value::U64(b)) => a < b,
        (a, b) => number(a) < number(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bad, TagId, Uncertain};

    const TAG: TagId = TagId(0);

    fn good(at: i64, value: i64) -> Sample {
        Sample::good(TAG, Value::I64(value), Timestamp(at))
    }

    fn sums(bins: Bins) -> Vec<(i64, i64, u64, u64, Option<f64>)> {
        bins.done().iter().map(|b| (b.from.0, b.to.0, b.good, b.not_good, b.average())).collect()
    }

    #[test]
    fn a_sample_at_the_start_of_an_interval_is_in_it_and_one_at_the_end_is_not() {
        let mut bins = Bins::new(Timestamp(100), Timestamp(125), 10, false);
        for sample in [good(99, 1), good(100, 2), good(109, 4), good(110, 5), good(124, 7), good(125, 8)] {
            bins.take(&sample);
        }
        assert_eq!(
            sums(bins),
            [(100, 110, 2, 0, Some(3.0)), (110, 120, 1, 0, Some(5.0)), (120, 125, 1, 0, Some(7.0))]
        );
    }

    #[test]
    fn only_good_samples_count_and_uncertain_ones_when_wanted() {
        let all = [
            good(1, 4),
            Sample::uncertain(TAG, Value::I64(8), Uncertain::OutOfLimits, Timestamp(2)),
            Sample::bad(TAG, Bad::NoAnswer, Timestamp(3)),
        ];
        for (uncertain_counts, expected) in
            [(false, (0, 10, 1, 2, Some(4.0))), (true, (0, 10, 2, 1, Some(6.0)))]
        {
            let mut bins = Bins::new(Timestamp(0), Timestamp(10), 0, uncertain_counts);
            all.iter().for_each(|sample| bins.take(sample));
            assert_eq!(sums(bins), [expected]);
        }
    }

    #[test]
    fn minimum_and_maximum_are_the_values_themselves_also_beyond_what_a_double_holds() {
        let big = i64::MAX - 1;
        let mut bins = Bins::new(Timestamp(0), Timestamp(10), 10, false);
        [good(1, big), good(2, big + 1), good(3, big - 1)].iter().for_each(|s| bins.take(s));
        let bin = bins.done().remove(0);
        assert_eq!((bin.min, bin.max), (Some(Value::I64(big - 1)), Some(Value::I64(big + 1))));
    }

    #[test]
    fn a_text_is_counted_and_has_no_average() {
        let mut bins = Bins::new(Timestamp(0), Timestamp(10), 10, false);
        bins.take(&Sample::good(TAG, Value::Text("a".into()), Timestamp(1)));
        bins.take(&Sample::good(TAG, Value::Bool(true), Timestamp(2)));
        let bin = bins.done().remove(0);
        assert_eq!((bin.good, bin.average(), bin.min), (2, Some(1.0), Some(Value::Bool(true))));
    }

    #[test]
    fn no_width_or_span_makes_it_run_away() {
        assert_eq!(Bins::count(Timestamp(0), Timestamp(25), 10), 3);
        assert_eq!(Bins::count(Timestamp(0), Timestamp(25), 0), 1);
        assert_eq!(Bins::count(Timestamp(5), Timestamp(5), 10), 0);
        assert_eq!(Bins::count(Timestamp(i64::MIN), Timestamp(i64::MAX), u64::MAX), 1);
        assert!(Bins::new(Timestamp(5), Timestamp(5), 10, false).done().is_empty());
        assert_eq!(Bins::new(Timestamp(i64::MIN), Timestamp(i64::MAX), u64::MAX, false).done().len(), 3);
    }
}
