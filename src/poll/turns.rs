//! Whose turn it is on a link: pure; the link's task asks it, and so does the forecast of a plan.

use std::time::Duration;

use tokio::time::Instant;

use super::plan::LinkPlan;
use super::schedule::Schedule;
use super::state::{Budget, Health};
use crate::model::Fault;

/// Schedule and state of all devices of a link.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) schedule: Schedule,
    health: Vec<Health>,
    budget: Budget,
    device_of: Vec<usize>,
    blocks_of: Vec<Vec<usize>>,
    /// Reads of a device that may be under way at once.
    most: usize,
    /// What is under way with each device: by schedule these many reads, or something that bears no other.
    reading: Vec<usize>,
    alone: Vec<bool>,
    /// Blocks that are being read.
    under_way: Vec<bool>,
    /// Writes that wait for their device: it is not polled before them.
    held: Vec<u32>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Read this block.
    Read(usize),
    /// Try this device, which is not alive.
    Revive(usize),
    /// Nothing before this moment; `None`: nothing at all.
    Wait(Option<Instant>),
}

impl Turns {
    /// How long a device that is to be found waits while others are read without a pause.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// The same for one that is known to be dead: what its tries take is bounded anyhow.
    const SHORT_PATIENCE: Duration = Duration::from_millis(100);

    pub(crate) fn new(plan: &LinkPlan, seed: u64, now: Instant) -> Turns {
        // The first block is what tries a device that is dead: the cheapest one.
        let blocks_of = |device| {
            let mut blocks: Vec<_> =
                plan.blocks.iter().enumerate().filter(|(_, b)| b.device == device).collect();
            blocks.sort_by_key(|(at, block)| (block.cost, *at));
            blocks.into_iter().map(|(at, _)| at).collect()
        };
        Turns {
            schedule: Schedule::new(plan.blocks.iter().map(|b| b.period), now),
            health: (0..plan.devices.len()).map(|i| Health::new(seed ^ (i as u64 + 1) << 32, now)).collect(),
            budget: Budget::new(now),
            device_of: plan.blocks.iter().map(|b| b.device).collect(),
            blocks_of: (0..plan.devices.len()).map(blocks_of).collect(),
            most: plan.at_once(),
            reading: vec![0; plan.devices.len()],
            alone: vec![false; plan.devices.len()],
            under_way: vec![false; plan.blocks.len()],
            held: vec![0; plan.devices.len()],
        }
    }

    /// Goes on where another plan was: health of the devices that are the same (new place, old place), and when
    /// the blocks are due that are.
    pub(crate) fn take_over(
        &mut self,
        mut before: Turns,
        devices: &[(usize, usize)],
        blocks: &[(usize, usize)],
    ) {
        for (new, old) in devices {
            if let (Some(health), Some(known)) = (self.health.get_mut(*new), before.health.get_mut(*old)) {
                std::mem::swap(health, known);
            }
        }
        for (new, old) in blocks {
            self.schedule.take_over(*new, &before.schedule, *old);
        }
        self.budget = before.budget;
    }

    /// A lane is busy with this device from now on: reads a block by schedule, or has it for itself.
    pub(crate) fn take(&mut self, device: usize, block: Option<usize>) {
        self.set(device, block, true);
    }

    /// It is not any more.
    pub(crate) fn give_back(&mut self, device: usize, block: Option<usize>) {
        self.set(device, block, false);
    }

    fn set(&mut self, device: usize, block: Option<usize>, busy: bool) {
        match block {
            None => {
                if let Some(alone) = self.alone.get_mut(device) {
                    *alone = busy;
                }
            }
            Some(block) => {
                if let Some(under_way) = self.under_way.get_mut(block) {
                    *under_way = busy;
                }
                if let Some(reading) = self.reading.get_mut(device) {
                    *reading = if busy { *reading + 1 } else { reading.saturating_sub(1) };
                }
            }
        }
    }

    /// Whether no lane is busy with it.
    pub(crate) fn is_free(&self, device: usize) -> bool {
        self.reading.get(device) == Some(&0) && self.alone.get(device) == Some(&false)
    }

    /// Whether one block more of it may be read.
    fn takes_a_read(&self, device: usize) -> bool {
        self.reading.get(device).is_some_and(|reading| *reading < self.most)
            && self.alone.get(device) == Some(&false)
    }

    /// A write waits for this device, or one less does.
    pub(crate) fn hold(&mut self, device: usize, more: bool) {
        if let Some(held) = self.held.get_mut(device) {
            *held = if more { held.saturating_add(1) } else { held.saturating_sub(1) };
        }
    }

    pub(crate) fn health(&self, device: usize) -> Option<&Health> {
        self.health.get(device)
    }

    pub(crate) fn health_mut(&mut self, device: usize) -> Option<&mut Health> {
        self.health.get_mut(device)
    }

    /// The blocks of a device, the cheapest first.
    pub(crate) fn blocks_of(&self, device: usize) -> &[usize] {
        self.blocks_of.get(device).map_or(&[], Vec::as_slice)
    }

    /// The link is open again: every device is tried at once.
    pub(crate) fn try_all(&mut self, now: Instant) {
        self.health.iter_mut().for_each(|health| health.try_now(now));
    }

    /// The link is gone. Gives the devices that were not dead before.
    pub(crate) fn lose_all(&mut self, now: Instant) -> Vec<usize> {
        let fault = Fault::NotConnected;
        let died =
            |health: &mut Health| health.failed(fault, Duration::ZERO, now) == super::state::Verdict::Died;
        self.health.iter_mut().enumerate().filter_map(|(at, health)| died(health).then_some(at)).collect()
    }

    /// A try of a device that is known to be dead took so long and brought nothing.
    pub(crate) fn tried_in_vain(&mut self, took: Duration, now: Instant) {
        self.budget.spend(took, now);
    }

    fn patience(&self, device: usize) -> Duration {
        match self.health.get(device).is_some_and(Health::is_left_alone) {
            true => Self::SHORT_PATIENCE,
            false => Self::PATIENCE,
        }
    }

    /// Of devices that no lane is busy with, nor, unless `after_a_write`, a write waits for.
    pub(crate) fn next(&self, now: Instant, after_a_write: bool) -> Turn {
        let wanted = |device: usize| after_a_write || self.held.get(device).is_none_or(|held| *held == 0);
        let alive = |block: usize| {
            let device = *self.device_of.get(block)?;
            let may =
                self.takes_a_read(device) && self.under_way.get(block) == Some(&false) && wanted(device);
            self.health.get(device).filter(|_| may)?.polled_from()
        };
        // A device that has answered is polled before one that may not answer at all; but that one
        // is tried as soon as there is a moment, or when it has waited long enough for one.
        let tries =
            self.health.iter().enumerate().filter(|(device, _)| self.is_free(*device) && wanted(*device));
        let tries = tries.filter_map(|(device, health)| {
            // Without a block there is nothing to try it with.
            let at = health.next_try().filter(|_| !self.blocks_of(device).is_empty())?;
            Some((if health.is_left_alone() { at.max(self.budget.free_at()) } else { at }, device))
        });
        let try_next = tries.min();
        if let Some((at, device)) = try_next
            && at + self.patience(device) <= now
        {
            return Turn::Revive(device);
        }
        if let Some(block) = self.schedule.next(now, alive) {
            return Turn::Read(block);
        }
        match try_next {
            Some((at, device)) if at <= now => Turn::Revive(device),
            Some((at, _)) => Turn::Wait(Some(self.schedule.wake(alive).map_or(at, |due| due.min(at)))),
            None => Turn::Wait(self.schedule.wake(alive)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::driver::Block;
    use crate::drivers::{LinkSpec, sim};
    use crate::model::DeviceId;
    use crate::poll::{BlockTask, DevicePlan};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Devices with a block each, or without.
    fn plan(blocks: &[bool]) -> LinkPlan {
        let compiled = sim::compile(&sim::Bench::default(), &[]).unwrap();
        let device = |at: usize| DevicePlan { id: DeviceId(at as u32), name: at.to_string(), tags: vec![] };
        let block = |device: usize| BlockTask {
            block: Block(device),
            device,
            period: MS(100),
            rules: vec![],
            label: String::new(),
            cost: MS(150),
            miss: MS(500),
            probe: MS(20),
        };
        LinkPlan {
            name: "bus".into(),
            connections: 1,
            pipeline: 1,
            spec: LinkSpec::Sim(compiled.spec),
            devices: (0..blocks.len()).map(device).collect(),
            blocks: (0..blocks.len()).filter(|at| blocks[*at]).map(block).collect(),
            writes: Default::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_is_looked_for_also_on_a_line_that_is_never_idle() {
        let start = Instant::now();
        let mut turns = Turns::new(&plan(&[true, true]), 1, start);
        assert_eq!(turns.next(start, false), Turn::Revive(0));
        turns.health_mut(0).unwrap().answered();
        // One read takes longer than its period, so the first device alone fills the line.
        let looked_for = (0..20).find(|turn| match turns.next(start + MS(150 * turn), false) {
            Turn::Revive(1) => true,
            Turn::Read(0) => {
                turns.schedule.started(0, start + MS(150 * turn));
                false
            }
            other => panic!("{other:?}"),
        });
        assert!(looked_for.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_without_blocks_is_not_tried() {
        let start = Instant::now();
        assert_eq!(Turns::new(&plan(&[false]), 1, start).next(start, false), Turn::Wait(None));
    }
}
