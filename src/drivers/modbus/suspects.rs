//! Answers that nobody waits for any more and that may still come: who owes what to whom, and until when.

use std::time::Duration;

use tokio::time::Instant;

use super::pdu::Request;
use crate::model::{Fault, Raw};

/// The longest silence kept for a late answer.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// All that may still come, and how slow each device was seen to be.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    list: Vec<Suspect>,
    /// The slowest answer seen of each device, by its index.
    slowest: Vec<Slowest>,
}

/// How long a device took at most, from the end of the request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slowest {
    /// To the first byte of its answer.
    pub(super) start: Duration,
    /// To the last one.
    pub(super) end: Duration,
}

/// A late answer that may still come.
#[derive(Debug, Clone)]
struct Suspect {
    /// To whom what was asked; `None` where another program may have asked.
    asked: Option<Asked>,
    /// When the request was on the line.
    sent: Instant,
    /// Until then nobody is asked anything: the late answer would meet that request on the line.
    quiet: Instant,
    /// Until then the same unit is asked nothing: nobody could tell the late answer from the next one.
    until: Instant,
}

/// A request, by whom.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The device that this gateway asked; `None` where another master did.
    pub(super) device: Option<usize>,
    pub(super) unit: u8,
    pub(super) request: Request,
}

impl Suspect {
    fn unit(&self) -> Option<u8> {
        self.asked.as_ref().map(|asked| asked.unit)
    }

    fn is(&self, unit: u8, ours: bool) -> bool {
        self.asked.as_ref().is_some_and(|a| a.unit == unit && a.device.is_some() == ours)
    }
}

impl Suspects {
    /// Notes that an answer may still come after `from`: at most one a unit to us, and one to another master.
    pub(super) fn add(&mut self, asked: Asked, sent: Instant, from: Instant, timeout: Duration) {
        let slowest = self.slowest(asked.device).end;
        self.list.retain(|s| !s.is(asked.unit, asked.device.is_some()));
        self.list.push(Suspect {
            asked: Some(asked),
            sent,
            quiet: from + slowest,
            until: from + slowest.max(timeout).min(LONGEST_SILENCE),
        });
    }

    /// The last one added keeps only its unit from being asked after this moment.
    pub(super) fn quiet_until(&mut self, quiet: Instant) {
        if let Some(last) = self.list.last_mut() {
            last.quiet = quiet;
        }
    }

    /// Whoever had the line before may have asked anybody something.
    pub(super) fn add_unknown(&mut self, now: Instant, timeout: Duration) {
        let until = now + timeout.min(LONGEST_SILENCE);
        let until = self.list.iter().map(|s| s.until).fold(until, Instant::max);
        self.list = vec![Suspect { asked: None, sent: now, quiet: until, until }];
    }

    /// The devices get new numbers; the late answers may come all the same.
    pub(super) fn renumber(&mut self) {
        self.slowest.clear();
        self.list.iter_mut().for_each(|suspect| suspect.asked = None);
    }

    /// What was to come until now has not come.
    pub(super) fn expire(&mut self, now: Instant) {
        self.list.retain(|s| now < s.until);
    }

    /// The unit has answered what it was asked last.
    pub(super) fn answered(&mut self, unit: u8) {
        self.list.retain(|s| s.unit() != Some(unit));
    }

    /// Until when this unit may be asked nothing.
    pub(super) fn due(&self, unit: u8) -> Option<Instant> {
        let until = |s: &Suspect| match s.unit() {
            Some(other) if other != unit => s.quiet,
            _ => s.until,
        };
        self.list.iter().map(until).max()
    }

    /// Whether an answer to who knows whom may come.
    pub(super) fn any_unknown(&self) -> bool {
        self.list.iter().any(|s| s.asked.is_none())
    }

    /// Length of the late answer of this unit whose PDU begins like this; an error where none does.
    pub(super) fn length(&self, unit: u8, pdu: &[u8]) -> Result<Option<usize>, Fault> {
        let of_unit = self.list.iter().filter_map(|s| s.asked.as_ref()).filter(|a| a.unit == unit);
        of_unit.map(|a| a.request.answer_length(pdu)).find(Result::is_ok).unwrap_or(Err(Fault::Garbled))
    }

    /// The request that this frame is the late answer to; it is to come no more, and its device is as slow as
    /// that.
    pub(super) fn take(&mut self, unit: u8, pdu: &[u8]) -> Option<Asked> {
        let fits = |s: &Suspect| {
            let asked = s.asked.as_ref().filter(|asked| asked.unit == unit);
            asked.is_some_and(|a| a.request.answer(pdu, &mut Raw::default()) != Err(Fault::Garbled))
        };
        let fitting = self.list.iter().enumerate().filter(|(_, s)| fits(s));
        let (at, _) = fitting.min_by_key(|(_, s)| s.sent)?;
        let Suspect { asked, sent, .. } = self.list.swap_remove(at);
        if let Some(device) = asked.as_ref().and_then(|asked| asked.device) {
            let took = sent.elapsed();
            self.seen(device, Slowest { start: took, end: took });
        }
        asked
    }

    /// How slow this device was at most.
    pub(super) fn slowest(&self, device: Option<usize>) -> Slowest {
        device.and_then(|at| self.slowest.get(at)).copied().unwrap_or_default()
    }

    /// A device took so long.
    pub(super) fn seen(&mut self, device: usize, took: Slowest) {
        if self.slowest.len() <= device {
            self.slowest.resize(device + 1, Slowest::default());
        }
        if let Some(slowest) = self.slowest.get_mut(device) {
            slowest.start = slowest.start.max(took.start).min(LONGEST_SILENCE);
            slowest.end = slowest.end.max(took.end).min(LONGEST_SILENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::Area;
    use super::*;

    fn asked(device: Option<usize>, unit: u8) -> Asked {
        Asked { device, unit, request: Request::Read { area: Area::Holding, start: 0, count: 1 } }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const ANSWER: &[u8] = &[3, 2, 0, 7];

    #[test]
    fn the_unit_waits_its_time_out_and_others_as_long_as_it_was_ever_slow() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        suspects.seen(0, Slowest { start: SECOND / 20, end: SECOND / 10 });
        suspects.add(asked(Some(0), 1), now, now, SECOND);
        assert_eq!(suspects.due(1), Some(now + SECOND));
        assert_eq!(suspects.due(2), Some(now + SECOND / 10));
        suspects.expire(now + SECOND);
        assert_eq!(suspects.due(1), None);
    }

    #[test]
    fn only_an_answer_of_the_shape_asked_for_ends_the_wait() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        suspects.add(asked(Some(0), 1), now, now, SECOND);
        for other in [&[3, 4, 0, 7, 0, 7][..], &[4, 2, 0, 7], &[3, 0, 0, 0, 1], &[]] {
            assert!(suspects.take(1, other).is_none(), "{other:?}");
        }
        assert!(suspects.take(2, ANSWER).is_none());
        assert!(suspects.take(1, ANSWER).is_some());
        assert!(suspects.take(1, ANSWER).is_none());
        assert_eq!(suspects.due(1), None);
    }

    #[test]
    fn what_another_master_is_owed_is_kept_beside_what_we_are_and_the_older_one_is_answered_first() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        suspects.add(asked(Some(0), 1), now, now, SECOND);
        suspects.add(asked(None, 1), now + SECOND / 10, now, SECOND);
        assert_eq!(suspects.take(1, ANSWER).unwrap().device, Some(0));
        assert_eq!(suspects.due(1), Some(now + SECOND));
        assert_eq!(suspects.take(1, &[0x83, 2]).unwrap().device, None);
    }

    #[test]
    fn whoever_had_the_line_before_may_have_asked_anybody() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        suspects.add_unknown(now, SECOND);
        assert!(suspects.any_unknown());
        assert_eq!((suspects.due(1), suspects.due(200)), (Some(now + SECOND), Some(now + SECOND)));
        assert!(suspects.take(1, ANSWER).is_none());
    }
}
