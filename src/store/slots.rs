//! A small file that survives a power cut: two slots written in turn, the newest valid one counts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::varint::{Cut, put, put_bytes, seal, unseal};

/// A slot is a page of its own, so that a torn write never reaches its neighbour.
const SLOT: usize = 4096;
/// The most that fits beside generation, length and CRC.
pub(super) const ROOM: usize = SLOT - 32;

/// One such file, open.
#[derive(Debug)]
pub(super) struct SlotFile {
    file: File,
    generation: u64,
}

impl SlotFile {
    /// Opens or makes it, and gives what was written last; `None` where there is nothing valid.
    pub(super) fn open(path: &Path) -> io::Result<(SlotFile, Option<Vec<u8>>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let newest = newest(&file)?;
        let generation = newest.as_ref().map_or(0, |(n, _)| *n);
        Ok((SlotFile { file, generation }, newest.map(|(_, content)| content)))
    }

    /// Writes into the older slot; on disk when this returns.
    pub(super) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let next = self.generation + 1;
        let mut page = Vec::with_capacity(SLOT);
        put(&mut page, next);
        put_bytes(&mut page, content);
        seal(&mut page);
        let length = page.len();
        if length > SLOT - 2 {
            return Err(io::Error::other("too long for a slot"));
        }
        page.resize(SLOT - 2, 0);
        page.extend_from_slice(&(length as u16).to_le_bytes());
        #[cfg(test)]
        super::property::engine::operation()?;
        self.file.write_all_at(&page, (next % 2) * SLOT as u64)?;
        self.file.sync_data()?;
        self.generation = next;
        Ok(())
    }
}

/// What was written last into such a file, which is not touched; `None` where there is nothing valid.
pub(super) fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    Ok(newest(&File::open(path)?)?.map(|(_, content)| content))
}

fn newest(file: &File) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut newest: Option<(u64, Vec<u8>)> = None;
    for slot in 0..2 {
        let mut page = vec![0; SLOT];
        // A short file has fewer slots; its zeros fail the check.
        if file.read_at(&mut page, slot * SLOT as u64)? == SLOT
            && let Some((generation, content)) = read(&page)
            && newest.as_ref().is_none_or(|(n, _)| generation > *n)
        {
            newest = Some((generation, content));
        }
    }
    Ok(newest)
}

fn read(page: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (body, length) = page.split_at_checked(SLOT - 2)?;
    let length = usize::from(u16::from_le_bytes(length.try_into().ok()?));
    let mut cut = Cut(unseal(body.get(..length)?)?);
    Some((cut.number()?, cut.bytes()?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slots");
        let (mut slots, found) = SlotFile::open(&path).unwrap();
        assert_eq!(found, None);
        slots.write(b"one").unwrap();
        slots.write(b"two").unwrap();
        slots.write(b"three").unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(SlotFile::open(&path).unwrap().1.unwrap(), b"three");
        bytes[SLOT + 1] ^= 1; // generation 3 lies in slot 1
        std::fs::write(&path, &bytes).unwrap();
        let (mut slots, found) = SlotFile::open(&path).unwrap();
        assert_eq!(found.unwrap(), b"two");
        slots.write(b"four").unwrap();
        assert_eq!(SlotFile::open(&path).unwrap().1.unwrap(), b"four");
    }
}
