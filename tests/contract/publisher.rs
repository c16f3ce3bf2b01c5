//! What every publisher must do, whatever it speaks: one suite, a way to look at the north per publisher.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::command::Gate;
use fieldgate::model::{
    Batch, Clock, DataType, Device, DeviceId, DeviceState, Directory, Sample, Tag, TagId, Value,
};
use fieldgate::publishers::publisher::{Context, PublishError, Publisher};
use fieldgate::store::{Options, Store};
use fieldgate::telemetry::{Connection, Telemetry};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A publisher and a client of it.
pub(crate) trait North {
    type Publisher: Publisher;

    /// A publisher as it is made for a run; each run is a new one with the same settings.
    fn publisher(&self) -> Self::Publisher;
    /// Takes what the publisher needs (its port), or for one that calls out, takes its peer away.
    fn obstruct(&mut self) -> impl Future<Output = ()>;
    /// Gives it back.
    fn clear(&mut self) -> impl Future<Output = ()>;
    /// What a client sees as the value of `pump/level`, where it sees one.
    fn level(&self, cx: &Context) -> impl Future<Output = Option<f64>>;
}

fn context(folder: PathBuf) -> Context {
    let clock = Clock::system();
    let telemetry = Telemetry::new(clock.now());
    let device = Device::plain(DeviceId(0), "pump", "bus");
    let tag = Tag {
        unit: Some("m".into()),
        low: Some(0.0),
        high: Some(100.0),
        ..Tag::plain(TagId(0), DeviceId(0), "pump/level", DataType::F64)
    };
    Context {
        name: "north".into(),
        directory: Arc::new(Directory::new("water", "station", vec![device], vec![tag])).into(),
        store: Store::in_memory(),
        gate: Gate::default(),
        stats: telemetry.publisher("north", "north"),
        telemetry,
        outbox: Options::default().reader_rules(),
        clock,
        folder,
        stop: CancellationToken::new(),
    }
}

fn set_level(cx: &Context, value: f64) {
    cx.store.accept(Batch {
        device: DeviceId(0),
        state: DeviceState::Alive,
        samples: vec![Sample::good(TagId(0), Value::F64(value), cx.clock.now())],
    });
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

async fn ends(cx: &Context, task: JoinHandle<Result<(), PublishError>>) {
    cx.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(2), task).await;
    assert!(ended.expect("it ends within two seconds").expect("without a panic").is_ok());
}

/// The whole contract.
pub(crate) async fn suite<N: North>(mut north: N) {
    let folder = tempfile::tempdir().unwrap();

    // It starts, says so, and says the value that was there before it and those that come after.
    let cx = context(folder.path().into());
    set_level(&cx, 1.5);
    let task = tokio::spawn(north.publisher().run(cx.clone()));
    until("it is up", async || cx.stats.state.get() == Connection::Up).await;
    until("the value of before is there", async || north.level(&cx).await == Some(1.5)).await;
    set_level(&cx, 2.5);
    until("the next value is there", async || north.level(&cx).await == Some(2.5)).await;
    ends(&cx, task).await;

    // What it needs is not there: it says so, does not give up, and is up when it is there.
    north.obstruct().await;
    let cx = context(folder.path().into());
    let task = tokio::spawn(north.publisher().run(cx.clone()));
    until("it is down", async || cx.stats.state.get() == Connection::Down).await;
    set_level(&cx, 3.5);
    assert!(!task.is_finished());
    north.clear().await;
    until("it is up after all", async || cx.stats.state.get() == Connection::Up).await;
    until("the value of meanwhile is there", async || north.level(&cx).await == Some(3.5)).await;
    ends(&cx, task).await;

    // It ends also while it waits.
    north.obstruct().await;
    let cx = context(folder.path().into());
    let task = tokio::spawn(north.publisher().run(cx.clone()));
    until("it is down", async || cx.stats.state.get() == Connection::Down).await;
    ends(&cx, task).await;
    north.clear().await;
}
