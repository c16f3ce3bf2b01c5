//! A full check of a store: every block, every name, every list, every cursor.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{Clock, Timestamp};

use super::super::codec;
use super::super::spool::SpoolError;
use super::copy::Copy;
use super::{Folder, Held, Listed, Progress, segment_name};

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Verified {
    /// Segments.
    pub segments: usize,
    /// Blocks that are well.
    pub blocks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Everything that is not as it was written.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Damage {
    /// The file or segment, below the store's folder.
    pub place: String,
    /// What is wrong with it, and what it costs.
    pub what: String,
    /// Samples that are lost with it, as far as they are known.
    pub samples: u64,
}

impl Verified {
    fn damaged(&mut self, place: &str, what: String, samples: u64) {
        self.damage.push(Damage { place: place.to_owned(), what, samples });
    }
}

impl Folder {
    /// Reads all of it. The lock says that no gateway writes meanwhile. An error is a disk that does not let it be read.
    pub fn verify(&self, _lock: &Held, progress: Progress<'_>) -> Result<Verified, String> {
        let mut found = Verified::default();
        let segments = self.segments()?;
        found.segments = segments.len();
        let mut last = 0;
        for (at, segment) in segments.iter().enumerate() {
            last = last.max(self.verify_segment(segment, &mut found)?);
            progress(at + 1, segments.len(), &segment_name(segment.id));
        }
        for (name, settled) in self.cursors() {
            if settled.is_none() {
                let place = format!("readers/{}", super::cursor::file_name(&name));
                found.damaged(
                    &place,
                    format!("the cursor of `{name}` is damaged: all that is kept is delivered to it again"),
                    0,
                );
            }
        }
        match self.sequence() {
            None => found.damaged(
                "sequence",
                "the reserved sequence number is damaged: it is taken from the blocks and cursors".into(),
                0,
            ),
            Some(reserved) if reserved <= last => {
                found.damaged("sequence", format!("{reserved} is reserved, but {last} is in use"), 0)
            }
            Some(_) => {}
        }
        Ok(found)
    }

    /// Gives the last sequence number in it.
    fn verify_segment(&self, segment: &Listed, found: &mut Verified) -> Result<u64, String> {
        let place = format!("segments/{}", segment_name(segment.id));
        let listed: u64 = segment.blocks.iter().map(|b| b.samples).sum();
        let copy = match Copy::of(&segment.path) {
            Ok(copy) => copy,
            Err(SpoolError::Disk(why)) => return Err(format!("{place} cannot be read: {why}")),
            Err(why) => {
                found.damaged(&place, format!("cannot be opened: {why}"), listed);
                return Ok(segment.blocks.iter().map(|b| b.last).max().unwrap_or(0));
            }
        };
        let disk = |error: SpoolError| format!("{place} cannot be read: {error}");
        let keys = copy.keys().map_err(disk)?;
        if !segment.well && segment.sealed {
            found.damaged(&place, "its list of blocks is damaged: the next start reads all of it".into(), 0);
        }
        if copy.bad_names > 0 {
            found.damaged(&place, format!("{} records of names fail their check", copy.bad_names), 0);
        }
        for block in segment.blocks.iter().filter(|b| !keys.contains_key(&b.key)) {
            let what = format!("block {} to {} is listed and not there", block.key, block.last);
            found.damaged(&place, what, block.samples);
        }
        let clock = Clock::starting_at(Timestamp::PLAUSIBLE);
        let mut last = segment.blocks.iter().map(|b| b.last).max().unwrap_or(0);
        for key in keys.into_keys() {
            let bytes = copy.block(key).map_err(disk)?.unwrap_or_default();
            let (mut samples, mut lost) = (0, BTreeSet::new());
            let read = codec::head(&bytes).filter(|head| head.first == key).and_then(|head| {
                codec::each(&bytes, &clock, &mut |row, read| {
                    lost.extend(Some(row.device).filter(|device| copy.names.name(*device).is_none()));
                    for read in read {
                        let (tag, _) = read?;
                        samples += 1;
                        lost.extend(Some(tag).filter(|tag| copy.names.name(*tag).is_none()));
                    }
                    Some(())
                })?;
                Some(head)
            });
            let Some(head) = read else {
                let listed = segment.blocks.iter().find(|b| b.key == key).map_or(0, |b| b.samples);
                found.damaged(&place, format!("block {key} fails its check"), listed);
                continue;
            };
            last = last.max(head.last);
            if !lost.is_empty() {
                let what = format!("block {key}: {} of its names are lost", lost.len());
                found.damaged(&place, what, 0);
            }
            found.blocks += 1;
            found.samples += samples;
        }
        Ok(last)
    }
}
