//! The supervisor: what falls is started again, and nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use fieldgate::drivers::sim::Bench;
use fieldgate::model::*;
use fieldgate::plan::GatewayPlan;
use fieldgate::store::{Next, Options, Reader, ReaderOptions};
use fieldgate::supervisor::Gateway;

async fn gateway(benches: &[Bench]) -> (Gateway, Reader) {
    let links: Vec<_> = benches
        .iter()
        .enumerate()
        .map(|(i, bench)| common::bench_plan(&format!("bench-{i}"), bench, i as u32 * 2))
        .collect();
    let devices =
        links.iter().flat_map(|l| &l.devices).map(|d| Device::plain(d.id, d.name.as_str(), "bench"));
    let tags = links.iter().flat_map(|l| &l.devices).map(|d| Tag {
        access: Access::ReadWrite,
        ..Tag::plain(d.tags[0], d.id, &format!("{}/tag", d.name), DataType::U16)
    });
    let directory = Directory::new("g", "n", devices.collect(), tags.collect());
    let plan = GatewayPlan {
        directory: Arc::new(directory),
        links,
        classes: Vec::new(),
        publishers: Vec::new(),
        store: Options { path: None, ..Options::default() },
        trusts_clock: false,
        resources: Vec::new(),
        tests: Vec::new(),
        warnings: Vec::new(),
    };
    let gateway = Gateway::start(plan, Clock::starting_at(Timestamp(1_700_000_000_000_000))).await;
    let reader = gateway.store().reader("test", ReaderOptions { durable: false, rules: None });
    (gateway, reader)
}

async fn until(reader: &mut Reader, wanted: impl Fn(&Batch) -> bool) -> Arc<Batch> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(120), reader.next()).await;
        let (Next::Live(_, batch) | Next::History(_, batch)) = next.expect("a batch within two minutes");
        if wanted(&batch) {
            return batch;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_link_restarts_that_one_and_its_tags_are_bad_meanwhile() {
    let benches = [Bench::default(), Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    let alive = |device| move |b: &Batch| b.device == DeviceId(device) && b.state == DeviceState::Alive;
    // The first samples may have come before the reader: a change comes after it for sure.
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, alive(0)).await;
    benches[0].panic_at_next_read();
    let orphaned = until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Dead).await;
    assert_eq!(orphaned.samples[0].quality, Quality::Bad(Bad::Stopped));
    let back = until(&mut reader, alive(0)).await;
    assert!(back.samples[0].quality.is_good());
    assert_eq!(gateway.telemetry().link("bench-0").restarts.get(), 1);
    assert_eq!(gateway.telemetry().link("bench-1").restarts.get(), 0);
    assert_eq!(benches[1].connects(), 1);
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_works_again_after_its_link_fell() {
    let benches = [Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, |b| b.state == DeviceState::Alive).await;
    benches[0].panic_at_next_read();
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Dead).await;
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Alive).await;
    let origin = fieldgate::command::Origin { publisher: "test".into(), who: String::new() };
    gateway.gate().write(TagId(0), Value::U16(5), &origin).await.unwrap();
    assert_eq!(benches[0].word(0, 10), 5);
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_gateway_polls_no_more() {
    let benches = [Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, |b| b.state == DeviceState::Alive).await;
    let start = tokio::time::Instant::now();
    gateway.stop().await;
    assert!(start.elapsed() < Duration::from_secs(5));
    benches[0].take_reads();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(benches[0].take_reads().is_empty());
}
