//! Any bytes as a Sparkplug payload, and as a command on a node that has some tags.
#![no_main]

use fieldgate::model::{DataType, TagId, Timestamp};
use fieldgate::publishers::sparkplug::commands::{Asked, MAX_WRITES, Names, read};
use fieldgate::publishers::sparkplug::payload::Payload;
use fieldgate::publishers::sparkplug::topic::Topics;
use libfuzzer_sys::fuzz_target;

struct Plant;

impl Names for Plant {
    fn by_name(&self, device: Option<&str>, name: &str) -> Option<(TagId, DataType)> {
        (device == Some("d") && name == "speed").then_some((TagId(7), DataType::U16))
    }
    fn by_alias(&self, _device: Option<&str>, alias: u64) -> Option<(TagId, DataType)> {
        (alias == 8).then_some((TagId(9), DataType::F64))
    }
}

fuzz_target!(|data: &[u8]| {
    if let Some(payload) = Payload::parse(data) {
        // What was read can be said again; not compared by value, as NaN is not itself.
        let said = payload.bytes();
        assert_eq!(Payload::parse(&said).expect("our own bytes").bytes(), said);
    }
    let topics = Topics::new(&"g".into(), &"n".into());
    let now = Timestamp(1_700_000_000_000_000);
    for topic in ["spBv1.0/g/NCMD/n", "spBv1.0/g/DCMD/n/d"] {
        let asked = read(&topics, topic, data, false, now, &Plant);
        assert!(asked.len() <= MAX_WRITES + 1);
        for one in asked {
            if let Asked::Write(tag, _) = one {
                assert!(tag == TagId(7) || tag == TagId(9), "a tag that exists");
            }
        }
        let kept = read(&topics, topic, data, true, now, &Plant);
        assert!(kept.iter().all(|one| matches!(one, Asked::Refused(_))), "a retained command does nothing");
    }
});
