//! One plan of a link after another: what holds on, and what has to be said of the rest.

use std::collections::HashMap;
use std::sync::Arc;

use super::hub::Hub;
use super::plan::LinkPlan;
use super::task::{Context, recall};
use crate::command::Refusal;
use crate::drivers::Link;
use crate::model::{Fault, Sample, TagId};

/// The devices (new place, old place) and blocks that are the same in both plans.
struct Kept {
    devices: Vec<(usize, usize)>,
    blocks: Vec<(usize, usize)>,
}

impl Kept {
    fn of(new: &LinkPlan, old: &LinkPlan) -> Kept {
        let same = |(at, device): (usize, &super::DevicePlan)| {
            let before = old.devices.iter().position(|d| d.id == device.id)?;
            old.spec.keeps_device(before, &new.spec, at).then_some((at, before))
        };
        let devices: Vec<_> = new.devices.iter().enumerate().filter_map(same).collect();
        let old_place: HashMap<usize, usize> = devices.iter().copied().collect();
        let before: HashMap<_, _> = old
            .blocks
            .iter()
            .enumerate()
            .map(|(at, block)| ((block.device, block.period, block.label.as_str()), at))
            .collect();
        let same = |(at, block): (usize, &super::BlockTask)| {
            let device = *old_place.get(&block.device)?;
            Some((at, *before.get(&(device, block.period, block.label.as_str()))?))
        };
        let blocks = new.blocks.iter().enumerate().filter_map(same).collect();
        Kept { devices, blocks }
    }
}

impl Hub {
    /// The hub of the next plan over the same connections, between two transactions. Devices that are the same stay
    /// alive or dead, their tags keep what was reported of them, and blocks that are the same are due when they
    /// were. What is new is due now.
    pub(super) fn follow(mut self, plan: Arc<LinkPlan>, cx: &Context, first: Option<&mut Link>) -> Hub {
        let kept = Kept::of(&plan, &self.plan);
        if let Some(link) = first {
            let is_kept = |at: usize| kept.devices.iter().any(|(new, _)| *new == at);
            for device in (0..plan.devices.len()).filter(|at| !is_kept(*at)) {
                recall(link, &plan, device, &cx.store);
            }
        }
        let mut next = Hub::new(plan, cx, self.backoff.longest());
        let old_tags: HashMap<TagId, usize> = self
            .plan
            .devices
            .iter()
            .enumerate()
            .flat_map(|(at, d)| d.tags.iter().map(move |t| (*t, at)))
            .collect();
        let is_same =
            |tag: TagId| old_tags.get(&tag).is_some_and(|old| kept.devices.iter().any(|(_, o)| o == old));
        next.normalizer.take_over(self.normalizer, is_same);
        next.turns.take_over(self.turns, &kept.devices, &kept.blocks);
        next.inventory =
            self.inventory.moved(|old| kept.devices.iter().find(|(_, o)| *o == old).map(|(new, _)| *new));
        next.load = self.load;
        next.lanes = self.lanes;
        next.lanes.iter_mut().for_each(|lane| (lane.device, lane.block) = (None, None));
        (next.next_connect, next.backoff) = (self.next_connect, self.backoff);
        (next.complained, next.broke, next.said) = (self.complained, self.broke, self.said);
        for write in std::mem::take(&mut self.writes) {
            // It was checked against what the tag was then.
            let task =
                |plan: &LinkPlan| plan.writes.get(&write.tag).map(|task| (task.rule.clone(), task.place));
            if is_same(write.tag) && task(&next.plan) == task(&self.plan) {
                next.ask(write);
            } else {
                // Who asked may have gone meanwhile.
                let _ = write.reply.send(Err(Refusal::LinkDown));
            }
        }
        next.tell_new(&self.plan, &kept);
        next
    }

    /// No plan follows on these connections: what waits is not done.
    pub(super) fn leave(mut self) {
        self.refuse_writes();
    }

    /// What is known at once of tags that are new: those of a dead device are bad, and those that are only written
    /// are never read.
    fn tell_new(&mut self, old: &LinkPlan, kept: &Kept) {
        let was_unread = |tag: TagId| old.writes.get(&tag).is_some_and(|task| task.read_back.is_none());
        for (device, _) in &kept.devices {
            let Some(health) = self.turns.health(*device) else { continue };
            let (alive, known) = (health.is_alive(), health.is_known());
            let mut samples: Vec<Sample> = Vec::new();
            if alive {
                samples = self.never_read(*device);
                samples.retain(|sample| !was_unread(sample.tag));
            } else if known {
                let fault = if self.is_up() { Fault::Timeout } else { Fault::NotConnected };
                self.apply_all(*device, fault, &mut samples);
            }
            self.hand_on(*device, samples, false);
        }
        if self.is_up() {
            self.bear_unread();
        }
    }
}
