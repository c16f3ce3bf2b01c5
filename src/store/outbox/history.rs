//! History as a holder of what is accepted: it lets go of a batch once that is written, or when memory runs short.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::Outbox;
use crate::model::{Batch, DeviceId};
use crate::store::losses::Reason;

impl Outbox {
    /// Whether a batch is to be written for history.
    pub(super) fn history_takes(&mut self, batch: &Batch) -> bool {
        if self.history_rests && !self.disk_down && self.bytes < self.rules.memory / 2 {
            self.history_rests = false;
        }
        let takes = self.rules.history && !self.history_rests;
        if self.history_rests && !self.readers.iter().any(|r| r.durable) {
            self.history_loses(batch);
        }
        takes
    }

    /// Memory is short: what is only there for history goes before anything that a reader waits for. What a
    /// durable reader waits for is written in any case, and history has it then.
    pub(super) fn history_yields(&mut self) {
        if !self.rules.history || self.history_rests {
            return;
        }
        self.history_rests = true;
        for seq in self.base..self.base + self.head.len() as u64 {
            let Some(entry) = self.slot_mut(seq).filter(|e| e.history) else { continue };
            let lost = (entry.durable == 1).then(|| entry.batch.clone());
            if let Some(batch) = lost {
                self.history_loses(&batch);
            }
            self.history_lets_go(seq);
        }
    }

    fn history_lets_go(&mut self, seq: u64) {
        let Some(entry) = self.slot_mut(seq).filter(|e| e.history) else { return };
        entry.history = false;
        entry.holders = entry.holders.saturating_sub(1);
        entry.durable = entry.durable.saturating_sub(1);
        if entry.holders == 0 {
            self.free(seq);
        }
    }

    /// When the oldest batch was accepted that history waits for.
    pub(super) fn history_since(&mut self) -> Option<Instant> {
        let mut seq = self.history_from.max(self.base);
        let waits = |outbox: &Outbox, seq| outbox.slot(seq).filter(|e| e.history).map(|e| e.at);
        while seq < self.next_seq && waits(self, seq).is_none() {
            seq += 1;
        }
        self.history_from = seq;
        waits(self, seq)
    }

    /// Counted, and told as any other loss is.
    pub(super) fn history_loses(&mut self, batch: &Batch) {
        self.history_lost += batch.samples.len() as u64;
        self.losses.batch("(history)", Reason::Memory, batch);
    }

    /// A batch is on the disk.
    pub(super) fn history_has(&mut self, seq: u64) {
        self.history_lets_go(seq);
    }

    /// What is in memory of these devices, with its sequence numbers.
    pub(in crate::store) fn in_memory(&self, of: &BTreeSet<DeviceId>) -> Vec<(u64, Arc<Batch>)> {
        let slots = (self.base..).zip(&self.head);
        let entries = slots.filter_map(|(seq, slot)| slot.as_ref().map(|entry| (seq, &entry.batch)));
        entries.filter(|(_, batch)| of.contains(&batch.device)).map(|(seq, b)| (seq, b.clone())).collect()
    }
}
