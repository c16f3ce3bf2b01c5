//! The names of one segment: numbers in its blocks stand for paths, since a tag's number is one run's own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{DeviceId, Directory, TagId};

use super::varint::{Cut, put, put_bytes, seal, unseal};

/// What is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Named {
    Tag(TagId),
    Device(DeviceId),
}

/// Reference ↔ name, both ways.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    names: BTreeMap<u64, (bool, Arc<str>)>,
    references: HashMap<Named, u64>,
    next: u64,
    /// From here on names are in no record yet.
    unwritten: u64,
}

impl Dictionary {
    /// The reference of a tag, made at its first use.
    pub(super) fn tag(&mut self, id: TagId, directory: &Directory) -> u64 {
        let path = || match directory.tag(id) {
            Some(tag) => tag.path.clone(),
            None => format!("#{}", id.0).into(),
        };
        self.reference(Named::Tag(id), path)
    }

    /// The reference of a device, made at its first use.
    pub(super) fn device(&mut self, id: DeviceId, directory: &Directory) -> u64 {
        let name = || match directory.device(id) {
            Some(device) => device.name.clone(),
            None => format!("#{}", id.0).into(),
        };
        self.reference(Named::Device(id), name)
    }

    fn reference(&mut self, named: Named, name: impl FnOnce() -> Arc<str>) -> u64 {
        if let Some(known) = self.references.get(&named) {
            return *known;
        }
        let new = self.next;
        self.next += 1;
        self.references.insert(named, new);
        self.names.insert(new, (matches!(named, Named::Device(_)), name()));
        new
    }

    /// The path of a tag or the name of a device; `None` where its record was damaged.
    pub(super) fn name(&self, reference: u64) -> Option<&Arc<str>> {
        self.names.get(&reference).map(|(_, name)| name)
    }

    /// The names that came since the last call, as a record with its number.
    pub(super) fn take_record(&mut self) -> Option<(u64, Vec<u8>)> {
        let from = self.unwritten;
        if from == self.next {
            return None;
        }
        let mut record = Vec::new();
        put(&mut record, from);
        put(&mut record, self.next - from);
        for (_, (device, name)) in self.names.range(from..) {
            record.push(u8::from(*device));
            put_bytes(&mut record, name.as_bytes());
        }
        seal(&mut record);
        self.unwritten = self.next;
        Some((from, record))
    }

    /// Takes a record from the disk; false when it is damaged.
    pub(super) fn load(&mut self, record: &[u8]) -> bool {
        let read = |dictionary: &mut Dictionary| {
            let mut cut = Cut(unseal(record)?);
            let (from, count) = (cut.number()?, cut.number()?);
            for at in from..from.checked_add(count)? {
                let [device] = cut.array()?;
                let name = std::str::from_utf8(cut.bytes()?).ok()?;
                dictionary.names.insert(at, (device != 0, name.into()));
                dictionary.next = dictionary.next.max(at + 1);
            }
            dictionary.unwritten = dictionary.next;
            Some(())
        };
        read(self).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_their_records() {
        let directory = Directory::default();
        let mut written = Dictionary::default();
        assert_eq!(written.tag(TagId(7), &directory), 0);
        assert_eq!(written.device(DeviceId(7), &directory), 1);
        let (at, first) = written.take_record().unwrap();
        assert_eq!(at, 0);
        assert_eq!(written.take_record(), None);
        assert_eq!(written.tag(TagId(9), &directory), 2);
        assert_eq!(written.tag(TagId(7), &directory), 0);
        let (at, mut second) = written.take_record().unwrap();
        assert_eq!(at, 2);

        let mut read = Dictionary::default();
        assert!(read.load(&first));
        assert!(read.load(&second));
        assert_eq!(read.name(0).map(|n| &**n), Some("#7"));
        assert_eq!(read.name(2).map(|n| &**n), Some("#9"));
        second[3] ^= 4;
        assert!(!Dictionary::default().load(&second));
    }
}
