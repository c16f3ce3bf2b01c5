//! One page of history: of each tag the first samples within bounds, from memory and from the blocks that overlap.
//!
//! A lane holds the best samples that were found so far, and no more than the page may have. So the order in
//! which blocks are read does not matter for the answer, only for how soon the rest can be skipped: a clock that
//! was stepped needs no care, and memory is bounded whatever is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::model::{Batch, Clock, DeviceId, Directory, Sample, TagId, Timestamp};
use crate::store::outbox::Block;
use crate::store::segments::{Segments, Stretch};
use crate::store::spool::SpoolError;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The tags, each at most once.
    pub lanes: Vec<Lane>,
    /// The first and the last time, both included.
    pub low: Timestamp,
    /// See `low`.
    pub high: Timestamp,
    /// From the newest to the oldest.
    pub newest_first: bool,
    /// Most samples of each tag.
    pub most: usize,
}

/// A tag, and where the page before ended.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Whose history.
    pub tag: TagId,
    /// As [`Page::next`] had it; `None` for the first page.
    pub after: Option<Place>,
}

/// A sample's place: in time, then in the order of acceptance. Good over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its time.
    pub at: Timestamp,
    /// Its batch.
    pub seq: u64,
    /// Its position in the batch, among the samples of its tag.
    pub nth: u32,
}

/// What one tag has.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In the order that was asked for.
    pub samples: Vec<Sample>,
    /// Where to go on; `None` when there was no more.
    pub next: Option<Place>,
}

/// A page in the making.
#[derive(Debug)]
pub(in crate::store) struct Query {
    ask: Ask,
    /// Puts stamps right that were given before the clock was.
    clock: Clock,
    found: Vec<BTreeMap<Place, Sample>>,
    /// Of each lane the batch looked at last, and how many samples it had there; batches are counted as they come.
    seen: Vec<(u64, u32)>,
    batches: u64,
    lanes: HashMap<TagId, usize>,
    begun: bool,
    segments: VecDeque<Stretch>,
    blocks: VecDeque<Block>,
    answer: Option<oneshot::Sender<Vec<Page>>>,
}

impl Query {
    pub(in crate::store) fn new(ask: Ask, clock: Clock) -> (Query, oneshot::Receiver<Vec<Page>>) {
        let (answer, receiver) = oneshot::channel();
        let query = Query {
            found: vec![BTreeMap::new(); ask.lanes.len()],
            seen: vec![(0, 0); ask.lanes.len()],
            batches: 0,
            lanes: ask.lanes.iter().enumerate().map(|(at, lane)| (lane.tag, at)).collect(),
            ask,
            clock,
            begun: false,
            segments: VecDeque::new(),
            blocks: VecDeque::new(),
            answer: Some(answer),
        };
        (query, receiver)
    }

    /// Takes what is in memory, then notes which segments may have more: what is written after this was in
    /// memory before. False when nobody waits for the answer.
    pub(in crate::store) fn begin(
        &mut self,
        directory: &Directory,
        segments: &Segments,
        in_memory: impl FnOnce(&BTreeSet<DeviceId>) -> Vec<(u64, Arc<Batch>)>,
    ) -> bool {
        if self.answer.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return false;
        }
        if std::mem::replace(&mut self.begun, true) {
            return true;
        }
        let devices = self.lanes.keys().filter_map(|tag| directory.tag(*tag)).map(|tag| tag.device).collect();
        for (seq, batch) in in_memory(&devices) {
            self.take(seq, &batch);
        }
        let mut found: Vec<_> = segments.stretches().filter(|s| self.wants(s.oldest, s.newest)).collect();
        if self.ask.newest_first {
            found.sort_by_key(|s| std::cmp::Reverse(s.newest));
        } else {
            found.sort_by_key(|s| s.oldest);
        }
        self.segments = found.into();
        true
    }

    pub(in crate::store) fn is_done(&self) -> bool {
        self.segments.is_empty() && self.blocks.is_empty()
    }

    /// Reads one block, or the list of the blocks of a segment. An error names the segment and, where there is one,
    /// the block; the next step goes on behind it.
    pub(in crate::store) fn step(
        &mut self,
        segments: &mut Segments,
    ) -> Result<(), (u64, Option<u64>, SpoolError)> {
        let next = if self.ask.newest_first { self.blocks.pop_back() } else { self.blocks.pop_front() };
        if let Some(block) = next {
            let (oldest, newest) = block.span();
            if !self.wants(oldest, newest) {
                return Ok(());
            }
            match segments.read(&block, &mut BTreeSet::new()) {
                Ok(items) => {
                    for item in items {
                        if let Some(batch) = &item.batch {
                            self.take(item.seq, batch);
                        }
                    }
                    return Ok(());
                }
                Err(error) => return Err((block.segment, Some(block.key), error)),
            }
        }
        if let Some(stretch) = self.segments.pop_front()
            && self.wants(stretch.oldest, stretch.newest)
        {
            let blocks = segments.blocks(stretch.segment).map_err(|error| (stretch.segment, None, error))?;
            self.blocks = blocks.into_iter().filter(|b| self.wants(b.span().0, b.span().1)).collect();
        }
        Ok(())
    }

    /// Whether any lane could take a sample from this stretch of time.
    fn wants(&self, oldest: Timestamp, newest: Timestamp) -> bool {
        if newest < self.ask.low || oldest > self.ask.high {
            return false;
        }
        self.ask.lanes.iter().zip(&self.found).any(|(lane, found)| {
            let full = found.len() > self.ask.most;
            if self.ask.newest_first {
                let worst = found.first_key_value().filter(|_| full).map(|(place, _)| place.at);
                lane.after.is_none_or(|after| oldest <= after.at) && worst.is_none_or(|worst| newest >= worst)
            } else {
                let worst = found.last_key_value().filter(|_| full).map(|(place, _)| place.at);
                lane.after.is_none_or(|after| newest >= after.at) && worst.is_none_or(|worst| oldest <= worst)
            }
        })
    }

    /// Takes the samples of a batch that are wanted; twice the same changes nothing.
    fn take(&mut self, seq: u64, batch: &Batch) {
        self.batches += 1;
        for sample in &batch.samples {
            let Some(at) = self.lanes.get(&sample.tag).copied() else { continue };
            let Some(seen) = self.seen.get_mut(at) else { continue };
            let nth = if seen.0 == self.batches { seen.1 + 1 } else { 0 };
            *seen = (self.batches, nth);
            let time = self.clock.best(sample.at, sample.stamp);
            if time < self.ask.low || time > self.ask.high {
                continue;
            }
            let place = Place { at: time, seq, nth };
            let (Some(lane), Some(found)) = (self.ask.lanes.get(at), self.found.get_mut(at)) else {
                continue;
            };
            let is_new = |after: Place| if self.ask.newest_first { place < after } else { place > after };
            if !lane.after.is_none_or(is_new) {
                continue;
            }
            found.entry(place).or_insert_with(|| self.clock.put_right_one(sample.clone()));
            // One more than the page has tells that there is more.
            if found.len() > self.ask.most + 1 {
                if self.ask.newest_first {
                    found.pop_first()
                } else {
                    found.pop_last()
                };
            }
        }
    }

    /// All was looked at.
    pub(in crate::store) fn finish(mut self) {
        let Some(answer) = self.answer.take() else { return };
        let page = |found: BTreeMap<Place, Sample>| {
            let more = found.len() > self.ask.most;
            let mut next = None;
            let mut samples = Vec::with_capacity(found.len().min(self.ask.most));
            let mut put = |(place, sample)| {
                if samples.len() < self.ask.most {
                    next = Some(place);
                    samples.push(sample);
                }
            };
            if self.ask.newest_first {
                found.into_iter().rev().for_each(&mut put);
            } else {
                found.into_iter().for_each(&mut put);
            }
            Page { samples, next: next.filter(|_| more) }
        };
        // Who asked may have gone.
        let _ = answer.send(std::mem::take(&mut self.found).into_iter().map(page).collect());
    }
}
