//! Where the alarm of one tag stands: pure, told the time with each value.
//!
//! Each limit is a latch of its own with delays and hysteresis. As limits have an order and share their delays, a
//! latch further out is never on without the one further in.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Alarm, Bad, Level, Limits, Quality, Sample, Stamp, Timestamp, Trigger, Uncertain, Value};

/// The latches of limits, the inner before the outer of each side.
const LIMITS: [Level; 4] = [Level::Lo, Level::LoLo, Level::Hi, Level::HiHi];
const STATE: [Level; 1] = [Level::Active];

/// The alarm of one tag.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    alarm: Arc<Alarm>,
    latches: [Latch; 4],
    acked: bool,
    trust: Trust,
    /// What was told last.
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Latch {
    on: bool,
    /// Since when the value wants it to be the other way.
    since: Option<Timestamp>,
}

/// How far the state can be trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trust {
    /// No value was seen, and nothing is known of an earlier run.
    Unknown(Bad),
    /// The latest sample had a value.
    Fresh,
    /// The state is that of before.
    Kept,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    level: Level,
    acked: bool,
    trust: Trust,
}

impl Engine {
    pub(super) fn new(alarm: Arc<Alarm>) -> Engine {
        let trust = Trust::Unknown(Bad::Waiting);
        Engine { alarm, latches: Default::default(), acked: true, trust, told: None }
    }

    pub(super) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// The latest sample of the tag; `Err` where it has no value. Neither raises nor ends an alarm then: what is
    /// not known cannot. A delay begins anew, as nobody can tell that the trigger held all the time.
    ///
    /// Whether the value is on another side of a limit than the one before: the north wants to see such a value,
    /// however small the step.
    pub(super) fn take(&mut self, value: Result<&Value, Bad>, now: Timestamp) -> bool {
        match value {
            Err(bad) => {
                self.latches.iter_mut().for_each(|latch| latch.since = None);
                self.trust = match self.trust {
                    Trust::Unknown(_) => Trust::Unknown(bad),
                    Trust::Fresh | Trust::Kept => Trust::Kept,
                };
                false
            }
            Ok(value) => {
                self.trust = Trust::Fresh;
                let before = self.level();
                let alarm = self.alarm.clone();
                let mut crossed = false;
                for (latch, level) in self.latches.iter_mut().zip(levels(&alarm.trigger)) {
                    let wanted = wants(&alarm.trigger, *level, value, latch.on);
                    crossed |= wanted != (latch.on != latch.since.is_some());
                    match wanted {
                        wanted if wanted == latch.on => latch.since = None,
                        // Also where time went back: rather a late alarm than one too soon.
                        _ => latch.since = Some(latch.since.filter(|since| *since <= now).unwrap_or(now)),
                    }
                }
                self.settle(before, now);
                crossed
            }
        }
    }

    /// Time went on without a new sample.
    pub(super) fn wait(&mut self, now: Timestamp) {
        let before = self.level();
        self.settle(before, now);
    }

    /// When a delay is over, if the value stays where it is.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let over = |latch: &Latch| latch.since.map(|since| after(since, self.delay(latch.on)));
        self.latches.iter().filter_map(over).min()
    }

    /// Somebody has seen it. Whether that is news.
    pub(super) fn acknowledge(&mut self) -> bool {
        !std::mem::replace(&mut self.acked, true)
    }

    /// As an earlier run left it. It is to be trusted no further than that until a value comes.
    pub(super) fn restore(&mut self, level: Level, acked: bool) {
        let trigger = &self.alarm.trigger;
        if !has(trigger, level) {
            return;
        }
        for (latch, own) in self.latches.iter_mut().zip(levels(trigger)) {
            let within = matches!((*own, level), (Level::Hi, Level::HiHi) | (Level::Lo, Level::LoLo));
            latch.on = *own == level || (within && has(trigger, *own));
        }
        self.acked = acked;
        self.trust = Trust::Kept;
    }

    /// What is to be kept for a later run; `None` where it is as at the first start.
    pub(super) fn kept(&self) -> Option<(Level, bool)> {
        (self.level().is_active() || !self.acked).then(|| (self.level(), self.acked))
    }

    /// Adds what is news to `samples`; whether anything is that a later run must know.
    pub(super) fn tell(&mut self, at: Timestamp, stamp: Stamp, samples: &mut Vec<Sample>) -> bool {
        let now = Told { level: self.level(), acked: self.acked, trust: self.trust };
        let before = self.told.replace(now);
        if before == Some(now) {
            return false;
        }
        let quality = match self.trust {
            Trust::Fresh => Quality::Good,
            Trust::Kept => Quality::Uncertain(Uncertain::LastKnown),
            Trust::Unknown(bad) => Quality::Bad(bad),
        };
        let mut tell = |tag, value: Value| {
            let value = (!quality.is_bad()).then_some(value);
            samples.push(Sample { tag, value, quality, at, stamp });
        };
        let other = before.filter(|before| before.trust == now.trust);
        if other.is_none_or(|before| before.level != now.level) {
            tell(self.alarm.state, Value::Text(now.level.name().into()));
        }
        if other.is_none_or(|before| before.level.is_active() != now.level.is_active()) {
            tell(self.alarm.active, Value::Bool(now.level.is_active()));
        }
        if other.is_none_or(|before| before.acked != now.acked) {
            tell(self.alarm.acked, Value::Bool(now.acked));
        }
        before.is_none_or(|before| (before.level, before.acked) != (now.level, now.acked))
    }

    fn level(&self) -> Level {
        let on = self.latches.iter().zip(levels(&self.alarm.trigger)).filter(|(latch, _)| latch.on);
        on.map(|(_, level)| *level).next_back().unwrap_or_default()
    }

    fn delay(&self, on: bool) -> Duration {
        if on { self.alarm.off_delay } else { self.alarm.on_delay }
    }

    /// Turns the latches whose delay is over.
    fn settle(&mut self, before: Level, now: Timestamp) {
        let (on_delay, off_delay) = (self.alarm.on_delay, self.alarm.off_delay);
        let mut raised = None;
        for (at, latch) in self.latches.iter_mut().enumerate() {
            let delay = if latch.on { off_delay } else { on_delay };
            if latch.since.is_some_and(|since| now >= after(since, delay)) {
                *latch = Latch { on: !latch.on, since: None };
                if latch.on {
                    raised = Some(at / 2);
                }
            }
        }
        // One value is not at both ends: an off-delay does not hold the other one on.
        if let Some(side) = raised {
            let others = self.latches.iter_mut().enumerate().filter(|(at, _)| at / 2 != side);
            others.for_each(|(_, latch)| *latch = Latch::default());
        }
        if self.level().is_worse_than(before) {
            self.acked = false;
        }
    }
}

fn levels(trigger: &Trigger) -> &'static [Level] {
    match trigger {
        Trigger::Limits(_) => &LIMITS,
        Trigger::When(_) | Trigger::NotNormal(_) => &STATE,
    }
}

/// Whether a value wants this level, where it is on or not.
fn wants(trigger: &Trigger, level: Level, value: &Value, on: bool) -> bool {
    match trigger {
        Trigger::When(values) => values.contains(value),
        Trigger::NotNormal(values) => !values.contains(value),
        Trigger::Limits(limits) => value.as_f64().is_some_and(|value| beyond(limits, level, value, on)),
    }
}

fn beyond(limits: &Limits, level: Level, value: f64, on: bool) -> bool {
    let back = limits.hysteresis;
    let above = |limit: f64| value >= limit || (on && value > limit - back);
    let below = |limit: f64| value <= limit || (on && value < limit + back);
    match level {
        Level::HiHi => limits.hihi.is_some_and(above),
        Level::Hi => limits.hi.is_some_and(above),
        Level::Lo => limits.lo.is_some_and(below),
        Level::LoLo => limits.lolo.is_some_and(below),
        Level::Normal | Level::Active => false,
    }
}

/// Whether the file has what raises this level.
fn has(trigger: &Trigger, level: Level) -> bool {
    match (trigger, level) {
        (_, Level::Normal) => true,
        (Trigger::Limits(limits), Level::HiHi) => limits.hihi.is_some(),
        (Trigger::Limits(limits), Level::Hi) => limits.hi.is_some(),
        (Trigger::Limits(limits), Level::Lo) => limits.lo.is_some(),
        (Trigger::Limits(limits), Level::LoLo) => limits.lolo.is_some(),
        (Trigger::Limits(_), Level::Active) => false,
        (Trigger::When(_) | Trigger::NotNormal(_), level) => level == Level::Active,
    }
}

fn after(since: Timestamp, delay: Duration) -> Timestamp {
    Timestamp(since.0.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
#[path = "alarm_tests.rs"]
mod tests;
