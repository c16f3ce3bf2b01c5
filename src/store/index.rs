//! The list of a segment's blocks, beside its folder, so that what a folder held is known when it has vanished.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::Timestamp;

use super::classes::Classes;
use super::outbox::Block;
use super::varint::{Cut, put, put_bytes, put_signed, seal, unseal};

/// While the segment grows.
pub(super) const GROWING: &str = "index.open";
/// When nothing more comes into it.
pub(super) const INDEX: &str = "index";

/// The list of a folder's blocks.
pub(super) fn path(folder: &Path, kind: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".");
    name.push(kind);
    name.into()
}

/// One entry of the index, with its length before it and its own check.
pub(super) fn entry(block: &Block) -> Vec<u8> {
    let mut entry = Vec::new();
    for n in [block.key, block.last - block.key, block.samples, block.bytes] {
        put(&mut entry, n);
    }
    put_signed(&mut entry, block.oldest.0);
    put_signed(&mut entry, block.newest.0);
    entry.push(u8::from(block.marked));
    put(&mut entry, u64::from(block.classes.bits()));
    put(&mut entry, block.tags);
    seal(&mut entry);
    let mut bytes = Vec::new();
    put_bytes(&mut bytes, &entry);
    bytes
}

/// The blocks listed, and whether all of the list is well.
pub(super) fn read(bytes: &[u8], segment: u64) -> (Vec<Block>, bool) {
    let mut blocks: BTreeMap<u64, Block> = BTreeMap::new();
    let mut cut = Cut(bytes);
    let mut well = !bytes.is_empty();
    while let Some((_, after)) = cut.0.split_first() {
        if let Some(block) = cut.bytes().and_then(unseal).and_then(|entry| read_entry(entry, segment)) {
            blocks.entry(block.key).or_insert(block);
        } else {
            // Its length may be what is damaged: the next entry is found by its check.
            (well, cut) = (false, Cut(after));
        }
    }
    (blocks.into_values().collect(), well)
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
        // Lists of earlier versions end here.
        marked: cut.array().is_some_and(|[marked]| marked != 0),
        classes: Classes::from_bits(cut.number().and_then(|bits| bits.try_into().ok()).unwrap_or(0)),
        tags: cut.number().unwrap_or(0),
    })
}
