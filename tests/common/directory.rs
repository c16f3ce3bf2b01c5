//! One device with tags of whole numbers, as the tests of the store want it.

use fieldgate::model::{DataType, Device, DeviceId, Directory, Tag, TagId};

/// Tags by their names, numbered from 0, of the device `d`.
pub(crate) fn directory(names: &[&str]) -> Directory {
    let id = DeviceId(0);
    let device = Device::plain(id, "d", "l");
    let tag =
        |(i, name): (usize, &&str)| Tag::plain(TagId(i as u32), id, &format!("d/{name}"), DataType::U32);
    Directory::new("g", "n", vec![device], names.iter().enumerate().map(tag).collect())
}
