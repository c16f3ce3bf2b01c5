//! The spool's folder: segments in the order of their sequence numbers, each opened, sealed, set aside
//! or removed as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{Batch, Directory, Timestamp};

use super::codec::{self, Item};
use super::dictionary::Dictionary;
use super::outbox::Block;
use super::spool::{self, Record, Spool, SpoolError};
use super::varint::{Cut, put, put_bytes, put_signed, seal, unseal};

/// The most samples in a block.
pub(super) const BLOCK_SAMPLES: u64 = 4096;
/// A segment is full with so many blocks.
const SEGMENT_BLOCKS: u64 = 4096;
/// And with so many bytes of blocks.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Keys of dictionary records begin with this; sequence numbers never do.
const NAMES: u8 = 0xFF;
/// The list of a segment's blocks, while it grows and when nothing more comes into it.
const GROWING: &str = "index.open";
const INDEX: &str = "index";

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
    quarantine: PathBuf,
    directory: Arc<Directory>,
    full: u64,
    segments: BTreeMap<u64, Segment>,
    tail: Option<Open>,
    reading: Option<Open>,
}

#[derive(Debug, Default)]
struct Segment {
    last: u64,
    newest: Timestamp,
    payload: u64,
    disk: u64,
    blocks: u64,
}

struct Open {
    id: u64,
    spool: Box<dyn Spool>,
    names: Dictionary,
}

/// What a block holds that was just written: sequence numbers and sample counts.
pub(super) type Written = (Block, Vec<(u64, u64)>);

impl Segments {
    /// Opens the folder, sealed segments by their index, the others by a scan.
    pub(super) fn open(
        root: &Path,
        max_bytes: u64,
        directory: Arc<Directory>,
    ) -> Result<(Segments, Found), SpoolError> {
        let (folder, quarantine) = (root.join("segments"), root.join("quarantine"));
        fs::create_dir_all(&folder)?;
        let mut all = Segments {
            folder,
            quarantine,
            directory,
            // At least a few segments below the bound, so that the oldest tenth goes and not half.
            full: (max_bytes / 16).clamp(32 << 10, SEGMENT_BYTES),
            segments: BTreeMap::new(),
            tail: None,
            reading: None,
        };
        let mut found = Found::default();
        let mut ids = BTreeSet::new();
        for entry in fs::read_dir(&all.folder)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|n| n.strip_prefix("segment-"));
            ids.extend(id.and_then(|id| u64::from_str_radix(id, 16).ok()));
        }
        for id in ids {
            match all.load(id, &mut found.damaged) {
                Ok(blocks) if blocks.is_empty() => drop(fs::remove_dir_all(all.path(id))),
                Ok(blocks) => {
                    let mut segment = Segment { disk: size(&all.path(id)), ..Segment::default() };
                    blocks.iter().for_each(|block| segment.add(block));
                    found.blocks.extend(blocks);
                    all.segments.insert(id, segment);
                }
                Err(SpoolError::Block) => found.damaged += 1,
                Err(SpoolError::Damaged(why)) => {
                    let list = [INDEX, GROWING].map(|name| fs::read(all.path(id).join(name)));
                    let list = list.into_iter().find_map(Result::ok).unwrap_or_default();
                    found.blocks.extend(read_index(&list, id).0);
                    all.set_aside(id, &why);
                    found.quarantined.push(id);
                }
                Err(disk) => return Err(disk),
            }
        }
        Ok((all, found))
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("segment-{id:016x}"))
    }

    /// The blocks of one segment, from its index or by a scan.
    fn load(&mut self, id: u64, damaged: &mut u64) -> Result<Vec<Block>, SpoolError> {
        let listed = |name: &str| fs::read(self.path(id).join(name)).map(|bytes| read_index(&bytes, id)).ok();
        if let Some((blocks, true)) = listed(INDEX) {
            return Ok(blocks);
        }
        if !self.path(id).join("db").exists() {
            return Err(SpoolError::Damaged("its database is missing".into()));
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

    fn set_aside(&self, id: u64, why: &str) {
        let (from, to) = (self.path(id), self.quarantine.join(format!("segment-{id:016x}")));
        let moved = fs::create_dir_all(&self.quarantine)
            .and_then(|()| if to.exists() { fs::remove_dir_all(&to) } else { Ok(()) })
            .and_then(|()| fs::rename(&from, &to));
        match moved {
            Ok(()) => tracing::error!(
                segment = %to.display(), why,
                "a segment of the spool is damaged: set aside, what it held is not delivered"
            ),
            Err(error) => {
                tracing::error!(segment = %from.display(), why, %error, "a damaged segment of the spool cannot be set aside");
            }
        }
    }

    /// A segment whose blocks cannot be read any more: moved away.
    pub(super) fn condemn(&mut self, id: u64, why: &str) {
        self.close(id);
        self.segments.remove(&id);
        self.set_aside(id, why);
    }

    /// Writes batches; on the disk when this returns.
    pub(super) fn append(&mut self, batches: &[(u64, Arc<Batch>)]) -> Result<Vec<Written>, SpoolError> {
        let Some((first, _)) = batches.first() else { return Ok(Vec::new()) };
        if self.tail.as_ref().is_some_and(|tail| self.is_full(tail.id)) {
            self.seal_tail();
        }
        let directory = self.directory.clone();
        let fresh = self.tail.is_none();
        let mut tail = match self.tail.take() {
            Some(tail) => tail,
            None => {
                let path = self.path(*first);
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
        let (mut records, mut written): (Vec<Record>, Vec<Written>) = (Vec::new(), Vec::new());
        for part in parts(batches) {
            let (head, bytes) = codec::encode(part, &mut tail.names, &directory);
            let block = Block::new(tail.id, &head, bytes.len() as u64);
            records.push((head.first.to_be_bytes().to_vec(), bytes));
            written.push((block, part.iter().map(|(seq, b)| (*seq, b.samples.len() as u64)).collect()));
        }
        if let Some((at, names)) = tail.names.take_record() {
            let mut key = vec![NAMES];
            key.extend_from_slice(&at.to_be_bytes());
            // First, so that of a write that is cut off no block is read without its names.
            records.insert(0, (key, names));
        }
        let path = self.path(tail.id);
        let id = tail.id;
        let flushed = tail.spool.write(&records).and_then(|()| {
            if fresh {
                // The names of new files and folders are on the disk too.
                File::open(&path)?.sync_all()?;
                File::open(&self.folder)?.sync_all()?;
            }
            Ok(())
        });
        if let Err(error) = flushed {
            // The error stays in the database until it is opened again; what it has is read later.
            drop(tail);
            if !self.segments.contains_key(&id) {
                let _ = fs::remove_dir_all(&path);
            }
            return Err(error);
        }
        self.tail = Some(tail);
        // Without a sync: it is a hint, and what it does not list is found by a scan.
        let list: Vec<u8> = written.iter().flat_map(|(block, _)| index_entry(block)).collect();
        let listed = File::options().create(true).append(true).open(path.join(GROWING));
        if let Err(error) = listed.and_then(|mut file| file.write_all(&list)) {
            tracing::debug!(%error, "no index for a segment of the spool: the next start scans it");
        }
        let segment = self.segments.entry(id).or_default();
        written.iter().for_each(|(block, _)| segment.add(block));
        segment.disk = size(&path);
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
        let (growing, path) = (self.path(id).join(GROWING), self.path(id).join(INDEX));
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
        let directory = self.directory.clone();
        let open = self.opened(block.segment)?;
        let bytes = open.spool.read(&block.key.to_be_bytes())?;
        let items = bytes.and_then(|bytes| codec::decode(&bytes, &open.names, &directory, missing));
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
        if self.reading.as_ref().is_none_or(|open| open.id != id) {
            self.reading = None;
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
            self.reading = Some(Open { id, spool, names });
        }
        self.reading.as_ref().ok_or_else(|| SpoolError::Disk("closed".into()))
    }

    fn close(&mut self, id: u64) {
        self.tail.take_if(|open| open.id == id);
        self.reading.take_if(|open| open.id == id);
    }

    /// Gives a segment's room back.
    pub(super) fn remove(&mut self, id: u64) -> std::io::Result<()> {
        self.close(id);
        self.segments.remove(&id);
        #[cfg(test)]
        super::property::engine::operation()?;
        fs::remove_dir_all(self.path(id))
    }

    /// The segment that is written to.
    pub(super) fn tail(&self) -> Option<u64> {
        self.tail.as_ref().map(|open| open.id)
    }

    /// Every segment with its first and last sequence number, the oldest first.
    pub(super) fn spans(&self) -> Vec<(u64, u64)> {
        self.segments.iter().map(|(first, s)| (*first, s.last)).collect()
    }

    /// The oldest segment, and the time of the newest sample in it.
    pub(super) fn oldest(&self) -> Option<(u64, Timestamp)> {
        self.segments.first_key_value().map(|(id, s)| (*id, s.newest))
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
        self.last = self.last.max(block.last);
        self.newest = self.newest.max(block.newest);
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

/// One entry of the index, with its length before it and its own check.
fn index_entry(block: &Block) -> Vec<u8> {
    let mut entry = Vec::new();
    for n in [block.key, block.last - block.key, block.samples, block.bytes] {
        put(&mut entry, n);
    }
    put_signed(&mut entry, block.oldest.0);
    put_signed(&mut entry, block.newest.0);
    seal(&mut entry);
    let mut bytes = Vec::new();
    put_bytes(&mut bytes, &entry);
    bytes
}

/// The blocks listed, and whether all of the list is well.
fn read_index(bytes: &[u8], segment: u64) -> (Vec<Block>, bool) {
    let mut blocks = Vec::new();
    let mut cut = Cut(bytes);
    while !cut.0.is_empty() {
        let Some(block) = cut.bytes().and_then(unseal).and_then(|entry| read_entry(entry, segment)) else {
            return (blocks, false);
        };
        blocks.push(block);
    }
    let well = !blocks.is_empty();
    (blocks, well)
}

fn read_entry(entry: &[u8], segment: u64) -> Option<Block> {
    let mut cut = Cut(entry);
    let key = cut.number()?;
    Some(Block {
        segment,
        key,
        from: key,
        last: key.checked_add(cut.number()?)?,
        samples: cut.number()?,
        bytes: cut.number()?,
        oldest: Timestamp(cut.signed()?),
        newest: Timestamp(cut.signed()?),
    })
}

/// What a folder takes on the disk.
fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.map(|meta| if meta.is_dir() { 4096 } else { meta.blocks() * 512 }).sum()
}
