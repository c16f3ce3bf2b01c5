//! What becomes of what the lanes of a link did: counts, samples, births and deaths.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::hub::Hub;
use super::state::{Health, Verdict};
use crate::command::{Refusal, Write};
use crate::drivers::driver::Tally;
use crate::model::{Bad, Batch, DeviceState, Fault, Identified, Identity, Raw, Sample, Value};

impl Hub {
    /// A device of which nothing is ever read is there while its link is: what it does not take, each write
    /// tells.
    pub(super) fn bear_unread(&mut self) {
        for device in 0..self.plan.devices.len() {
            let samples = self.never_read(device);
            if samples.is_empty() || !self.turns.blocks_of(device).is_empty() {
                continue;
            }
            if let Some(health) = self.turns.health_mut(device)
                && health.answered() == Verdict::Same
            {
                continue;
            }
            self.hand_on(device, samples, true);
        }
    }

    /// What is to be said of the tags of a device that are only written, when it is born.
    pub(super) fn never_read(&self, device: usize) -> Vec<Sample> {
        let (now, stamp) = self.clock.stamp();
        let unread = self.plan.writes.iter().filter(|(_, w)| w.device == device && w.read_back.is_none());
        let mut samples: Vec<_> =
            unread.map(|(tag, _)| Sample { stamp, ..Sample::bad(*tag, Bad::NeverRead, now) }).collect();
        samples.sort_by_key(|sample| sample.tag);
        samples
    }

    /// The lane broke in the middle of a birth: the device is born again on another one.
    pub(super) fn unborn(&mut self, device: usize) {
        if !self.is_up() {
            return;
        }
        let now = Instant::now();
        let Some(health) = self.turns.health_mut(device) else { return };
        let verdict = health.failed(Fault::NotConnected, Duration::ZERO, now);
        health.try_now(now);
        if verdict == Verdict::Died {
            self.bury(device, Fault::NotConnected);
        }
    }

    /// A device said who it is, or did not. Whatever came of it, its health is that of its reads.
    pub(super) fn identified(&mut self, device: usize, said: Result<Identity, Fault>, had: Duration) {
        self.had(had);
        match said {
            Ok(identity) if identity.is_unknown() => {}
            Ok(identity) => {
                let Some(plan) = self.plan.devices.get(device) else { return };
                let (at, stamp) = self.clock.stamp();
                let known = Identified { identity: Arc::new(identity), at, stamp };
                self.store.identify(plan.id, known);
                self.hand_on(device, Vec::new(), true);
            }
            Err(Fault::NotConnected) => {}
            Err(fault) => {
                tracing::info!(
                    link = %self.plan.name, device = self.device_name(device), %fault,
                    "the device does not say who it is, and is not asked again"
                );
                self.inventory.was_silent(device);
            }
        }
    }

    /// What was learned of a device, for later runs.
    pub(super) fn remember(&self, device: usize, text: String) {
        if let Some(name) = self.plan.learned_as(device) {
            self.store.remember(&name, text);
        }
    }

    /// What else was on the wire.
    pub(super) fn tally(&self, Tally { echoes, foreign, noise, late }: Tally) {
        self.stats.echoes.add(echoes);
        self.stats.foreign.add(foreign);
        self.stats.noise.add(noise);
        self.stats.late.add(late);
    }

    /// A lane had the wire for so long.
    fn had(&mut self, time: Duration) {
        self.load.busy(time);
        self.stats.busy_us.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// One transaction of a lane is over, which had the wire for so long.
    pub(super) fn count(&mut self, at: usize, device: usize, answer: Result<(), Fault>, had: Duration) {
        self.came_on(at);
        self.had(had);
        self.stats.requests.bump();
        match answer {
            Ok(()) => self.stats.answers.bump(),
            Err(Fault::Timeout) => self.stats.timeouts.bump(),
            Err(Fault::Garbled) => self.stats.garbled.bump(),
            Err(Fault::Refused(_) | Fault::Busy | Fault::Altered) => self.stats.refused.bump(),
            Err(Fault::NotConnected | Fault::Unsupported) => {}
        }
        if answer.is_ok() {
            self.proven(at);
        }
        let Some(stats) = self.devices.get(device) else { return };
        stats.requests.bump();
        match answer {
            Ok(()) => stats.last_answer.set(self.clock.now().0),
            Err(fault) => {
                stats.faults.bump();
                tracing::debug!(link = %self.plan.name, device = stats.name, %fault, "no value");
            }
        }
    }

    /// What the answer says of the device; `None` where the lane itself is gone, which says nothing of it.
    pub(super) fn judge(
        &mut self,
        device: usize,
        answer: Result<(), Fault>,
        took: Duration,
    ) -> Option<Verdict> {
        let health = self.turns.health_mut(device)?;
        match answer {
            Ok(()) => Some(health.answered()),
            Err(Fault::NotConnected) => None,
            Err(fault) => Some(health.failed(fault, took, Instant::now())),
        }
    }

    pub(super) fn apply(&mut self, block: usize, answer: Result<&Raw, Fault>, samples: &mut Vec<Sample>) {
        self.normalizer.apply(block, answer, self.clock.stamp(), samples);
    }

    /// The same fault to all blocks of a device.
    pub(super) fn apply_all(&mut self, device: usize, fault: Fault, samples: &mut Vec<Sample>) {
        for block in 0..self.plan.blocks.len() {
            if self.plan.blocks.get(block).is_some_and(|b| b.device == device) {
                self.apply(block, Err(fault), samples);
            }
        }
    }

    /// A write of what is in no device: that an alarm is acknowledged. It is done at once, whether the link is up
    /// or not.
    pub(super) fn acknowledge(&mut self, write: Write) {
        let outcome = match write.value {
            Value::Bool(true) => match self.normalizer.acknowledge(write.tag, self.clock.stamp()) {
                Some((block, samples)) => {
                    self.hand_on_of(block, samples);
                    Ok(())
                }
                None => Err(Refusal::ReadOnly),
            },
            // What was seen cannot be unseen.
            Value::Bool(false) => Err(Refusal::OutOfRange),
            _ => Err(Refusal::WrongType),
        };
        // Who asked may have gone meanwhile.
        let _ = write.reply.send(outcome);
    }

    /// Alarms whose delay is over without a new value; when the next one is.
    pub(super) fn settle_alarms(&mut self) -> Option<Duration> {
        let (now, stamp) = self.clock.stamp();
        for (block, samples) in self.normalizer.settle_alarms(now, stamp) {
            self.hand_on_of(block, samples);
        }
        let due = self.normalizer.alarms_due()?;
        Some(Duration::from_micros(u64::try_from(due.0.saturating_sub(now.0)).unwrap_or(0)))
    }

    fn hand_on_of(&mut self, block: usize, samples: Vec<Sample>) {
        if let Some(device) = self.plan.blocks.get(block).map(|block| block.device) {
            self.hand_on(device, samples, false);
        }
    }

    /// The device is dead: all its tags bad, in one batch.
    pub(super) fn bury(&mut self, device: usize, fault: Fault) {
        let mut samples = Vec::new();
        self.apply_all(device, fault, &mut samples);
        self.inventory.died(device);
        if let Some(stats) = self.devices.get(device) {
            stats.deaths.bump();
        }
        // Where the link is gone that was said, once, for all its devices.
        if fault != Fault::NotConnected {
            let now = Instant::now();
            let next_try = self.turns.health(device).and_then(Health::next_try);
            let next_try = next_try.map(|at| at.saturating_duration_since(now));
            tracing::warn!(
                link = %self.plan.name, device = self.device_name(device), %fault, ?next_try,
                "device does not answer; check power, wiring and unit number"
            );
        }
        self.hand_on(device, samples, true);
    }

    /// Hands samples to the store; without any, only where the device's state changed.
    pub(super) fn hand_on(&mut self, device: usize, samples: Vec<Sample>, state_changed: bool) {
        if samples.is_empty() && !state_changed {
            return;
        }
        let (Some(plan), Some(health)) = (self.plan.devices.get(device), self.turns.health(device)) else {
            return;
        };
        let state = health.state();
        if let Some(stats) = self.devices.get(device) {
            stats.state.set(match state {
                DeviceState::Unknown => 0,
                DeviceState::Alive => 1,
                DeviceState::Dead => 2,
            });
        }
        if let Some(text) = self.normalizer.changed_alarms() {
            self.store.remember(&self.plan.alarms_kept_as(), text);
        }
        self.stats.samples.add(samples.len() as u64);
        self.store.accept(Batch { device: plan.id, state, samples });
    }

    /// The device answers again.
    pub(super) fn born(&mut self, device: usize, mut samples: Vec<Sample>) {
        tracing::info!(link = %self.plan.name, device = self.device_name(device), "device answers");
        samples.extend(self.never_read(device));
        self.hand_on(device, samples, true);
        self.inventory.born(device, Instant::now());
    }

    pub(super) fn device_name(&self, device: usize) -> &str {
        self.plan.devices.get(device).map_or("", |d| d.name.as_str())
    }
}
