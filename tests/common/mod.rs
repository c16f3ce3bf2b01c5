//! What several test files share.
#![allow(dead_code)]

use std::collections::HashMap;
use std::time::Duration;

use fieldgate::drivers::LinkSpec;
use fieldgate::drivers::driver::{Block, Point, Request};
use fieldgate::drivers::sim::{self, Bench};
use fieldgate::model::{DataType, DeviceId, TagId};
use fieldgate::normalize::{PlacedRule, Rule};
use fieldgate::poll::{BlockTask, DevicePlan, LinkPlan, WriteTask};

/// A simulated link with two devices numbered from `first`: tag `first` (word 10, writable) every
/// 100 ms, tag `first + 1` (word 20) every second.
pub(crate) fn bench_plan(name: &str, bench: &Bench, first: u32) -> LinkPlan {
    bench_plan_of(name, bench, first, &[(first, 0, "word:10", 100), (first + 1, 1, "word:20", 1000)])
}

/// A simulated link with two devices numbered from `first` and these tags: number, device (0 or 1), address, period
/// in milliseconds. The first is writable.
pub(crate) fn bench_plan_of<'a>(
    name: &str,
    bench: &Bench,
    first: u32,
    tags: &[(u32, usize, &'a str, u64)],
) -> LinkPlan {
    let request = |(at, (_, device, address, period)): (usize, &(u32, usize, &'a str, u64))| Request {
        device: *device,
        address,
        kind: DataType::U16,
        length: 0,
        writable: at == 0,
        period: Duration::from_millis(*period),
    };
    let requests: Vec<_> = tags.iter().enumerate().map(request).collect();
    let compiled = sim::compile(bench, &requests).unwrap();
    let rule = |request: usize| Rule::plain(TagId(tags[request].0), DataType::U16);
    let blocks = compiled.blocks.iter().enumerate().map(|(i, block)| BlockTask {
        block: Block(i),
        device: block.device,
        period: block.period,
        rules: block.slots.iter().map(|slot| PlacedRule::new(slot.place, rule(slot.request))).collect(),
        label: block.label.clone(),
        cost: block.cost,
        miss: block.miss,
        probe: block.probe,
    });
    let blocks: Vec<_> = blocks.collect();
    let reads = |block: &BlockTask| block.rules.iter().any(|placed| placed.rule.tag == TagId(tags[0].0));
    let write = WriteTask {
        point: Point(0),
        device: tags[0].1,
        read_back: blocks.iter().position(reads),
        place: compiled.points[0].place,
        rule: rule(0),
    };
    LinkPlan {
        name: name.into(),
        connections: 1,
        pipeline: 1,
        spec: LinkSpec::Sim(compiled.spec),
        devices: (0..2)
            .map(|i| DevicePlan {
                id: DeviceId(first + i),
                name: format!("device-{}", first + i),
                tags: tags.iter().filter(|tag| tag.1 == i as usize).map(|tag| TagId(tag.0)).collect(),
            })
            .collect(),
        blocks,
        writes: HashMap::from([(TagId(tags[0].0), write)]),
    }
}
