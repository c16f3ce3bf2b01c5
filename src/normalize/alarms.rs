//! All alarms of a link: delays that end without a new value, acknowledging, and what a later run must know.

use std::collections::{BTreeMap, HashMap};

use super::alarm::Engine;
use super::normalizer::{Normalizer, Tracked};
use crate::model::{Level, Sample, Stamp, TagId, Timestamp};

impl Normalizer {
    /// Before this moment no alarm changes but by a sample.
    pub fn alarms_due(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Time went on. What became of alarms whose delay is over, each with the number of its block.
    pub fn settle_alarms(&mut self, now: Timestamp, stamp: Stamp) -> Vec<(usize, Vec<Sample>)> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        let (mut told, mut changed, mut next) = (Vec::new(), false, None);
        for (block, engines) in engines(&mut self.blocks) {
            let mut samples = Vec::new();
            for engine in engines {
                if engine.deadline().is_some_and(|deadline| deadline <= now) {
                    engine.wait(now);
                    changed |= engine.tell(now, stamp, &mut samples);
                }
                next = [next, engine.deadline()].into_iter().flatten().min();
            }
            if !samples.is_empty() {
                told.push((block, samples));
            }
        }
        self.deadline = next;
        self.alarms_changed |= changed;
        told
    }

    /// Somebody has seen the alarm that this tag shows as acknowledged or not. The number of its block and what is
    /// to be told; `None` where it is no such tag.
    pub fn acknowledge(&mut self, acked: TagId, now: (Timestamp, Stamp)) -> Option<(usize, Vec<Sample>)> {
        let mut all = engines(&mut self.blocks).flat_map(|(block, all)| all.map(move |one| (block, one)));
        let (block, engine) = all.find(|(_, engine)| engine.alarm().acked == acked)?;
        let mut samples = Vec::new();
        if engine.acknowledge() {
            engine.tell(now.0, now.1, &mut samples);
            self.alarms_changed = true;
        }
        Some((block, samples))
    }

    /// What a later run must know of the alarms, as text, where it is another than when this was last asked.
    pub fn changed_alarms(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.alarms_changed) {
            return None;
        }
        let kept = engines(&mut self.blocks).flat_map(|(_, engines)| engines).filter_map(|engine| {
            let (level, acked) = engine.kept()?;
            let acked = if acked { ACKED } else { UNACKED };
            Some((engine.alarm().path.to_string(), format!("{} {acked}", level.name())))
        });
        let kept: BTreeMap<String, String> = kept.collect();
        Some(toml::to_string(&kept).unwrap_or_default())
    }

    /// Takes over what an earlier run left; a line that makes no sense is left out.
    pub fn restore_alarms(&mut self, text: &str) {
        let kept: HashMap<String, String> = toml::from_str(text).unwrap_or_default();
        for engine in engines(&mut self.blocks).flat_map(|(_, engines)| engines) {
            let Some((level, acked)) = kept.get(&*engine.alarm().path).and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            if let (Some(level), ACKED | UNACKED) = (Level::from_name(level), acked) {
                engine.restore(level, acked == ACKED);
            }
        }
    }
}

fn engines(blocks: &mut [Vec<Tracked>]) -> impl Iterator<Item = (usize, impl Iterator<Item = &mut Engine>)> {
    let blocks = blocks.iter_mut().enumerate();
    blocks.map(|(block, tags)| (block, tags.iter_mut().filter_map(|tag| tag.alarm.as_deref_mut())))
}

const ACKED: &str = "acknowledged";
const UNACKED: &str = "unacknowledged";
