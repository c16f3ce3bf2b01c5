//! The pure core on one core: decode, normalize and accept, in samples a second.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use divan::counter::ItemsCount;
use fieldgate::model::*;
use fieldgate::normalize::{Normalizer, PlacedRule, Rule, Scaling};
use fieldgate::store::Store;

fn main() {
    divan::main();
}

/// 60 scaled 32-bit floats in a block of 120 registers, all of them changing at each poll.
fn block() -> Vec<PlacedRule> {
    (0..60)
        .map(|i| PlacedRule {
            every: 1,
            place: Place::Words { at: i * 2, count: 2 },
            rule: Rule {
                scaling: Some(Scaling { scale: 0.1, offset: 0.0 }),
                order: Order::Cdab,
                low: Some(-1e9),
                high: Some(1e9),
                ..Rule::plain(TagId(i as u32), DataType::F32)
            },
        })
        .collect()
}

fn raw(poll: u32) -> Raw {
    let words = (0..60_u32).flat_map(|i| {
        let bits = ((i * 100 + poll % 1000) as f32).to_bits();
        [bits as u16, (bits >> 16) as u16]
    });
    Raw { words: words.collect(), ..Raw::default() }
}

#[divan::bench]
fn decode_and_normalize(bencher: divan::Bencher<'_, '_>) {
    let rules = block();
    let mut normalizer = Normalizer::new([rules.as_slice()]);
    let answers: Vec<_> = (0..64).map(raw).collect();
    let (mut poll, mut samples) = (0_usize, Vec::with_capacity(60));
    bencher.counter(ItemsCount::new(60_usize)).bench_local(|| {
        samples.clear();
        poll += 1;
        let answer = answers.get(poll % 64).ok_or(Fault::Timeout);
        normalizer.apply(0, answer, (Timestamp(poll as i64), Stamp::Synchronised), &mut samples);
        samples.len()
    });
}

#[divan::bench]
fn decode_normalize_and_accept(bencher: divan::Bencher<'_, '_>) {
    let rules = block();
    let mut normalizer = Normalizer::new([rules.as_slice()]);
    let answers: Vec<_> = (0..64).map(raw).collect();
    let store = Store::in_memory();
    let mut poll = 0_usize;
    bencher.counter(ItemsCount::new(60_usize)).bench_local(|| {
        let mut samples = Vec::with_capacity(60);
        poll += 1;
        let answer = answers.get(poll % 64).ok_or(Fault::Timeout);
        normalizer.apply(0, answer, (Timestamp(poll as i64), Stamp::Synchronised), &mut samples);
        store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples });
    });
}
