//! The task of one link: waits for the next thing to do, does it, hands the samples to the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::inventory::Inventory;
use super::plan::LinkPlan;
use super::state::{Backoff, Health, Verdict};
use super::turns::{Turn, Turns};
use crate::command::{Refusal, Write, WriteOutcome};
use crate::drivers::Link;
use crate::drivers::driver::Tally;
use crate::model::{Bad, Batch, Clock, DeviceState, Fault, Identified, Raw, Sample};
use crate::normalize::Normalizer;
use crate::normalize::encode::{EncodeError, encode};
use crate::store::Store;
use crate::telemetry::{Connection, DeviceStats, LinkStats, Telemetry};

/// What a link's task is given.
#[derive(Debug)]
pub struct Context {
    /// Where samples go.
    pub store: Arc<Store>,
    /// All counters.
    pub telemetry: Arc<Telemetry>,
    /// Time stamps.
    pub clock: Clock,
    /// Writes from the gate; shared, so that it outlives a task that fell.
    pub inbox: Arc<Mutex<mpsc::Receiver<Write>>>,
    /// Cancelled when the link shall be closed.
    pub stop: CancellationToken,
}

/// Polls one link until it is stopped.
pub async fn run(plan: LinkPlan, cx: Context) {
    let mut inbox = cx.inbox.clone().lock_owned().await;
    // What was asked of a task that fell is not written by the next one: it is too late by now.
    while let Ok(write) = inbox.try_recv() {
        let _ = write.reply.send(Err(Refusal::LinkDown));
    }
    Task::new(plan, cx, inbox).run().await;
}

struct Task {
    plan: LinkPlan,
    cx: Context,
    inbox: OwnedMutexGuard<mpsc::Receiver<Write>>,
    link: Link,
    up: bool,
    next_connect: Instant,
    backoff: Backoff,
    turns: Turns,
    inventory: Inventory,
    normalizer: Normalizer,
    raw: Raw,
    stats: Arc<LinkStats>,
    devices: Vec<Arc<DeviceStats>>,
    load: LoadMeter,
}

impl Task {
    fn new(plan: LinkPlan, cx: Context, inbox: OwnedMutexGuard<mpsc::Receiver<Write>>) -> Task {
        let now = Instant::now();
        let mut link = Link::new(&plan.spec, &cx.telemetry, &cx.clock);
        link.load(&plan.spec);
        for device in 0..plan.devices.len() {
            if let Some(text) = plan.learned_as(device).and_then(|name| cx.store.recall(&name)) {
                link.recall(device, &text);
            }
        }
        // Different for each link and each start.
        let seed = cx.clock.now().0 as u64
            ^ (plan.name.bytes().fold(7, |s: u64, b| s.wrapping_mul(31) + u64::from(b)));
        Task {
            up: false,
            next_connect: now,
            backoff: Backoff::new(link.longest_pause(), seed),
            link,
            turns: Turns::new(&plan, seed, now),
            inventory: Inventory::default(),
            normalizer: Normalizer::new(plan.blocks.iter().map(|b| b.rules.as_slice())),
            raw: Raw::default(),
            stats: cx.telemetry.link(&plan.name),
            devices: plan.devices.iter().map(|d| cx.telemetry.device(&d.name, &plan.name)).collect(),
            load: LoadMeter::new(now),
            plan,
            cx,
            inbox,
        }
    }

    async fn run(mut self) {
        self.stats.state.set(Connection::Connecting);
        self.stats.planned_permille.set((self.plan.wanted_load() * 1000.0).round() as i64);
        let mut wrote = false;
        loop {
            self.load.show(&self.stats);
            if self.cx.stop.is_cancelled() {
                self.stats.state.set(Connection::Stopped);
                return;
            }
            // Writes go ahead of polling, but a flood of them leaves every second turn to it.
            if !std::mem::replace(&mut wrote, false)
                && let Ok(write) = self.inbox.try_recv()
            {
                self.write(write).await;
                wrote = true;
                continue;
            }
            // Only the waiting is inside select: a transaction on the wire is always finished.
            let now = Instant::now();
            if !self.up && self.next_connect <= now {
                self.connect().await;
                continue;
            }
            if self.up
                && let Some(device) = self.inventory.next(now, false)
            {
                self.identify(device).await;
                continue;
            }
            match if self.up { self.turns.next(now) } else { Turn::Wait(Some(self.next_connect)) } {
                Turn::Read(block) => self.read(block).await,
                Turn::Revive(device) => self.revive(device).await,
                Turn::Wait(_) if self.up && self.inventory.has_any() => {
                    if let Some(device) = self.inventory.next(now, true) {
                        self.identify(device).await;
                    }
                }
                Turn::Wait(until) => {
                    // Wakes at least once a second, so that the load shown is fresh.
                    let second = Instant::now() + Duration::from_secs(1);
                    let until = until.map_or(second, |until| until.min(second));
                    tokio::select! {
                        () = self.cx.stop.cancelled() => {}
                        write = self.inbox.recv() => match write {
                            Some(write) => self.write(write).await,
                            // The gate is gone only when the whole gateway stops.
                            None => self.cx.stop.cancelled().await,
                        },
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
    }

    async fn connect(&mut self) {
        match self.link.connect().await {
            Ok(()) => {
                self.up = true;
                self.backoff.reset();
                self.stats.connects.bump();
                self.stats
                    .address
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .replace_range(.., self.link.address());
                if self.stats.state.set(Connection::Up) {
                    tracing::info!(link = %self.plan.name, "link is up");
                }
                self.turns.try_all(Instant::now());
                self.bear_unread();
            }
            Err(fault) => self.link_lost(fault),
        }
    }

    /// A device of which nothing is ever read is there while its link is: what it does not take, each write
    /// tells.
    fn bear_unread(&mut self) {
        for device in 0..self.plan.devices.len() {
            let samples = self.never_read(device);
            if samples.is_empty() || !self.turns.blocks_of(device).is_empty() {
                continue;
            }
            if let Some(health) = self.turns.health_mut(device) {
                health.answered();
            }
            self.hand_on(device, samples, true);
        }
    }

    /// What is to be said of the tags of a device that are only written, when it is born.
    fn never_read(&self, device: usize) -> Vec<Sample> {
        let now = self.cx.clock.now();
        let unread = self.plan.writes.iter().filter(|(_, w)| w.device == device && w.read_back.is_none());
        let mut samples: Vec<_> = unread.map(|(tag, _)| Sample::bad(*tag, Bad::NeverRead, now)).collect();
        samples.sort_by_key(|sample| sample.tag);
        samples
    }

    /// The port or socket is gone: all its devices are dead, said once; tried again after a pause.
    fn link_lost(&mut self, fault: Fault) {
        self.up = false;
        let now = Instant::now();
        let pause = self.backoff.next();
        self.next_connect = now + pause;
        let trouble = match self.link.trouble() {
            "" => fault.to_string(),
            trouble => trouble.to_owned(),
        };
        if self.stats.state.down(trouble.clone()) {
            tracing::warn!(link = %self.plan.name, %trouble, next_try = ?pause, "link is down");
        } else {
            tracing::debug!(link = %self.plan.name, %trouble, next_try = ?pause, "link is still down");
        }
        for device in self.turns.lose_all(now) {
            self.bury(device, Fault::NotConnected);
        }
    }

    /// A poll by schedule of a device that is alive.
    async fn read(&mut self, block: usize) {
        let missed = self.turns.schedule.started(block, Instant::now());
        self.stats.overruns.add(missed);
        self.read_now(block).await;
    }

    /// Reads a block of a living device, with one retry, and hands on what came of it.
    async fn read_now(&mut self, block: usize) {
        let Some(device) = self.plan.blocks.get(block).map(|b| b.device) else { return };
        loop {
            let (answer, took) = self.transact(block, Ask::Read).await;
            let Some(verdict) = self.judge(device, answer, took) else {
                return self.link_lost(Fault::NotConnected);
            };
            match verdict {
                Verdict::Retry => continue,
                Verdict::Died => return self.bury(device, answer.err().unwrap_or(Fault::Timeout)),
                Verdict::Same | Verdict::Born => {
                    let mut samples = Vec::new();
                    self.apply(block, answer, &mut samples);
                    return self.hand_on(device, samples, false);
                }
            }
        }
    }

    /// Tries a device that is not alive. If it answers, all its blocks are read before it is announced, so
    /// that it is born complete.
    async fn revive(&mut self, device: usize) {
        let blocks = self.turns.blocks_of(device).to_vec();
        let Some(health) = self.turns.health_mut(device) else { return };
        let hasty = health.starts_try(Instant::now());
        // One that is known to be dead is asked for as little as shows that it is back.
        if health.is_left_alone()
            && let Some(first) = blocks.first()
        {
            let (answer, took) = self.transact(*first, Ask::Probe { hasty }).await;
            match answer {
                Ok(()) | Err(Fault::Refused(_) | Fault::Busy | Fault::Unsupported) => {}
                Err(Fault::NotConnected) => return self.link_lost(Fault::NotConnected),
                Err(_) => {
                    self.judge(device, answer, took);
                    return self.turns.tried_in_vain(took, Instant::now());
                }
            }
        }
        let mut samples = Vec::new();
        let mut born = false;
        for block in blocks {
            let (mut answer, mut took) = self.transact(block, Ask::Read).await;
            let mut verdict = self.judge(device, answer, took);
            if verdict == Some(Verdict::Retry) {
                (answer, took) = self.transact(block, Ask::Read).await;
                verdict = self.judge(device, answer, took);
            }
            match verdict {
                Some(Verdict::Born) => born = true,
                Some(Verdict::Same) if born => {}
                Some(Verdict::Same) => return self.turns.tried_in_vain(took, Instant::now()),
                // Lost again while its blocks were read: what was read is true all the same.
                Some(Verdict::Died | Verdict::Retry) => {
                    self.hand_on(device, samples, false);
                    return self.bury(device, answer.err().unwrap_or(Fault::Timeout));
                }
                None => {
                    self.hand_on(device, samples, false);
                    return self.link_lost(Fault::NotConnected);
                }
            }
            self.turns.schedule.restart(block, Instant::now());
            self.apply(block, answer, &mut samples);
        }
        if born {
            tracing::info!(link = %self.plan.name, device = self.device_name(device), "device answers");
            samples.extend(self.never_read(device));
            self.hand_on(device, samples, true);
            self.inventory.born(device, Instant::now());
        }
    }

    /// Asks a device who it is, after its values are out. Whatever comes of it, its health is that of its reads.
    async fn identify(&mut self, device: usize) {
        let started = Instant::now();
        let said = self.link.identify(device).await;
        let took = started.elapsed();
        self.load.busy(took);
        self.stats.busy_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        match said {
            Ok(identity) if identity.is_unknown() => {}
            Ok(identity) => {
                let Some(plan) = self.plan.devices.get(device) else { return };
                let known = Identified { identity: Arc::new(identity), at: self.cx.clock.now() };
                self.cx.store.identify(plan.id, known);
                self.hand_on(device, Vec::new(), true);
            }
            Err(Fault::NotConnected) => self.link_lost(Fault::NotConnected),
            Err(fault) => {
                tracing::info!(
                    link = %self.plan.name, device = self.device_name(device), %fault,
                    "the device does not say who it is, and is not asked again"
                );
                self.inventory.was_silent(device);
            }
        }
    }

    /// One read on the wire, counted, and how long it took.
    async fn transact(&mut self, block: usize, ask: Ask) -> (Result<(), Fault>, Duration) {
        let Some(task) = self.plan.blocks.get(block) else {
            return (Err(Fault::Unsupported), Duration::ZERO);
        };
        let (handle, device) = (task.block, task.device);
        let started = Instant::now();
        let answer = match ask {
            Ask::Read => self.link.read(handle, &mut self.raw).await,
            Ask::Probe { hasty } => self.link.probe(handle, hasty).await,
        };
        let took = started.elapsed();
        self.count(device, answer, took);
        self.keep_learned();
        (answer, took)
    }

    /// What the last read taught of its device, for later runs.
    fn keep_learned(&mut self) {
        while let Some((device, text)) = self.link.learned() {
            if let Some(name) = self.plan.learned_as(device) {
                self.cx.store.remember(&name, text);
            }
        }
    }

    fn count(&mut self, device: usize, answer: Result<(), Fault>, took: Duration) {
        self.load.busy(took);
        self.stats.busy_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.stats.requests.bump();
        match answer {
            Ok(()) => self.stats.answers.bump(),
            Err(Fault::Timeout) => self.stats.timeouts.bump(),
            Err(Fault::Garbled) => self.stats.garbled.bump(),
            Err(Fault::Refused(_) | Fault::Busy | Fault::Altered) => self.stats.refused.bump(),
            Err(Fault::NotConnected | Fault::Unsupported) => {}
        }
        let Tally { echoes, foreign, noise, late } = self.link.tally();
        self.stats.echoes.add(echoes);
        self.stats.foreign.add(foreign);
        self.stats.noise.add(noise);
        self.stats.late.add(late);
        let Some(stats) = self.devices.get(device) else { return };
        stats.requests.bump();
        match answer {
            Ok(()) => stats.last_answer.set(self.cx.clock.now().0),
            Err(fault) => {
                stats.faults.bump();
                tracing::debug!(link = %self.plan.name, device = stats.name, %fault, "no value");
            }
        }
    }

    /// What the answer says of the device; `None` where the link itself is gone, which says nothing of it.
    fn judge(&mut self, device: usize, answer: Result<(), Fault>, took: Duration) -> Option<Verdict> {
        let health = self.turns.health_mut(device)?;
        match answer {
            Ok(()) => Some(health.answered()),
            Err(Fault::NotConnected) => None,
            Err(fault) => Some(health.failed(fault, took, Instant::now())),
        }
    }

    fn apply(&mut self, block: usize, answer: Result<(), Fault>, samples: &mut Vec<Sample>) {
        let now = self.cx.clock.now();
        self.normalizer.apply(block, answer.map(|()| &self.raw), now, samples);
    }

    /// The device is dead: all its tags bad, in one batch.
    fn bury(&mut self, device: usize, fault: Fault) {
        let mut samples = Vec::new();
        for block in 0..self.plan.blocks.len() {
            if self.plan.blocks.get(block).is_some_and(|b| b.device == device) {
                self.apply(block, Err(fault), &mut samples);
            }
        }
        self.inventory.died(device);
        if let Some(stats) = self.devices.get(device) {
            stats.deaths.bump();
        }
        // Where the link is gone that was said, once, for all its devices.
        if fault != Fault::NotConnected {
            let now = Instant::now();
            let next_try = self.turns.health(device).and_then(|h| h.next_try());
            let next_try = next_try.map(|at| at.saturating_duration_since(now));
            tracing::warn!(
                link = %self.plan.name, device = self.device_name(device), %fault, ?next_try,
                "device does not answer; check power, wiring and unit number"
            );
        }
        self.hand_on(device, samples, true);
    }

    /// Hands samples to the store; without any, only where the device's state changed.
    fn hand_on(&mut self, device: usize, samples: Vec<Sample>, state_changed: bool) {
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
        self.stats.samples.add(samples.len() as u64);
        self.cx.store.accept(Batch { device: plan.id, state, samples });
    }

    async fn write(&mut self, write: Write) {
        let outcome = self.try_write(&write).await;
        // Who asked may have gone meanwhile.
        let _ = write.reply.send(outcome);
    }

    /// Writes, then reads back before the answer goes out, so that who was told "done" finds the new value.
    async fn try_write(&mut self, write: &Write) -> WriteOutcome {
        if !self.up {
            return Err(Refusal::LinkDown);
        }
        let Some(task) = self.plan.writes.get(&write.tag) else { return Err(Refusal::ReadOnly) };
        let (point, device, read_back) = (task.point, task.device, task.read_back);
        encode(&task.rule, task.place, &write.value, &mut self.raw).map_err(|error| match error {
            EncodeError::WrongType => Refusal::WrongType,
            EncodeError::OutOfRange => Refusal::OutOfRange,
        })?;
        let started = Instant::now();
        let answer = self.link.write(point, &self.raw).await;
        self.count(device, answer, started.elapsed());
        match answer {
            Ok(()) | Err(Fault::Altered) => {
                self.stats.writes.bump();
                self.normalizer.forget(write.tag);
                if let Some(block) = read_back {
                    if self.turns.health(device).is_some_and(Health::is_alive) {
                        self.turns.schedule.restart(block, Instant::now());
                        self.read_now(block).await;
                    } else if let Some(health) = self.turns.health_mut(device) {
                        health.try_now(Instant::now());
                    }
                }
                answer.map_err(Refusal::Fault)
            }
            Err(fault) => {
                if fault == Fault::NotConnected {
                    self.link_lost(fault);
                }
                Err(Refusal::Fault(fault))
            }
        }
    }

    fn device_name(&self, device: usize) -> &str {
        self.plan.devices.get(device).map_or("", |d| d.name.as_str())
    }
}

/// What is asked of a device.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// The block.
    Read,
    /// Whether it is there.
    Probe { hasty: bool },
}

/// The share of the last few seconds with a transaction under way.
struct LoadMeter {
    since: Instant,
    busy: Duration,
}

impl LoadMeter {
    const WINDOW: Duration = Duration::from_secs(2);

    fn new(now: Instant) -> LoadMeter {
        LoadMeter { since: now, busy: Duration::ZERO }
    }

    fn busy(&mut self, took: Duration) {
        self.busy += took;
    }

    fn show(&mut self, stats: &LinkStats) {
        let window = self.since.elapsed();
        if window >= Self::WINDOW {
            let permille = self.busy.as_micros() * 1000 / window.as_micros().max(1);
            stats.load_permille.set(i64::try_from(permille.min(1000)).unwrap_or(1000));
            *self = LoadMeter::new(Instant::now());
        }
    }
}
