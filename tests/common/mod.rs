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
    let requests: Vec<_> = [(0, "word:10", true), (1, "word:20", false)]
        .map(|(device, address, writable)| Request {
            device,
            address,
            kind: DataType::U16,
            length: 0,
            writable,
            period: Duration::from_millis(if device == 0 { 100 } else { 1000 }),
        })
        .to_vec();
    let compiled = sim::compile(bench, &requests).unwrap();
    let rules: Vec<_> = [0, 1].map(|tag: u32| Rule::plain(TagId(first + tag), DataType::U16)).to_vec();
    let blocks = compiled
        .blocks
        .iter()
        .enumerate()
        .map(|(i, block)| BlockTask {
            block: Block(i),
            device: block.device,
            period: block.period,
            rules: vec![PlacedRule::new(block.slots[0].place, rules[i].clone())],
            label: block.label.clone(),
            cost: block.cost,
            miss: block.miss,
            probe: block.probe,
        })
        .collect();
    let write = WriteTask {
        point: Point(0),
        device: 0,
        read_back: Some(0),
        place: compiled.points[0].place,
        rule: rules[0].clone(),
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
                tags: vec![TagId(first + i)],
            })
            .collect(),
        blocks,
        writes: HashMap::from([(TagId(first), write)]),
    }
}
