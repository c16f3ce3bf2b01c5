//! What the task of one link does: plain data, comparable.

use std::collections::HashMap;
use std::time::Duration;

use crate::drivers::LinkSpec;
use crate::drivers::driver::{Block, Point};
use crate::model::{DeviceId, Place, TagId};
use crate::normalize::{PlacedRule, Rule};

/// All that one link's task needs.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkPlan {
    /// The link's name.
    pub name: String,
    /// For the driver.
    pub spec: LinkSpec,
    /// Connections at once; 1 on a serial line.
    pub connections: usize,
    /// Requests in flight on each.
    pub pipeline: usize,
    /// The devices reached through it.
    pub devices: Vec<DevicePlan>,
    /// The reads, each with its period.
    pub blocks: Vec<BlockTask>,
    /// The writable tags.
    pub writes: HashMap<TagId, WriteTask>,
}

impl LinkPlan {
    /// Transactions that can be under way at once.
    pub fn lanes(&self) -> usize {
        self.connections.max(1) * self.pipeline.max(1)
    }

    /// Reads of one device that may be under way at once: where there are others, one lane is left for them.
    pub fn at_once(&self) -> usize {
        let most = self.pipeline.max(1);
        if self.devices.len() > 1 { most.min(self.lanes().saturating_sub(1)).max(1) } else { most }
    }

    /// How much of the time of all its lanes the reads ask for; above 1.0 not all can be held.
    pub fn wanted_load(&self) -> f64 {
        // `sum` of nothing is -0.
        self.blocks.iter().map(BlockTask::load).fold(0.0, |sum, load| sum + load) / self.lanes() as f64
    }

    /// Under which name the store keeps what is learned of a device: on another link it is another box.
    pub fn learned_as(&self, device: usize) -> Option<String> {
        Some(format!("{}/{}", self.name, self.devices.get(device)?.name))
    }

    /// Under which name the store keeps how its alarms stand. No device's name has a `#`.
    pub fn alarms_kept_as(&self) -> String {
        format!("{}/#alarms", self.name)
    }

    /// The load of the link, or of that device which asks for most where that is more: a device has one
    /// transaction at a time, in a pipeline a few reads, however many lanes there are.
    pub fn tightest_load(&self) -> f64 {
        let mut devices = vec![0.0; self.devices.len()];
        for block in &self.blocks {
            if let Some(load) = devices.get_mut(block.device) {
                *load += block.load() / self.at_once() as f64;
            }
        }
        devices.into_iter().fold(self.wanted_load(), f64::max)
    }
}

/// One device of a link.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePlan {
    /// Its number.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// All its tags: what goes bad when it dies.
    pub tags: Vec<TagId>,
}

/// One read, done every period.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockTask {
    /// The driver's handle.
    pub block: Block,
    /// Index into `devices`.
    pub device: usize,
    /// How often.
    pub period: Duration,
    /// What the raw means.
    pub rules: Vec<PlacedRule>,
    /// What it asks, for people.
    pub label: String,
    /// Expected time of a read.
    pub cost: Duration,
    /// The same where the device does not answer.
    pub miss: Duration,
    /// What a hasty probe takes of a device that does not answer.
    pub probe: Duration,
}

impl BlockTask {
    /// How much of a lane's time it asks for.
    pub fn load(&self) -> f64 {
        self.cost.as_secs_f64() / self.period.as_secs_f64().max(1e-6)
    }
}

/// One writable tag.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteTask {
    /// The driver's handle.
    pub point: Point,
    /// Index into `devices`.
    pub device: usize,
    /// Index into `blocks`: read back after the write; `None` where the tag is never read.
    pub read_back: Option<usize>,
    /// Where `encode` puts the value.
    pub place: Place,
    /// How it is encoded.
    pub rule: Rule,
}
