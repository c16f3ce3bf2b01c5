//! Which samples of a tag stay when there is no room for all: pure.
//!
//! Of each tag and window the first, the last, the least and the greatest; besides every sample whose
//! quality differs from that before it, and of text and bool every change of the value.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use crate::model::{Quality, Sample, TagId, Value};

/// Sees all samples in their order, then says of each whether it stays.
#[derive(Debug)]
pub(super) struct Thinner {
    window: i64,
    tags: HashMap<TagId, Window>,
    /// Of each sample seen.
    stays: Vec<bool>,
}

/// The window of one tag that is being looked at; samples by their place.
#[derive(Debug)]
struct Window {
    number: i64,
    last: usize,
    least: Option<(usize, Value)>,
    greatest: Option<(usize, Value)>,
    quality: Quality,
    /// Of text and bool.
    value: Option<Value>,
}

impl Thinner {
    /// Windows of this length, counted from 1970.
    pub(super) fn new(window: Duration) -> Thinner {
        let window = i64::try_from(window.as_micros()).unwrap_or(i64::MAX).max(1);
        Thinner { window, tags: HashMap::new(), stays: Vec::new() }
    }

    /// The next sample; `whole`: it stays in any case.
    pub(super) fn see(&mut self, sample: &Sample, whole: bool) {
        let at = self.stays.len();
        let number = sample.at.0.div_euclid(self.window);
        let mut stays = whole;
        let window = self.tags.entry(sample.tag).or_insert_with(|| {
            stays = true;
            Window { number, last: at, least: None, greatest: None, quality: sample.quality, value: None }
        });
        if window.number != number {
            stays = true;
            close(&mut self.stays, window);
            (window.number, window.least, window.greatest) = (number, None, None);
        }
        stays |= window.quality != sample.quality;
        (window.last, window.quality) = (at, sample.quality);
        match &sample.value {
            // Of arrays none is the least: first and last stay.
            Some(Value::Array(_)) => {}
            Some(value @ (Value::Bool(_) | Value::Text(_))) => {
                stays |= window.value.as_ref() != Some(value);
                window.value = Some(value.clone());
            }
            Some(value) => {
                let beyond = |known: &Option<(usize, Value)>, how| match known {
                    // What compares with nothing, NaN, is neither the least nor the greatest.
                    None => order(value, value).is_some(),
                    Some((_, known)) => order(value, known) == Some(how),
                };
                if beyond(&window.least, Ordering::Less) {
                    window.least = Some((at, value.clone()));
                }
                if beyond(&window.greatest, Ordering::Greater) {
                    window.greatest = Some((at, value.clone()));
                }
            }
            None => {}
        }
        self.stays.push(stays);
    }

    /// Of each sample seen, in their order, whether it stays.
    pub(super) fn finish(mut self) -> Vec<bool> {
        self.tags.values().for_each(|window| close(&mut self.stays, window));
        self.stays
    }
}

/// The window is over: now it is known what was its last, least and greatest.
fn close(stays: &mut [bool], window: &Window) {
    let extremes = [&window.least, &window.greatest].into_iter().flatten().map(|(at, _)| *at);
    for at in extremes.chain([window.last]) {
        if let Some(stays) = stays.get_mut(at) {
            *stays = true;
        }
    }
}

/// Numbers of one type; `None` for what does not compare.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::I8(a), Value::I8(b)) => a.partial_cmp(b),
        (Value::U8(a), Value::U8(b)) => a.partial_cmp(b),
        (Value::I16(a), Value::I16(b)) => a.partial_cmp(b),
        (Value::U16(a), Value::U16(b)) => a.partial_cmp(b),
        (Value::I32(a), Value::I32(b)) => a.partial_cmp(b),
        (Value::U32(a), Value::U32(b)) => a.partial_cmp(b),
        (Value::I64(a), Value::I64(b)) => a.partial_cmp(b),
        (Value::U64(a), Value::U64(b)) => a.partial_cmp(b),
        (Value::F32(a), Value::F32(b)) => a.partial_cmp(b),
        (Value::F64(a), Value::F64(b)) => a.partial_cmp(b),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bad, Timestamp, Uncertain};

    const SECOND: i64 = 1_000_000;

    fn stays(samples: &[Sample]) -> Vec<usize> {
        let mut thinner = Thinner::new(Duration::from_secs(60));
        samples.iter().for_each(|s| thinner.see(s, false));
        thinner.finish().iter().enumerate().filter(|(_, stays)| **stays).map(|(at, _)| at).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp(1_700_000_040 * SECOND + second * SECOND)
    }

    #[test]
    fn first_last_least_and_greatest_of_each_tag_and_window_stay() {
        let values = [5.0, 6.0, 9.0, 7.0, 1.0, 4.0, 3.0, f64::NAN, 5.0];
        let of = |tag, from| {
            let sample =
                move |(i, v): (usize, &f64)| Sample::good(TagId(tag), Value::F64(*v), at(from + i as i64));
            values.iter().enumerate().map(sample).collect::<Vec<_>>()
        };
        assert_eq!(stays(&of(0, 0)), [0, 2, 4, 8]);
        // Two tags, and two windows of one of them.
        let all = [of(0, 0), of(1, 0), of(0, 60)].concat();
        assert_eq!(stays(&all), [0, 2, 4, 8, 9, 11, 13, 17, 18, 20, 22, 26]);
        // What was thinned stays as it is.
        let thinned: Vec<_> = stays(&all).into_iter().map(|at| all[at].clone()).collect();
        assert_eq!(stays(&thinned).len(), thinned.len());
    }

    #[test]
    fn every_change_of_quality_stays_and_of_text_and_bool_every_change_of_value() {
        let good = |s| Sample::good(TagId(0), Value::U16(5), at(s));
        let bad = |s| Sample::bad(TagId(0), Bad::NoAnswer, at(s));
        let unsure = |s| Sample::uncertain(TagId(0), Value::U16(5), Uncertain::OutOfLimits, at(s));
        let samples =
            [good(0), good(1), bad(2), bad(3), bad(4), unsure(5), unsure(6), good(7), good(8), good(9)];
        assert_eq!(stays(&samples), [0, 2, 5, 7, 9]);
        let bits = [true, true, false, false, false, true, true, true];
        let bit = |(i, v): (usize, &bool)| Sample::good(TagId(0), Value::Bool(*v), at(i as i64));
        assert_eq!(stays(&bits.iter().enumerate().map(bit).collect::<Vec<_>>()), [0, 2, 5, 7]);
        let text = |(i, v): (usize, &&str)| Sample::good(TagId(0), Value::Text((*v).into()), at(i as i64));
        let words = ["a", "a", "b", "b", "a", "a", "a"];
        assert_eq!(stays(&words.iter().enumerate().map(text).collect::<Vec<_>>()), [0, 2, 4, 6]);
    }

    #[test]
    fn of_arrays_the_first_and_the_last_of_a_window_stay() {
        let array = |s: i64| Value::Array(crate::model::Array::U16([s as u16, 9 - s as u16].into()));
        let samples: Vec<_> =
            (0..6).map(|s| Sample::good(TagId(0), array(s), Timestamp(s * SECOND))).collect();
        assert_eq!(stays(&samples), [0, 5]);
    }
}
