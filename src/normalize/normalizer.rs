//! What a block's answer makes of its tags; remembers what was reported last.

use std::collections::HashMap;

use super::alarm::Engine;
use super::deadband::{Reported, is_news};
use super::decode::decode;
use super::quality;
use super::rule::PlacedRule;
use crate::model::{Fault, Quality, Raw, Sample, Stamp, TagId, Timestamp};

/// The rules of all blocks of one link, with the last report of each tag.
#[derive(Debug)]
pub struct Normalizer {
    pub(super) blocks: Vec<Vec<Tracked>>,
    /// No delay of an alarm is over before.
    pub(super) deadline: Option<Timestamp>,
    /// Alarms stand otherwise than they did when that was last asked.
    pub(super) alarms_changed: bool,
}

#[derive(Debug)]
pub(super) struct Tracked {
    placed: PlacedRule,
    last: Option<Reported>,
    /// Reads of the block that are still passed over.
    skip: u32,
    pub(super) alarm: Option<Box<Engine>>,
}

impl Normalizer {
    /// The rules, in the order of the plan's blocks.
    pub fn new<'a>(blocks: impl IntoIterator<Item = &'a [PlacedRule]>) -> Normalizer {
        let alarm = |placed: &PlacedRule| Some(Box::new(Engine::new(placed.rule.alarm.clone()?)));
        let track = |placed: &PlacedRule| Tracked {
            placed: placed.clone(),
            last: None,
            skip: 0,
            alarm: alarm(placed),
        };
        let blocks = blocks.into_iter().map(|rules| rules.iter().map(track).collect()).collect();
        Normalizer { blocks, deadline: None, alarms_changed: false }
    }

    /// Adds to `samples` what is news in the answer to block `block`: values, or bad quality for
    /// all its tags after a fault.
    pub fn apply(
        &mut self,
        block: usize,
        answer: Result<&Raw, Fault>,
        (now, stamp): (Timestamp, Stamp),
        samples: &mut Vec<Sample>,
    ) {
        let Some(tags) = self.blocks.get_mut(block) else { return };
        for tracked in tags {
            let Tracked { placed: PlacedRule { place, rule, every }, last, skip, alarm } = tracked;
            // A fault concerns every tag at once, and so does the first good answer after it.
            let was_good = last.as_ref().is_some_and(|last| !last.quality.is_bad());
            if answer.is_ok() && was_good && *skip > 0 {
                *skip -= 1;
                continue;
            }
            *skip = every.saturating_sub(1);
            let decoded = match answer {
                Err(fault) => Err(quality::of_fault(fault)),
                Ok(raw) => {
                    let old = last.as_ref().and_then(|last| last.value.as_ref());
                    decode(rule, *place, raw, old).map_err(quality::of_decode_error)
                }
            };
            // Before the deadband: an alarm sees every value.
            let mut crossed = false;
            if let Some(alarm) = alarm {
                crossed = alarm.take(decoded.as_ref().map_err(|bad| *bad), now);
                self.deadline = [self.deadline, alarm.deadline()].into_iter().flatten().min();
            }
            let (value, quality) = match decoded {
                Ok(value) => {
                    let quality = quality::of_value(rule, &value);
                    (Some(value), quality)
                }
                Err(bad) => (None, Quality::Bad(bad)),
            };
            if crossed || is_news(rule, last.as_ref(), value.as_ref(), quality, now) {
                *last = Some(Reported { value: value.clone(), quality, at: now });
                samples.push(Sample { tag: rule.tag, value, quality, at: now, stamp });
            }
            if let Some(alarm) = alarm {
                self.alarms_changed |= alarm.tell(now, stamp, samples);
            }
        }
    }

    /// Goes on where another one was, with other blocks: what was reported of a tag holds where its rule is the
    /// same and `same` says that it is read from the same device; how its alarm stands, where the alarm is.
    pub fn take_over(&mut self, before: Normalizer, same: impl Fn(TagId) -> bool) {
        let of_tag = |tracked: Tracked| (tracked.placed.rule.tag, tracked);
        let mut before: HashMap<_, _> = {
            self.alarms_changed |= before.alarms_changed;
            before.blocks.into_iter().flatten().map(of_tag).collect()
        };
        for tracked in self.blocks.iter_mut().flatten() {
            let Some(old) = before.remove(&tracked.placed.rule.tag) else { continue };
            if old.placed.rule == tracked.placed.rule && same(tracked.placed.rule.tag) {
                tracked.last = old.last;
            }
            if let (Some(alarm), Some(known)) = (&mut tracked.alarm, old.alarm)
                && alarm.alarm() == known.alarm()
            {
                *alarm = known;
            }
            let deadline = tracked.alarm.as_ref().and_then(|alarm| alarm.deadline());
            self.deadline = [self.deadline, deadline].into_iter().flatten().min();
        }
    }

    /// Forgets what was reported of a tag, so that its next sample is news whatever it is:
    /// after a write the value must come home even where it did not change.
    pub fn forget(&mut self, tag: TagId) {
        for tracked in self.blocks.iter_mut().flatten() {
            if tracked.placed.rule.tag == tag {
                tracked.last = None;
                tracked.skip = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Bad, DataType, Place, Uncertain, Value};
    use crate::normalize::{Rule, Scaling};

    fn word(kind: DataType) -> PlacedRule {
        PlacedRule::new(Place::Words { at: 0, count: 1 }, Rule::plain(TagId(1), kind))
    }

    fn run(rule: PlacedRule, polls: &[(i64, Result<u16, Fault>)]) -> Vec<Sample> {
        let mut normalizer = Normalizer::new([[rule].as_slice()]);
        let mut samples = Vec::new();
        for (second, answer) in polls {
            let raw = answer.map(|word| Raw { words: vec![word], ..Raw::default() });
            let answer = raw.as_ref().map_err(|fault| *fault);
            normalizer.apply(0, answer, (Timestamp(second * 1_000_000), Stamp::Synchronised), &mut samples);
        }
        samples
    }

    #[test]
    fn an_unchanged_value_is_reported_once() {
        let samples = run(word(DataType::U16), &[(0, Ok(5)), (1, Ok(5)), (2, Ok(6))]);
        let values: Vec<_> = samples.iter().map(|s| (s.at.0, s.value.clone())).collect();
        assert_eq!(values, [(0, Some(Value::U16(5))), (2_000_000, Some(Value::U16(6)))]);
    }

    #[test]
    fn a_change_within_the_deadband_is_not_reported_but_drift_is() {
        let mut rule = word(DataType::U16);
        rule.rule.deadband = 2.0;
        let samples = run(rule, &[(0, Ok(10)), (1, Ok(12)), (2, Ok(11)), (3, Ok(13))]);
        assert_eq!(samples.iter().map(|s| s.at.0 / 1_000_000).collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn an_unchanged_value_is_reported_again_after_the_maximum_silence() {
        let mut rule = word(DataType::U16);
        rule.rule.max_silence = Some(Duration::from_secs(3));
        let polls: Vec<_> = (0..7).map(|second| (second, Ok(1))).collect();
        let samples = run(rule, &polls);
        assert_eq!(samples.iter().map(|s| s.at.0 / 1_000_000).collect::<Vec<_>>(), [0, 3, 6]);
    }

    #[test]
    fn a_fault_makes_the_tag_bad_once_and_the_next_answer_good_again() {
        let lost = Err(Fault::Timeout);
        let samples = run(word(DataType::U16), &[(0, Ok(1)), (1, lost), (2, lost), (3, Ok(1))]);
        let qualities: Vec<_> = samples.iter().map(|s| s.quality).collect();
        assert_eq!(qualities, [Quality::Good, Quality::Bad(Bad::NoAnswer), Quality::Good]);
        assert_eq!(samples[1].value, None);
    }

    #[test]
    fn a_value_out_of_limits_is_uncertain_and_kept() {
        let mut rule = word(DataType::I16);
        rule.rule.high = Some(100.0);
        let samples = run(rule, &[(0, Ok(101))]);
        assert_eq!(samples[0].quality, Quality::Uncertain(Uncertain::OutOfLimits));
        assert_eq!(samples[0].value, Some(Value::I16(101)));
    }

    #[test]
    fn a_slow_tag_in_a_fast_block_is_taken_at_its_own_pace_but_a_fault_at_once() {
        let mut rule = word(DataType::U16);
        rule.every = 3;
        let lost = Err(Fault::Timeout);
        let polls = [
            (0, Ok(1)),
            (1, Ok(2)),
            (2, Ok(3)),
            (3, Ok(4)),
            (4, lost),
            (5, Ok(6)),
            (6, Ok(7)),
            (7, Ok(8)),
            (8, Ok(9)),
        ];
        let seconds: Vec<_> = run(rule, &polls).iter().map(|s| s.at.0 / 1_000_000).collect();
        assert_eq!(seconds, [0, 3, 4, 5, 8]);
    }

    #[test]
    fn what_the_device_refuses_of_a_block_is_bad_and_its_neighbours_are_not() {
        let rules = [0, 1, 2].map(|at| {
            PlacedRule::new(Place::Words { at, count: 1 }, Rule::plain(TagId(at as u32), DataType::U16))
        });
        let mut normalizer = Normalizer::new([rules.as_slice()]);
        let missing = vec![crate::model::Missing { at: 1, count: 1, code: 2 }];
        let raw = Raw { words: vec![7, 0, 9], missing, ..Raw::default() };
        let mut samples = Vec::new();
        normalizer.apply(0, Ok(&raw), (Timestamp(0), Stamp::Synchronised), &mut samples);
        let values: Vec<_> = samples.iter().map(|s| (s.value.clone(), s.quality)).collect();
        assert_eq!(values[0], (Some(Value::U16(7)), Quality::Good));
        assert_eq!(values[1], (None, Quality::Bad(Bad::Refused(2))));
        assert_eq!(values[2], (Some(Value::U16(9)), Quality::Good));
    }

    #[test]
    fn a_short_answer_is_bad_never_a_value() {
        let mut rule = word(DataType::U32);
        rule.place = Place::Words { at: 0, count: 2 };
        assert_eq!(run(rule, &[(0, Ok(1))])[0].quality, Quality::Bad(Bad::Garbled));
    }

    #[test]
    fn a_scaled_value_has_no_noise_in_its_last_digits() {
        let mut rule = word(DataType::I16);
        rule.rule.scaling = Some(Scaling { scale: 0.1, offset: 0.0 });
        assert_eq!(run(rule, &[(0, Ok(123))])[0].value, Some(Value::F64(12.3)));
    }
}
