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
    /// The devices reached through it.
    pub devices: Vec<DevicePlan>,
    /// The reads, each with its period.
    pub blocks: Vec<BlockTask>,
    /// The writable tags.
    pub writes: HashMap<TagId, WriteTask>,
}

impl LinkPlan {
    /// How much of the link's time the reads ask for; above 1.0 not all can be held.
    pub fn wanted_load(&self) -> f64 {
        // `sum` of nothing is -0.
        let of = |b: &BlockTask| b.cost.as_secs_f64() / b.period.as_secs_f64().max(1e-6);
        self.blocks.iter().map(of).fold(0.0, |sum, load| sum + load)
    }

    /// Under which name the store keeps what is learned of a device: on another link it is another box.
    pub fn learned_as(&self, device: usize) -> Option<String> {
        Some(format!("{}/{}", self.name, self.devices.get(device)?.name))
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
