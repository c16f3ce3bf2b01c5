//! A disk that does not do it: what is said, when it is tried again, and the ballast that makes room.

use std::time::{Duration, Instant};

use super::Writer;
use crate::store::losses::Reason;
use crate::store::spool::SpoolError;

/// Between two tries of a disk that fails.
const RETRY: Duration = Duration::from_secs(2);

impl Writer {
    pub(super) fn note(&mut self, done: Result<(), SpoolError>) {
        match done {
            Err(error) => self.failed(&error),
            Ok(()) if self.disk.is_some() && self.trouble.is_some_and(|at| Instant::now() >= at) => {
                self.trouble = None;
                self.stats.durable.set(i64::from(self.proven));
                self.shared.outbox().disk_down = false;
                tracing::info!("the store's disk works again");
            }
            Ok(()) => {}
        }
    }

    pub(super) fn failed(&mut self, error: &SpoolError) {
        self.stats.disk_errors.bump();
        if self.trouble.is_none() {
            let path = self.options.path.clone().unwrap_or_default();
            tracing::error!(
                path = %path.display(), %error,
                "the store cannot use its disk: samples are kept in memory only, within its budget; tried again every {RETRY:?}"
            );
        }
        self.trouble = Some(Instant::now() + RETRY);
        self.stats.durable.set(0);
        let mut outbox = self.shared.outbox();
        outbox.disk_down = true;
        outbox.wake_all();
        drop(outbox);
        if matches!(error, SpoolError::Full(_)) {
            self.full();
        }
    }

    /// The disk has no room: first the ballast goes, then history, then the oldest. Removing needs none.
    pub(super) fn full(&mut self) {
        self.stats.disk_full.set(1);
        let Some(disk) = &self.disk else { return };
        if disk.ballast.give_up() {
            self.gave_up_ballast();
            // No need to wait.
            self.trouble = Some(Instant::now());
            self.shared.poke();
        } else if !self.history_gives() && self.disk.as_ref().is_some_and(|d| d.segments.len() > 1) {
            self.evict_oldest(Reason::DiskFull);
        }
    }

    pub(super) fn gave_up_ballast(&self) {
        self.stats.disk_full.set(1);
        self.stats.ballast_bytes.set(0);
        tracing::error!(
            bytes = self.options.ballast,
            "the store's disk is full: its ballast is given up for what waits; make room"
        );
    }

    /// Takes the ballast's room again, when there is plenty.
    pub(super) fn keep_ballast(&self) {
        let Some(disk) = self.disk.as_ref().filter(|_| self.trouble.is_none()) else { return };
        match disk.ballast.restore() {
            Ok(true) if self.stats.disk_full.get() == 1 => {
                tracing::info!(
                    bytes = self.options.ballast,
                    "the store's disk has room again: ballast taken"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "no ballast for the store"),
        }
        let held = disk.ballast.held();
        if held >= self.options.ballast {
            self.stats.disk_full.set(0);
        }
        self.stats.ballast_bytes.set(i64::try_from(held).unwrap_or(i64::MAX));
    }
}
