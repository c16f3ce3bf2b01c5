//! Any bytes as a command of plain MQTT, on a gateway that has some tags.
#![no_main]

use std::sync::LazyLock;

use fieldgate::model::{DataType, Device, DeviceId, Directory, Tag, TagId, Timestamp};
use fieldgate::publishers::mqtt::commands::read;
use libfuzzer_sys::fuzz_target;

static PLANT: LazyLock<Directory> = LazyLock::new(|| {
    let kinds = [
        ("bool", DataType::Bool),
        ("u8", DataType::U8),
        ("i64", DataType::I64),
        ("f32", DataType::F32),
        ("text", DataType::Text),
    ];
    let tag = |(at, (name, kind)): (usize, &(&str, DataType))| {
        Tag::plain(TagId(at as u32), DeviceId(0), &format!("d/{name}"), *kind)
    };
    let device = Device::plain(DeviceId(0), "d", "net");
    Directory::new("g", "n", vec![device], kinds.iter().enumerate().map(tag).collect())
});

fuzz_target!(|data: &[u8]| {
    let now = Timestamp(1_700_000_000_000_000);
    let asked = read(data, false, now, &PLANT);
    assert_eq!(asked.write.is_none(), asked.answer.reason.is_some(), "done, or a reason why not");
    assert!(asked.write.is_none_or(|(tag, _)| PLANT.tag(tag).is_some()), "a tag that exists");
    let kept = read(data, true, now, &PLANT);
    assert!(kept.write.is_none() && !kept.answer.ok, "a retained command does nothing");
});
