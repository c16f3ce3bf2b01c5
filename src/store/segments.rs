//! The spool's folder: segments in the order of their sequence numbers, each opened, sealed, set aside
//! or removed as a whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{Batch, Clock, Timestamp};

use super::codec::{self, Item};
use super::dictionary::Dictionary;
use super::index::{self, GROWING, INDEX};
use super::known::Known;
use super::outbox::Block;
use super::quarantine::Quarantine;
use super::spool::{self, Record, Spool, SpoolError};

/// The most samples in a block.
pub(super) const BLOCK_SAMPLES: u64 = 4096;
/// A segment is full with so many blocks.
const SEGMENT_BLOCKS: u64 = 4096;
/// And with so many bytes of blocks.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Keys of dictionary records begin with this; sequence numbers never do.
pub(super) const NAMES: u8 = 0xFF;
/// Segments open to be read.
const READING: usize = 2;

/// Before the number of a segment that is being rewritten.
const UNFINISHED: &str = "thin-";

/// A segment's folder: its number, and how often it was rewritten.
fn name(id: u64, times: u32) -> String {
    if times == 0 { format!("segment-{id:016x}") } else { format!("segment-{id:016x}-{times:x}") }
}

/// The lists first: one without its folder tells of a loss.
fn discard(folder: &Path) -> std::io::Result<()> {
    for kind in [INDEX, GROWING] {
        // Not each has both.
        let _ = fs::remove_file(index::path(folder, kind));
    }
    fs::remove_dir_all(folder)
}

/// As `discard`; what is gone already is well.
fn give_back(folder: &Path) -> std::io::Result<()> {
    #[cfg(test)]
    super::property::engine::operation()?;
    discard(folder).or_else(|error| if folder.exists() { Err(error) } else { Ok(()) })
}

/// The inverse.
pub(super) fn read_name(name: &str) -> Option<(u64, u32)> {
    let name = name.strip_prefix("segment-")?;
    let (id, times) = name.split_once('-').unwrap_or((name, "0"));
    Some((u64::from_str_radix(id, 16).ok()?, u32::from_str_radix(times, 16).ok()?))
}

/// What was found when the folder was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The blocks of all segments, also of those set aside as far as they are known.
    pub(super) blocks: Vec<Block>,
    /// Segments set aside.
    pub(super) quarantined: Vec<u64>,
    /// Blocks that failed their check.
    pub(super) damaged: u64,
}

/// All segments.
pub(super) struct Segments {
    folder: PathBuf,
    quarantine: Quarantine,
    directory: Known,
    clock: Clock,
    full: u64,
    segments: BTreeMap<u64, Segment>,
    /// How often a segment was rewritten, where it was.
    rewritten: BTreeMap<u64, u32>,
    /// Folders that could not be removed: the next start would find what was done with.
    lingering: Vec<PathBuf>,
    tail: Option<Open>,
    /// Open to be read, the latest first: one for what is delivered, one for history.
    reading: Vec<Open>,
}

#[derive(Debug, Default)]
struct Segment {
    last: u64,
    oldest: Timestamp,
    newest: Timestamp,
    payload: u64,
    disk: u64,
    blocks: u64,
}

pub(super) struct Open {
    pub(super) id: u64,
    pub(super) spool: Box<dyn Spool>,
    pub(super) names: Dictionary,
}

/// A segment as a stretch of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) segment: u64,
    pub(super) oldest: Timestamp,
    pub(super) newest: Timestamp,
    /// Bytes on the disk.
    pub(super) disk: u64,
}

/// What a block holds that was just written: sequence numbers and sample counts.
pub(super) type Written = (Block, Vec<(u64, u64)>);

impl Segments {
    /// Opens the folder, sealed segments by their index, the others by a scan.
    pub(super) fn open(
        root: &Path,
        max_bytes: u64,
        directory: Known,
        clock: Clock,
    ) -> Result<(Segments, Found), SpoolError> {
        let (folder, quarantine) = (root.join("segments"), Quarantine::new(root));
        fs::create_dir_all(&folder)?;
        let mut all = Segments {
            folder,
            quarantine,
            directory,
            clock,
            // At least a few segments below the bound, so that the oldest tenth goes and not half.
            full: (max_bytes / 16).clamp(32 << 10, SEGMENT_BYTES),
            segments: BTreeMap::new(),
            rewritten: BTreeMap::new(),
            lingering: Vec::new(),
            tail: None,
            reading: Vec::new(),
        };
        let mut found = Found::default();
        let (mut ids, mut lists) = (BTreeSet::new(), BTreeMap::new());
        for entry in fs::read_dir(&all.folder)? {
            let entry = entry?.file_name();
            let Some((stem, kind)) = entry.to_str().map(|n| n.split_once('.').unwrap_or((n, ""))) else {
                continue;
            };
            if stem.starts_with(UNFINISHED) {
                // A rewriting that was not finished: the old one counts.
                fs::remove_dir_all(all.folder.join(&entry))?;
            }
            let Some((id, times)) = read_name(stem) else { continue };
            let seen = if kind.is_empty() { &mut all.rewritten } else { &mut lists };
            let known = seen.entry(id).or_default();
            *known = times.max(*known);
            ids.insert(id);
        }
        // A list without a folder tells of one that vanished; but a list of a rewriting that was not finished.
        lists.retain(|id, _| !all.rewritten.contains_key(id));
        all.rewritten.append(&mut lists);
        for entry in fs::read_dir(&all.folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let stem = file_name.to_str().and_then(|n| n.split('.').next());
            let Some((id, times)) = stem.and_then(read_name) else { continue };
            if all.rewritten.get(&id).is_some_and(|last| times != *last) {
                let path = entry.path();
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }?;
            }
        }
        for id in ids {
            match all.load(id, &mut found.damaged) {
                Ok(blocks) if blocks.is_empty() => drop(discard(&all.path(id))),
                Ok(blocks) => {
                    let mut segment = Segment { disk: size(&all.path(id)), ..Segment::default() };
                    blocks.iter().for_each(|block| segment.add(block));
                    found.blocks.extend(blocks);
                    all.segments.insert(id, segment);
                }
                Err(SpoolError::Block) => found.damaged += 1,
                Err(error @ (SpoolError::Damaged(_) | SpoolError::Failing(_))) => {
                    let list = [INDEX, GROWING].map(|name| fs::read(all.list(id, name)));
                    let list = list.into_iter().find_map(Result::ok).unwrap_or_default();
                    found.blocks.extend(index::read(&list, id).0);
                    // A bad place on the disk costs this segment; where nothing can be moved it is all of the disk.
                    if !all.set_aside(id, &error.to_string()) && matches!(error, SpoolError::Failing(_)) {
                        return Err(error);
                    }
                    found.quarantined.push(id);
                }
                Err(disk) => return Err(disk),
            }
        }
        Ok((all, found))
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(name(id, self.rewritten.get(&id).copied().unwrap_or(0)))
    }

    /// Where a segment is rewritten.
    pub(super) fn beside(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{UNFINISHED}{id:016x}"))
    }

    /// Where the list of the rewritten segment belongs.
    pub(super) fn list_to_be(&self, id: u64) -> PathBuf {
        let times = self.rewritten.get(&id).copied().unwrap_or(0) + 1;
        index::path(&self.folder.join(name(id, times)), INDEX)
    }

    /// The rewritten segment takes the place of the old one; its list is there already.
    pub(super) fn replace<'a>(
        &mut self,
        id: u64,
        new: &Path,
        blocks: impl Iterator<Item = &'a Block>,
    ) -> std::io::Result<()> {
        let old = self.path(id);
        let times = self.rewritten.get(&id).copied().unwrap_or(0) + 1;
        fs::rename(new, self.folder.join(name(id, times)))?;
        self.close(id);
        self.rewritten.insert(id, times);
        let mut segment = Segment::default();
        blocks.for_each(|block| segment.add(block));
        segment.disk = size(&self.path(id));
        self.segments.insert(id, segment);
        // The new name is on the disk before the old folder goes; what stays the next start removes.
        let removed = File::open(&self.folder).and_then(|f| f.sync_all()).and_then(|()| discard(&old));
        if let Err(error) = removed {
            tracing::warn!(%error, segment = %old.display(), "an old segment of the spool cannot be removed");
        }
        Ok(())
    }

    /// The oldest segment that was never thinned and may be.
    pub(super) fn never_thinned(&self, of: impl Fn(u64) -> bool) -> Option<u64> {
        let never = |id: &&u64| self.rewritten.get(*id).is_none_or(|times| *times == 0) && of(**id);
        self.segments.keys().find(never).copied()
    }

    fn list(&self, id: u64, name: &str) -> PathBuf {
        index::path(&self.path(id), name)
    }

    /// The blocks of one segment, from its index or by a scan.
    fn load(&mut self, id: u64, damaged: &mut u64) -> Result<Vec<Block>, SpoolError> {
        let listed = |name: &str| fs::read(self.list(id, name)).map(|bytes| index::read(&bytes, id)).ok();
        if !self.path(id).join("db").exists() {
            return Err(SpoolError::Damaged("its database is missing".into()));
        }
        if let Some((blocks, true)) = listed(INDEX) {
            return Ok(blocks);
        }
        let spool = spool::open(&self.path(id))?;
        let (mut blocks, mut bad) = (Vec::new(), 0);
        spool.each(&mut |key, bytes| {
            let Ok(key) = <[u8; 8]>::try_from(key) else { return };
            let key = u64::from_be_bytes(key);
            match codec::head(bytes).filter(|head| head.first == key) {
                Some(head) => blocks.push(Block::new(id, &head, bytes.len() as u64)),
                None => {
                    bad += 1;
                    tracing::warn!(segment = %format_args!("{id:016x}"), seq = key, "a block in the spool failed its check: skipped");
                }
            }
        })?;
        *damaged += bad;
        // sled takes a damaged record for the end of its log and says nothing: what is listed and not
        // there is found missing when it is read, and counted then.
        if let Some((listed, _)) = listed(GROWING).or_else(|| listed(INDEX)) {
            let there: BTreeSet<u64> = blocks.iter().map(|b| b.key).collect();
            blocks.extend(listed.into_iter().filter(|b| !there.contains(&b.key)));
            blocks.sort_by_key(|b| b.key);
        }
        Ok(blocks)
    }

    fn set_aside(&self, id: u64, why: &str) -> bool {
        let lists = [INDEX, GROWING].map(|name| (self.list(id, name), name));
        self.quarantine.take(id, &self.path(id), &lists, why)
    }

    /// A segment whose blocks cannot be read any more: moved away.
    pub(super) fn condemn(&mut self, id: u64, why: &str) {
        self.close(id);
        self.segments.remove(&id);
        self.set_aside(id, why);
        self.rewritten.remove(&id);
    }

    /// Writes batches; on the disk when this returns.
    pub(super) fn append(&mut self, batches: &[(u64, Arc<Batch>)]) -> Result<Vec<Written>, SpoolError> {
        let Some((first, _)) = batches.first() else { return Ok(Vec::new()) };
        if self.tail.as_ref().is_some_and(|tail| self.is_full(tail.id)) {
            self.seal_tail();
        }
        let fresh = self.tail.is_none();
        let mut tail = match self.tail.take() {
            Some(tail) => tail,
            None => {
                let path = self.path(*first);
                if self.lingering.contains(&path) {
                    give_back(&path)?;
                    self.lingering.retain(|other| *other != path);
                }
                fs::create_dir_all(&path)?;
                match spool::open(&path) {
                    Ok(spool) => Open { id: *first, spool, names: Dictionary::default() },
                    Err(error) => {
                        // Nothing is in it yet.
                        let _ = fs::remove_dir_all(&path);
                        return Err(error);
                    }
                }
            }
        };
        let (path, id) = (self.path(tail.id), tail.id);
        let mut list = Vec::new();
        let flushed = self.put(&mut tail, batches, &mut list).and_then(|written| {
            if fresh {
                // The names of new files and folders are on the disk too.
                File::open(&path)?.sync_all()?;
                File::open(&self.folder)?.sync_all()?;
            }
            Ok(written)
        });
        let written = match flushed {
            Ok(written) => written,
            Err(error) => {
                // The error stays in the database until it is opened again; what it has is read later.
                drop(tail);
                if !self.segments.contains_key(&id) {
                    let _ = fs::remove_dir_all(&path);
                }
                return Err(error);
            }
        };
        self.tail = Some(tail);
        // Without a sync: it is a hint, and what it does not list is found by a scan.
        let listed = File::options().create(true).append(true).open(self.list(id, GROWING));
        if let Err(error) = listed.and_then(|mut file| file.write_all(&list)) {
            tracing::debug!(%error, "no index for a segment of the spool: the next start scans it");
        }
        let segment = self.segments.entry(id).or_default();
        written.iter().for_each(|(block, _)| segment.add(block));
        segment.disk = size(&path);
        Ok(written)
    }

    /// Puts batches into an open segment, and their entries into a list.
    pub(super) fn put(
        &self,
        into: &mut Open,
        batches: &[(u64, Arc<Batch>)],
        list: &mut Vec<u8>,
    ) -> Result<Vec<Written>, SpoolError> {
        let (mut records, mut written): (Vec<Record>, Vec<Written>) = (Vec::new(), Vec::new());
        for part in parts(batches) {
            let (head, bytes) = codec::encode(part, &mut into.names, &self.directory.now(), &self.clock);
            let mut block = Block::new(into.id, &head, bytes.len() as u64);
            let tags: HashSet<_> = part.iter().flat_map(|(_, b)| &b.samples).map(|s| s.tag).collect();
            block.tags = tags.len() as u64;
            records.push((head.first.to_be_bytes().to_vec(), bytes));
            written.push((block, part.iter().map(|(seq, b)| (*seq, b.samples.len() as u64)).collect()));
        }
        if let Some((at, names)) = into.names.take_record() {
            let mut key = vec![NAMES];
            key.extend_from_slice(&at.to_be_bytes());
            // First, so that of a write that is cut off no block is read without its names.
            records.insert(0, (key, names));
        }
        into.spool.write(&records)?;
        // Each entry twice: a bit that flips in one costs no count.
        list.extend(written.iter().flat_map(|(block, _)| index::entry(block).repeat(2)));
        Ok(written)
    }

    fn is_full(&self, id: u64) -> bool {
        self.segments.get(&id).is_some_and(|s| s.payload >= self.full || s.blocks >= SEGMENT_BLOCKS)
    }

    /// Closes the segment that is written to; its index saves the next start a scan.
    pub(super) fn seal_tail(&mut self) {
        let Some(tail) = self.tail.take() else { return };
        let id = tail.id;
        drop(tail);
        let (growing, path) = (self.list(id, GROWING), self.list(id, INDEX));
        let sealed = File::open(&growing).and_then(|f| f.sync_all()).and_then(|()| fs::rename(growing, path));
        if let Err(error) = sealed {
            tracing::debug!(%error, "no index for a segment of the spool: the next start scans it");
        }
    }

    /// Reads a block back, in today's numbers.
    pub(super) fn read(
        &mut self,
        block: &Block,
        missing: &mut BTreeSet<String>,
    ) -> Result<Vec<Item>, SpoolError> {
        let (directory, clock) = (self.directory.now(), self.clock.clone());
        let open = self.opened(block.segment)?;
        let bytes = open.spool.read(&block.key.to_be_bytes())?;
        let items = bytes.and_then(|bytes| codec::decode(&bytes, &open.names, &directory, &clock, missing));
        items.ok_or(SpoolError::Block)
    }

    /// The sequence numbers and sample counts in a block.
    pub(super) fn counts(&mut self, block: &Block) -> Result<Vec<(u64, u64)>, SpoolError> {
        let bytes = self.opened(block.segment)?.spool.read(&block.key.to_be_bytes())?;
        let counts = bytes.and_then(|bytes| codec::counts(&bytes));
        counts.ok_or(SpoolError::Block)
    }

    fn opened(&mut self, id: u64) -> Result<&Open, SpoolError> {
        if self.tail.as_ref().is_some_and(|tail| tail.id == id) {
            return self.tail.as_ref().ok_or_else(|| SpoolError::Disk("closed".into()));
        }
        if let Some(at) = self.reading.iter().position(|open| open.id == id) {
            self.reading.swap(0, at);
        } else {
            self.reading.truncate(READING - 1);
            let path = self.path(id);
            if !path.join("db").exists() {
                return Err(SpoolError::Damaged("its database is missing".into()));
            }
            let spool = spool::open(&path)?;
            let mut names = Dictionary::default();
            spool.each(&mut |key, bytes| {
                if key.first() == Some(&NAMES) && !names.load(bytes) {
                    tracing::warn!(segment = %path.display(), "names in the spool failed their check");
                }
            })?;
            self.reading.insert(0, Open { id, spool, names });
        }
        self.reading.first().ok_or_else(|| SpoolError::Disk("closed".into()))
    }

    /// Nothing is open any more; what is needed is opened again.
    pub(super) fn close_all(&mut self) {
        self.tail = None;
        self.reading.clear();
    }

    /// Whether it could be opened, and so has only single bad blocks.
    pub(super) fn is_open(&self, id: u64) -> bool {
        self.tail.iter().chain(&self.reading).any(|open| open.id == id)
    }

    fn close(&mut self, id: u64) {
        self.tail.take_if(|open| open.id == id);
        self.reading.retain(|open| open.id != id);
    }

    /// Gives a segment's room back.
    pub(super) fn remove(&mut self, id: u64) -> std::io::Result<()> {
        self.close(id);
        self.segments.remove(&id);
        let path = self.path(id);
        self.rewritten.remove(&id);
        let removed = give_back(&path);
        if removed.is_err() {
            self.lingering.push(path);
        }
        removed
    }

    /// Tries again to remove what could not be removed; false while something stays.
    pub(super) fn sweep(&mut self) -> bool {
        self.lingering.retain(|path| give_back(path).is_err());
        self.lingering.is_empty()
    }

    /// The segment that is written to.
    pub(super) fn tail(&self) -> Option<u64> {
        self.tail.as_ref().map(|open| open.id)
    }

    /// Every segment with its first and last sequence number, the oldest first.
    pub(super) fn spans(&self) -> Vec<(u64, u64)> {
        self.segments.iter().map(|(first, s)| (*first, s.last)).collect()
    }

    /// What there is, the oldest first.
    pub(super) fn stretches(&self) -> impl Iterator<Item = Stretch> + '_ {
        let stretch = |(id, s): (&u64, &Segment)| Stretch {
            segment: *id,
            oldest: s.oldest,
            newest: s.newest,
            disk: s.disk,
        };
        self.segments.iter().map(stretch)
    }

    /// The blocks of a segment, in the order in which they were written.
    pub(super) fn blocks(&mut self, id: u64) -> Result<Vec<Block>, SpoolError> {
        let Some(count) = self.segments.get(&id).map(|s| s.blocks) else { return Ok(Vec::new()) };
        for name in [INDEX, GROWING] {
            let listed = fs::read(self.list(id, name)).map(|bytes| index::read(&bytes, id));
            if let Ok((blocks, true)) = listed
                && blocks.len() as u64 == count
            {
                return Ok(blocks);
            }
        }
        let mut blocks = Vec::new();
        self.opened(id)?.spool.each(&mut |key, bytes| {
            if <[u8; 8]>::try_from(key).is_ok() {
                blocks.extend(codec::head(bytes).map(|head| Block::new(id, &head, bytes.len() as u64)));
            }
        })?;
        Ok(blocks)
    }

    /// Bytes on the disk, as the file system counts them.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|s| s.disk).sum()
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }
}

impl Segment {
    fn add(&mut self, block: &Block) {
        let (oldest, newest) = block.span();
        self.oldest = if self.blocks == 0 { oldest } else { self.oldest.min(oldest) };
        self.last = self.last.max(block.last);
        self.newest = self.newest.max(newest);
        self.payload += block.bytes;
        self.blocks += 1;
    }
}

/// Cuts the batches into blocks.
fn parts(batches: &[(u64, Arc<Batch>)]) -> impl Iterator<Item = &[(u64, Arc<Batch>)]> {
    let mut samples = 0;
    // Sample counts within a block never pass the limit, except for one batch larger than it.
    batches.chunk_by(move |(_, batch), (_, next)| {
        samples += batch.samples.len() as u64;
        let same = samples + next.samples.len() as u64 <= BLOCK_SAMPLES;
        if !same {
            samples = 0;
        }
        same
    })
}

/// What a folder takes on the disk. sled puts large records into files in a folder of their own.
pub(super) fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let files = entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    files.map(|(path, meta)| if meta.is_dir() { 4096 + size(&path) } else { meta.blocks() * 512 }).sum()
}
