//! One device with tags of whole numbers, as the tests of the store want it.

use fieldgate::model::{Access, DataType, Device, DeviceId, Directory, Tag, TagId};

/// Tags by their names, numbered from 0, of the device `d`.
pub(crate) fn directory(names: &[&str]) -> Directory {
    let id = DeviceId(0);
    let device = Device { id, name: "d".into(), link: "l".into(), description: None, is_node: false };
    let tag = |(i, name): (usize, &&str)| Tag {
        id: TagId(i as u32),
        device: id,
        name: (*name).into(),
        path: format!("d/{name}").into(),
        kind: DataType::U32,
        access: Access::Read,
        unit: None,
        low: None,
        high: None,
        description: None,
    };
    Directory::new("g", "n", vec![device], names.iter().enumerate().map(tag).collect())
}
