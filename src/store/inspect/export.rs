//! The samples of a store, one after the other, as a gateway would deliver them.

use crate::model::{Clock, Sample};

use super::super::codec;
use super::super::ranges::Ranges;
use super::copy::Copy;
use super::{Damage, Folder, Progress, segment_name};

/// Which samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// What any publisher has still to get.
    Undelivered,
    /// What this publisher has still to get.
    Of(String),
    /// All that is there.
    All,
}

/// One sample with its names.
#[derive(Debug)]
pub struct Exported<'a> {
    /// The sequence number of its batch.
    pub seq: u64,
    /// `device/tag`.
    pub path: &'a str,
    /// Value, quality and time, as they would leave now.
    pub sample: Sample,
}

impl Folder {
    /// Hands each sample to `to`, in the order of acceptance; an error of it ends the export. Gives what
    /// cannot be read.
    pub fn export(
        &self,
        which: &Which,
        clock: &Clock,
        to: &mut dyn FnMut(Exported<'_>) -> Result<(), String>,
        progress: Progress<'_>,
    ) -> Result<Vec<Damage>, String> {
        let cursors: Vec<Ranges> = match which {
            Which::All => Vec::new(),
            Which::Of(publisher) => vec![self.cursor(publisher)?],
            Which::Undelivered => self.cursors().into_iter().map(|(_, c)| c.unwrap_or_default()).collect(),
        };
        let all = *which == Which::All;
        let wanted = |seq: u64| all || cursors.iter().any(|settled| !settled.contains(seq));
        let wants = |from: u64, to: u64| all || cursors.iter().any(|settled| !settled.covers(from, to));
        let mut damage = Vec::new();
        let mut lost = |id: u64, what: String, samples: u64| {
            damage.push(Damage { place: format!("segments/{}", segment_name(id)), what, samples });
        };
        let segments = self.segments()?;
        let mut end = 0;
        for (at, segment) in segments.iter().enumerate() {
            let listed = segment.blocks.iter().filter(|b| wants(b.key, b.last + 1));
            let listed: u64 = listed.map(|b| b.samples).sum();
            progress(at + 1, segments.len(), &segment_name(segment.id));
            // A list that is complete and well spares the reading of what is delivered.
            if segment.sealed && segment.well && listed == 0 {
                continue;
            }
            let copy = match Copy::of(&segment.path) {
                Ok(copy) => copy,
                // Delivered and removed since the folder was listed.
                Err(_) if !segment.path.exists() => continue,
                Err(why) => {
                    lost(segment.id, format!("cannot be opened: {why}"), listed);
                    continue;
                }
            };
            let keys = match copy.keys() {
                Ok(keys) => keys,
                Err(why) => {
                    lost(segment.id, format!("cannot be read: {why}"), listed);
                    continue;
                }
            };
            for key in keys.into_keys() {
                let bytes = copy.block(key).ok().flatten().unwrap_or_default();
                let mut failed = None;
                let mut last = end;
                let read = codec::each(&bytes, clock, &mut |row, read| {
                    // After a failed write the same batches may lie in two blocks.
                    let take = row.seq >= end && wanted(row.seq);
                    last = row.seq + 1;
                    for read in read {
                        let (tag, sample) = read?;
                        if !take || failed.is_some() {
                            continue;
                        }
                        let name = copy.names.name(tag);
                        let path = name.map_or("(name lost)", |name| name);
                        let sample = clock.put_right_one(sample);
                        failed = to(Exported { seq: row.seq, path, sample }).err();
                    }
                    Some(())
                });
                end = end.max(last);
                if let Some(error) = failed {
                    return Err(error);
                }
                if read.is_none() {
                    let samples = segment.blocks.iter().find(|b| b.key == key).map_or(0, |b| b.samples);
                    lost(segment.id, format!("block {key} fails its check"), samples);
                }
            }
        }
        Ok(damage)
    }
}
