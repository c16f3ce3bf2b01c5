//! What the lanes of a link share: its plan, whose turn it is, and which lane does it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::inventory::Inventory;
use super::load::LoadMeter;
use super::plan::LinkPlan;
use super::said::Said;
use super::state::Backoff;
use super::task::Context;
use super::turns::{Turn, Turns};
use crate::command::{Refusal, Write};
use crate::model::{Clock, Fault};
use crate::normalize::Normalizer;
use crate::store::Store;
use crate::telemetry::{Connection, DeviceStats, LinkStats};

/// One for all lanes; locked between transactions, never while one is under way.
pub(super) struct Hub {
    pub(super) plan: Arc<LinkPlan>,
    pub(super) turns: Turns,
    pub(super) inventory: Inventory,
    pub(super) normalizer: Normalizer,
    pub(super) stats: Arc<LinkStats>,
    pub(super) load: LoadMeter,
    pub(super) devices: Vec<Arc<DeviceStats>>,
    pub(super) store: Arc<Store>,
    pub(super) clock: Clock,
    pub(super) lanes: Vec<LaneState>,
    /// Writes that wait for their device, in the order in which they came.
    pub(super) writes: VecDeque<Write>,
    /// The last turn was a write's: a flood of them leaves every second turn to polling.
    wrote: bool,
    /// Where no lane is open, when one is tried again.
    pub(super) next_connect: Instant,
    pub(super) backoff: Backoff,
    pub(super) said: Said,
    /// That not all lanes can be opened was said.
    pub(super) complained: bool,
    /// Lanes over which something was answered once, and that broke since anybody answered.
    pub(super) broke: u32,
}

pub(super) struct LaneState {
    up: bool,
    /// Something was answered over it since it was opened.
    proven: bool,
    busy: bool,
    job: Option<Job>,
    /// When it was given its job, or was last through with a transaction of it.
    came_on: Instant,
    /// The longest that it may take until it is again.
    longest_call: Duration,
    /// What it served last: it knows that device best.
    pub(super) device: Option<usize>,
    /// The block that it reads by schedule.
    pub(super) block: Option<usize>,
    next_connect: Instant,
    backoff: Backoff,
}

/// What a lane is given to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Open the port or socket.
    Connect,
    /// Read this block of a living device.
    Read(usize),
    /// Try this device, which is not alive.
    Revive(usize),
    /// Ask this device who it is.
    Identify(usize),
    /// Write this tag of this device.
    Write(Write, usize),
}

/// What the desk does next.
pub(super) enum Next {
    /// Wake this lane: it has a job.
    Wake(usize),
    /// Nothing before this moment, unless something changes.
    Wait(Option<Instant>),
}

impl Hub {
    /// The longest pause between two tries to open a lane more than the host takes.
    const LONGEST_LANE_PAUSE: Duration = Duration::from_secs(60);
    /// Writes taken out of the mailbox ahead of their turn, so that one device holds up its own only.
    const MOST_WRITES: usize = 16;

    /// `longest_pause`: between two tries to open the link.
    pub(super) fn new(plan: Arc<LinkPlan>, cx: &Context, longest_pause: Duration) -> Hub {
        let now = Instant::now();
        // Different for each link and each start.
        let seed = cx.clock.now().0 as u64
            ^ (plan.name.bytes().fold(7, |s: u64, b| s.wrapping_mul(31) + u64::from(b)));
        let mut normalizer = Normalizer::new(plan.blocks.iter().map(|b| b.rules.as_slice()));
        if let Some(text) = cx.store.recall(&plan.alarms_kept_as()) {
            normalizer.restore_alarms(&text);
        }
        let lane = |at: usize| LaneState {
            up: false,
            proven: false,
            busy: false,
            job: None,
            came_on: now,
            longest_call: Duration::MAX,
            device: None,
            block: None,
            next_connect: now,
            backoff: Backoff::new(Self::LONGEST_LANE_PAUSE, seed ^ (at as u64) << 16),
        };
        Hub {
            turns: Turns::new(&plan, seed, now),
            inventory: Inventory::default(),
            normalizer,
            stats: cx.telemetry.link(&plan.name),
            load: LoadMeter::new(now, plan.lanes()),
            devices: plan.devices.iter().map(|d| cx.telemetry.device(&d.name, &plan.name)).collect(),
            store: cx.store.clone(),
            clock: cx.clock.clone(),
            lanes: (0..plan.lanes()).map(lane).collect(),
            writes: VecDeque::new(),
            wrote: false,
            next_connect: now,
            backoff: Backoff::new(longest_pause, seed),
            said: Said::default(),
            complained: false,
            broke: 0,
            plan,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.lanes.iter().any(|lane| lane.up)
    }

    /// Whether one write more may be taken out of the mailbox.
    pub(super) fn takes_writes(&self) -> bool {
        self.writes.len() < Self::MOST_WRITES
    }

    /// A write that came out of the mailbox.
    pub(super) fn ask(&mut self, write: Write) {
        match self.plan.writes.get(&write.tag) {
            Some(task) => {
                self.turns.hold(task.device, true);
                self.writes.push_back(write);
            }
            None => self.acknowledge(write),
        }
    }

    /// No write that waits is done any more.
    pub(super) fn refuse_writes(&mut self) {
        while let Some(write) = self.take_write(0) {
            // Who asked may have gone meanwhile.
            let _ = write.reply.send(Err(Refusal::LinkDown));
        }
    }

    fn take_write(&mut self, at: usize) -> Option<Write> {
        let write = self.writes.remove(at)?;
        if let Some(task) = self.plan.writes.get(&write.tag) {
            self.turns.hold(task.device, false);
        }
        Some(write)
    }

    /// The first write whose device is free; of one device they keep their order.
    fn next_write(&self) -> Option<(usize, usize)> {
        let device = |write: &Write| self.plan.writes.get(&write.tag).map(|task| task.device);
        let mut waiting = self.writes.iter().enumerate().filter_map(|(at, w)| Some((at, device(w)?)));
        waiting.find(|(_, device)| self.turns.is_free(*device))
    }

    /// Gives the next job to a lane, if there are both.
    pub(super) fn assign(&mut self, now: Instant) -> Next {
        if !self.is_up() {
            return self.assign_first(now);
        }
        // Writes go ahead of polling, but a flood of them leaves every second turn to it.
        let wrote = std::mem::replace(&mut self.wrote, false);
        if !wrote && let Some((at, device)) = self.next_write() {
            return match self.lane_for(device, now) {
                Ok(lane) => match self.take_write(at) {
                    Some(write) => {
                        self.wrote = true;
                        self.turns.take(device, None);
                        self.give(lane, Some(device), Job::Write(write, device))
                    }
                    None => Next::Wait(None),
                },
                Err(next) => next,
            };
        }
        if let Some(next) = self.assign_identify(now, false) {
            return next;
        }
        match self.turns.next(now, wrote) {
            Turn::Wait(_) if wrote && self.next_write().is_some() => self.assign(now),
            Turn::Wait(until) => self.assign_identify(now, true).unwrap_or(Next::Wait(until)),
            Turn::Read(block) => {
                let Some(device) = self.plan.blocks.get(block).map(|b| b.device) else {
                    return Next::Wait(None);
                };
                match self.lane_for(device, now) {
                    Ok(lane) => {
                        self.turns.take(device, Some(block));
                        let missed = self.turns.schedule.started(block, now);
                        self.stats.overruns.add(missed);
                        self.give(lane, Some(device), Job::Read(block))
                    }
                    Err(next) => {
                        self.wrote = wrote;
                        next
                    }
                }
            }
            Turn::Revive(device) => match self.lane_for(device, now) {
                Ok(lane) => {
                    self.turns.take(device, None);
                    self.give(lane, Some(device), Job::Revive(device))
                }
                Err(next) => {
                    self.wrote = wrote;
                    next
                }
            },
        }
    }

    /// Asks a device who it is, where one waits for that, is free, and an open lane is.
    fn assign_identify(&mut self, now: Instant, idle: bool) -> Option<Next> {
        let lane = self.lanes.iter().position(|lane| lane.up && !lane.busy)?;
        let turns = &self.turns;
        let device = self.inventory.next(now, idle, |device| turns.is_free(device))?;
        self.turns.take(device, None);
        Some(self.give(lane, Some(device), Job::Identify(device)))
    }

    /// While no lane is open, one tries to be.
    fn assign_first(&mut self, now: Instant) -> Next {
        if self.lanes.iter().any(|lane| lane.busy) {
            return Next::Wait(None);
        }
        if self.next_connect <= now {
            return self.give(0, None, Job::Connect);
        }
        self.refuse_writes();
        Next::Wait(Some(self.next_connect))
    }

    /// An open lane without a job: the one that knows the device, or any. Where there is none, one more is
    /// opened.
    fn lane_for(&mut self, device: usize, now: Instant) -> Result<usize, Next> {
        let idle = |lane: &LaneState| lane.up && !lane.busy;
        let knows = self.lanes.iter().position(|lane| idle(lane) && lane.device == Some(device));
        if let Some(at) = knows.or_else(|| self.lanes.iter().position(idle)) {
            return Ok(at);
        }
        if self.lanes.iter().any(|lane| lane.busy && !lane.up) {
            return Err(Next::Wait(None));
        }
        let closed = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.up);
        let Some((at, next)) = closed.map(|(at, lane)| (at, lane.next_connect)).min_by_key(|(_, next)| *next)
        else {
            return Err(Next::Wait(None));
        };
        Err(if next <= now { self.give(at, None, Job::Connect) } else { Next::Wait(Some(next)) })
    }

    /// The lanes that share the connection of this one.
    fn group(&self, at: usize) -> std::ops::Range<usize> {
        let pipeline = self.plan.pipeline.max(1);
        let first = at - at % pipeline;
        first..first + pipeline
    }

    fn give(&mut self, at: usize, device: Option<usize>, job: Job) -> Next {
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.busy = true;
            lane.block = if let Job::Read(block) = job { Some(block) } else { None };
            lane.job = Some(job);
            lane.came_on = Instant::now();
            lane.device = device;
        }
        Next::Wake(at)
    }

    /// The job of a lane, which takes it away; `longest_call` of its driver.
    pub(super) fn take_job(&mut self, at: usize, longest_call: Duration) -> Option<Job> {
        let lane = self.lanes.get_mut(at)?;
        lane.longest_call = longest_call;
        lane.job.take()
    }

    /// The lane was through with a transaction.
    pub(super) fn came_on(&mut self, at: usize) {
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.came_on = Instant::now();
        }
    }

    /// Whether a lane is at something.
    pub(super) fn is_busy(&self) -> bool {
        self.lanes.iter().any(|lane| lane.busy)
    }

    /// Whether no lane has been at one transaction for longer than any takes: the link comes on.
    pub(super) fn comes_on(&self, now: Instant) -> bool {
        let hangs =
            |lane: &LaneState| lane.busy && now.saturating_duration_since(lane.came_on) > lane.longest_call;
        !self.lanes.iter().any(hangs)
    }

    /// The lane is done with its job, and its device may be asked again.
    pub(super) fn done(&mut self, at: usize) {
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.busy = false;
            if let Some(device) = lane.device {
                self.turns.give_back(device, lane.block);
            }
        }
    }

    /// The lane is open.
    pub(super) fn opened(&mut self, at: usize, address: &str) {
        let was_up = self.is_up();
        for at in self.group(at) {
            if let Some(lane) = self.lanes.get_mut(at) {
                (lane.up, lane.proven) = (true, false);
            }
        }
        self.stats.connects.bump();
        if was_up {
            tracing::debug!(link = %self.plan.name, lane = at, "one connection more");
            return;
        }
        if self.stats.state.set(Connection::Up) {
            if self.said.up() {
                tracing::info!(link = %self.plan.name, "link is up");
            } else {
                tracing::debug!(link = %self.plan.name, "link is up again");
            }
        }
        self.stats.address.lock().unwrap_or_else(|e| e.into_inner()).replace_range(.., address);
        self.turns.try_all(Instant::now());
        self.bear_unread();
    }

    /// The port or socket of a lane is gone, or could not be opened. The link is gone with its last lane: then
    /// all its devices are dead, said once; tried again after a pause.
    pub(super) fn lost(&mut self, at: usize, fault: Fault, trouble: &str) {
        let now = Instant::now();
        let trouble = if trouble.is_empty() { fault.to_string() } else { trouble.to_owned() };
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if !lane.up && lane.device.is_some() {
            // Another lane over the same connection has told it already.
            return;
        }
        let pause = lane.backoff.next();
        self.broke += u32::from(lane.up && lane.proven);
        for at in self.group(at) {
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.up = false;
                lane.next_connect = now + pause;
            }
        }
        // One after the other breaks, and on none of them is anything under way: no use to try them all.
        if self.broke > 1 && !self.lanes.iter().enumerate().any(|(i, l)| i != at && l.up && l.busy) {
            self.lanes.iter_mut().for_each(|lane| lane.up = false);
        }
        if self.is_up() {
            return self.complain(&trouble);
        }
        let pause = self.backoff.next();
        self.next_connect = now + pause;
        let broke = self.stats.state.down(trouble.clone());
        if let Some(unsaid) = self.said.down(broke, now) {
            let unsaid = (unsaid > 0).then_some(unsaid);
            tracing::warn!(link = %self.plan.name, %trouble, next_try = ?pause, unsaid, "link is down");
        } else {
            tracing::debug!(link = %self.plan.name, %trouble, next_try = ?pause, "link is still down");
        }
        for device in self.turns.lose_all(now) {
            self.bury(device, Fault::NotConnected);
        }
    }

    /// Some lanes are open and one is not: perhaps the host takes no more of them.
    fn complain(&mut self, trouble: &str) {
        let pipeline = self.plan.pipeline.max(1);
        let open = self.lanes.iter().filter(|lane| lane.up).count() / pipeline;
        if std::mem::replace(&mut self.complained, true) {
            tracing::debug!(link = %self.plan.name, trouble, open, "one connection less");
        } else {
            tracing::warn!(
                link = %self.plan.name, trouble, open, wanted = self.plan.connections,
                "not all connections of the link are open, the others go on; if the device takes no more than \
                 these, lower `connections`"
            );
        }
    }

    /// Something was answered over the lane. Open means that: some hosts take a connection only to close it.
    pub(super) fn proven(&mut self, at: usize) {
        self.broke = 0;
        self.backoff.reset();
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.proven = true;
            lane.backoff.reset();
        }
    }

    /// The lane broke while it read this block, which says nothing of the device; `false` where the link is
    /// gone with it. Another lane reads the block.
    pub(super) fn again(&mut self, block: usize) -> bool {
        let up = self.is_up();
        if up {
            self.turns.schedule.again(block, Instant::now());
        }
        up
    }
}
