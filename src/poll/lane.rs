//! One lane of a link: a connection of its own, and the job that it was given, from start to end.

use std::time::Duration;

use tokio::time::Instant;

use super::hub::Job;
use super::state::{Health, Verdict};
use super::task::Shared;
use crate::command::{Refusal, Write, WriteOutcome};
use crate::drivers::Link;
use crate::model::{Fault, Raw};
use crate::normalize::encode::{EncodeError, encode};

/// A lane. What it began on the wire it ends, whatever happens elsewhere.
pub(super) struct Lane<'a> {
    pub(super) at: usize,
    pub(super) link: Link,
    pub(super) raw: Raw,
    /// Until when the wire is nobody's after the last transaction.
    pub(super) silent: Option<Instant>,
    pub(super) shared: &'a Shared,
}

/// What is asked of a device.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// The block.
    Read,
    /// Whether it is there.
    Probe { hasty: bool },
}

impl Lane<'_> {
    /// Does one job after the other until the link is stopped, or all stand still for another plan.
    pub(super) async fn run(mut self) -> (usize, Link) {
        while !self.shared.stop.is_cancelled() {
            let job = self.shared.hub().take_job(self.at, self.link.longest_call());
            match job {
                // What was given is done first.
                None if self.shared.stands_still() => break,
                None => {
                    self.shared.wait_for_job(self.at).await;
                    continue;
                }
                Some(Job::Connect) => self.connect().await,
                Some(Job::Read(block)) => self.read(block).await,
                Some(Job::Revive(device)) => self.revive(device).await,
                Some(Job::Identify(device)) => self.identify(device).await,
                Some(Job::Write(write, device)) => self.write(write, device).await,
            }
            self.shared.done(self.at);
        }
        (self.at, self.link)
    }

    async fn connect(&mut self) {
        match self.link.connect().await {
            Ok(()) => self.shared.hub().opened(self.at, self.link.address()),
            Err(fault) => self.lost(fault),
        }
    }

    fn lost(&mut self, fault: Fault) {
        self.shared.hub().lost(self.at, fault, self.link.trouble());
    }

    /// Reads a block of a living device, with one retry, and hands on what came of it.
    async fn read(&mut self, block: usize) {
        loop {
            let (device, answer, took) = self.transact(block, Ask::Read).await;
            let mut hub = self.shared.hub();
            if !hub.turns.health(device).is_some_and(Health::is_alive) {
                // It died of other reads while this one was under way: what brings it back is its birth.
                if answer.is_ok()
                    && let Some(health) = hub.turns.health_mut(device)
                {
                    health.try_now(Instant::now());
                }
                return;
            }
            match hub.judge(device, answer, took) {
                None => {
                    drop(hub);
                    self.lost(Fault::NotConnected);
                    self.shared.hub().again(block);
                    return;
                }
                Some(Verdict::Retry) => {}
                Some(Verdict::Died) => return hub.bury(device, answer.err().unwrap_or(Fault::Timeout)),
                Some(Verdict::Same | Verdict::Born) => {
                    let mut samples = Vec::new();
                    hub.apply(block, answer.map(|()| &self.raw), &mut samples);
                    return hub.hand_on(device, samples, false);
                }
            }
        }
    }

    /// Tries a device that is not alive. If it answers, all its blocks are read before it is announced, so
    /// that it is born complete.
    async fn revive(&mut self, device: usize) {
        let (blocks, known, hasty) = {
            let mut hub = self.shared.hub();
            let blocks = hub.turns.blocks_of(device).to_vec();
            let Some(health) = hub.turns.health_mut(device) else { return };
            let hasty = health.starts_try(Instant::now());
            (blocks, health.is_left_alone(), hasty)
        };
        // One that is known to be dead is asked for as little as shows that it is back.
        if known && let Some(first) = blocks.first() {
            let (_, answer, took) = self.transact(*first, Ask::Probe { hasty }).await;
            match answer {
                Ok(()) | Err(Fault::Refused(_) | Fault::Busy | Fault::Unsupported) => {}
                Err(Fault::NotConnected) => return self.lost(Fault::NotConnected),
                Err(_) => {
                    let mut hub = self.shared.hub();
                    hub.judge(device, answer, took);
                    return hub.turns.tried_in_vain(took, Instant::now());
                }
            }
        }
        let mut samples = Vec::new();
        let mut born = false;
        for block in blocks {
            let (_, mut answer, mut took) = self.transact(block, Ask::Read).await;
            let mut verdict = self.shared.hub().judge(device, answer, took);
            if verdict == Some(Verdict::Retry) {
                (_, answer, took) = self.transact(block, Ask::Read).await;
                verdict = self.shared.hub().judge(device, answer, took);
            }
            let mut hub = self.shared.hub();
            match verdict {
                Some(Verdict::Born) => born = true,
                Some(Verdict::Same) if born => {}
                Some(Verdict::Same) => return hub.turns.tried_in_vain(took, Instant::now()),
                // Lost again while its blocks were read: what was read is true all the same.
                Some(Verdict::Died | Verdict::Retry) => {
                    hub.hand_on(device, samples, false);
                    return hub.bury(device, answer.err().unwrap_or(Fault::Timeout));
                }
                None => {
                    hub.hand_on(device, samples, false);
                    drop(hub);
                    self.lost(Fault::NotConnected);
                    if born {
                        self.shared.hub().unborn(device);
                    }
                    return;
                }
            }
            hub.turns.schedule.restart(block, Instant::now());
            hub.apply(block, answer.map(|()| &self.raw), &mut samples);
        }
        if born {
            self.shared.hub().born(device, samples);
        }
    }

    /// One read on the wire, counted: of which device, what came of it, and how long it took.
    async fn transact(&mut self, block: usize, ask: Ask) -> (usize, Result<(), Fault>, Duration) {
        let asked = self.shared.hub().plan.blocks.get(block).map(|task| (task.block, task.device));
        let Some((handle, device)) = asked else {
            return (usize::MAX, Err(Fault::Unsupported), Duration::ZERO);
        };
        let started = Instant::now();
        let answer = match ask {
            Ask::Read => self.link.read(handle, &mut self.raw).await,
            Ask::Probe { hasty } => self.link.probe(handle, hasty).await,
        };
        let took = started.elapsed();
        self.count(device, answer, started);
        // What the read taught of its device.
        while let Some((device, text)) = self.link.learned() {
            self.shared.hub().remember(device, text);
        }
        (device, answer, took)
    }

    /// How long the wire was had since then, with the silence that follows: on a full line the next one waits for
    /// that, on another one nobody does.
    fn had(&mut self, started: Instant) -> Duration {
        let silent = Instant::now() + self.link.silence();
        let from = self.silent.replace(silent).map_or(started, |before| before.max(started));
        silent.saturating_duration_since(from)
    }

    fn count(&mut self, device: usize, answer: Result<(), Fault>, started: Instant) {
        let had = self.had(started);
        let mut hub = self.shared.hub();
        hub.count(self.at, device, answer, had);
        hub.tally(self.link.tally());
    }

    /// Asks a device who it is, after its values are out.
    async fn identify(&mut self, device: usize) {
        let started = Instant::now();
        let said = self.link.identify(device).await;
        let gone = matches!(said, Err(Fault::NotConnected));
        let had = self.had(started);
        self.shared.hub().identified(device, said, had);
        if gone {
            self.lost(Fault::NotConnected);
        }
    }

    async fn write(&mut self, write: Write, device: usize) {
        let outcome = self.try_write(&write, device).await;
        // Who asked may have gone meanwhile.
        let _ = write.reply.send(outcome);
    }

    /// Writes, then reads back before the answer goes out, so that who was told "done" finds the new value.
    async fn try_write(&mut self, write: &Write, device: usize) -> WriteOutcome {
        let (point, read_back) = {
            let hub = self.shared.hub();
            let task = hub.plan.writes.get(&write.tag).ok_or(Refusal::ReadOnly)?;
            encode(&task.rule, task.place, &write.value, &mut self.raw).map_err(|error| match error {
                EncodeError::WrongType => Refusal::WrongType,
                EncodeError::OutOfRange => Refusal::OutOfRange,
            })?;
            (task.point, task.read_back)
        };
        let started = Instant::now();
        let answer = self.link.write(point, &self.raw).await;
        self.count(device, answer, started);
        if let Err(fault) = answer
            && fault != Fault::Altered
        {
            if fault == Fault::NotConnected {
                self.lost(fault);
            }
            return Err(Refusal::Fault(fault));
        }
        let alive = {
            let mut hub = self.shared.hub();
            hub.stats.writes.bump();
            hub.normalizer.forget(write.tag);
            let alive = hub.turns.health(device).is_some_and(Health::is_alive);
            if let Some(block) = read_back {
                if alive {
                    hub.turns.schedule.restart(block, Instant::now());
                } else if let Some(health) = hub.turns.health_mut(device) {
                    health.try_now(Instant::now());
                }
            }
            alive
        };
        if let Some(block) = read_back.filter(|_| alive) {
            self.read(block).await;
        }
        answer.map_err(Refusal::Fault)
    }
}
