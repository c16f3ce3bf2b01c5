//! Gives up what waits in a store: for one publisher, or all of it.

use std::fs::{self, File};

use serde::Serialize;

use crate::model::{Clock, Timestamp};

use super::super::cursor;
use super::super::ranges::Ranges;
use super::super::slots::SlotFile;
use super::{Damage, Folder, Held, Progress, Which};

/// What was given up.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Purged {
    /// Samples that a publisher had still to deliver: they are dropped.
    pub dropped: u64,
    /// The time stamps of the first and the last of them.
    pub from: Option<Timestamp>,
    /// See `from`.
    pub to: Option<Timestamp>,
    /// Segments removed; those of one publisher go when the gateway runs again, if no other needs them.
    pub segments: usize,
    /// Segments removed that had been set aside.
    pub quarantined: u64,
    /// What could not be counted, since it is damaged.
    pub damage: Vec<Damage>,
}

impl Folder {
    /// What a purge would give up; changes nothing.
    pub fn would_purge(&self, which: &Which, progress: Progress<'_>) -> Result<Purged, String> {
        let mut purged = Purged::default();
        let clock = Clock::starting_at(Timestamp::PLAUSIBLE);
        purged.damage = self.export(
            // With all of it goes what is delivered, too; but that is no loss.
            if *which == Which::All { &Which::Undelivered } else { which },
            &clock,
            &mut |exported| {
                let at = Some(exported.sample.at);
                purged.dropped += 1;
                purged.from = purged.from.into_iter().chain(at).min();
                purged.to = purged.to.max(at);
                Ok(())
            },
            progress,
        )?;
        if *which == Which::All {
            purged.segments = self.segments()?.len();
            purged.quarantined = self.quarantined();
        }
        Ok(purged)
    }

    /// Does it. The lock says that no gateway has it open.
    pub fn purge(&self, _lock: &Held, which: &Which) -> Result<(), String> {
        let failed = |what: &str, error: std::io::Error| format!("{what} cannot be changed: {error}");
        let readers = self.root.join("readers");
        if let Which::Of(publisher) = which {
            self.cursor(publisher)?;
            let next = self.next()?;
            let mut settled = Ranges::default();
            settled.insert(0, next);
            let path = readers.join(cursor::file_name(publisher));
            let (mut file, _) = SlotFile::open(&path).map_err(|e| failed("its cursor", e))?;
            return file.write(&cursor::encode(&settled)).map_err(|e| failed("its cursor", e));
        }
        for segment in self.segments()? {
            fs::remove_dir_all(&segment.path).map_err(|e| failed("a segment", e))?;
        }
        let quarantine = self.root.join("quarantine");
        if quarantine.exists() {
            fs::remove_dir_all(&quarantine).map_err(|e| failed("`quarantine`", e))?;
        }
        // No number is used twice: `sequence` stays, and with it where the next run begins.
        for (name, _) in self.cursors() {
            fs::remove_file(readers.join(cursor::file_name(&name))).map_err(|e| failed("a cursor", e))?;
        }
        for folder in [&self.root, &readers, &self.root.join("segments")] {
            File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failed("the folder", e))?;
        }
        Ok(())
    }

    /// A sequence number above all in use.
    fn next(&self) -> Result<u64, String> {
        let written = self.segments()?.iter().flat_map(|s| &s.blocks).map(|b| b.last + 1).max();
        Ok(self.sequence().max(written).unwrap_or(0))
    }
}
