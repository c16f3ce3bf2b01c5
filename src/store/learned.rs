//! What links have learned of their devices, a small text each, kept over restarts in the store's folder.
//!
//! The store does not know what is in them. They are written rarely, whole or not at all, by the store's thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::cursor::{escaped, unescaped};

/// The folder within the store's.
const FOLDER: &str = "learned";
const SUFFIX: &str = ".toml";
/// Files and bytes of each that are read: more was never written.
const MOST_FILES: usize = 10_000;
const MOST_BYTES: u64 = 1 << 20;
/// Changes within this time are one write.
const WAIT: Duration = Duration::from_secs(5);

/// The texts by name, and which of them are not on the disk yet.
#[derive(Debug, Default)]
pub(super) struct Learned {
    texts: BTreeMap<String, String>,
    unwritten: BTreeSet<String>,
    since: Option<Instant>,
}

impl Learned {
    /// Takes over a text.
    pub(super) fn note(&mut self, name: &str, text: String, now: Instant) {
        if self.texts.get(name) == Some(&text) {
            return;
        }
        self.texts.insert(name.to_owned(), text);
        self.unwritten.insert(name.to_owned());
        self.since.get_or_insert(now);
    }

    /// The text of this name.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.texts.get(name).cloned()
    }

    /// What earlier runs left; this run knows better.
    pub(super) fn adopt(&mut self, found: BTreeMap<String, String>) {
        for (name, text) in found {
            self.texts.entry(name).or_insert(text);
        }
    }

    /// What is to be written now.
    pub(super) fn due(&mut self, all: bool, now: Instant) -> Vec<(String, String)> {
        let waited = self.since.is_some_and(|since| now.saturating_duration_since(since) >= WAIT);
        if !all && !waited {
            return Vec::new();
        }
        self.since = None;
        let names = std::mem::take(&mut self.unwritten);
        names.into_iter().filter_map(|name| Some((name.clone(), self.texts.get(&name)?.clone()))).collect()
    }
}

/// All texts in a store's folder, also while a gateway has it open; what cannot be read is left out, with a
/// warning.
pub fn read(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(root.join(FOLDER)) else { return found };
    for entry in entries.flatten().take(MOST_FILES) {
        let file = entry.file_name();
        let name = file.to_str().and_then(|f| f.strip_suffix(SUFFIX)).and_then(unescaped);
        let Some(name) = name else { continue };
        let mut text = String::new();
        let read = File::open(entry.path()).and_then(|f| f.take(MOST_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => drop(found.insert(name, text)),
            Err(error) => {
                tracing::warn!(file = %entry.path().display(), %error, "what was learned cannot be read");
            }
        }
    }
    found
}

/// Whole or not at all, also over a power cut.
pub(super) fn write(root: &Path, name: &str, text: &str) -> io::Result<()> {
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let (path, fresh) = (folder.join(escaped(name) + SUFFIX), folder.join(escaped(name) + ".new"));
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(&folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_damage_costs_only_its_own_file() {
        let root = tempfile::tempdir().unwrap();
        assert!(read(root.path()).is_empty());
        write(root.path(), "net/pump 1", "a = 1\n").unwrap();
        write(root.path(), "net/pump 1", "a = 2\n").unwrap();
        write(root.path(), "net/../Ü", "b").unwrap();
        fs::write(root.path().join("learned/broken.toml"), [0xFF, 0xFE]).unwrap();
        fs::write(root.path().join("learned/half.new"), "c").unwrap();
        let found = read(root.path());
        let all: Vec<_> = found.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert_eq!(all, [("net/../Ü", "b"), ("net/pump 1", "a = 2\n")]);
    }

    #[test]
    fn many_changes_are_one_write_and_no_change_is_none() {
        let (mut learned, start) = (Learned::default(), Instant::now());
        learned.adopt(BTreeMap::from([("a".to_owned(), "0".to_owned())]));
        learned.note("a", "0".into(), start);
        assert!(learned.due(true, start).is_empty());
        learned.note("a", "1".into(), start);
        learned.note("a", "2".into(), start + Duration::from_secs(3));
        assert!(learned.due(false, start + Duration::from_secs(4)).is_empty());
        assert_eq!(learned.due(false, start + WAIT), [("a".to_owned(), "2".to_owned())]);
        assert!(learned.due(true, start + WAIT).is_empty());
        // What this run knows is newer than a file that is found only later.
        learned.adopt(BTreeMap::from([("a".to_owned(), "0".to_owned())]));
        assert_eq!(learned.text("a").as_deref(), Some("2"));
    }
}
