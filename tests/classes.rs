//! The order in which the outbox serves: classes, live and history, rate and budget.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/directory.rs"]
mod directory;

use std::sync::Arc;
use std::time::Duration;

use fieldgate::model::*;
use fieldgate::store::{Durability, Next, Options, Reader, ReaderOptions, Replay, Settled, Store};
use fieldgate::telemetry::StoreStats;
use futures_util::FutureExt;

const ALARM: u32 = 0;
const VALUE: u32 = 1;
const TRACE: u32 = 2;

/// One device with an alarm, a measured value and a trace.
fn directory() -> Arc<Directory> {
    let classes = [(TagId(ALARM), Class::Critical), (TagId(TRACE), Class::Diagnostic)];
    Arc::new(directory::directory(&["0", "1", "2"]).with_classes(classes.into()))
}

fn open(options: Options) -> (Arc<Store>, Arc<StoreStats>) {
    let stats = Arc::new(StoreStats::default());
    (Store::open(options, directory(), Clock::starting_at(Timestamp(0)), stats.clone()), stats)
}

fn reader(store: &Store) -> Reader {
    store.reader("north", ReaderOptions { durable: true, rules: None })
}

fn batch(tags: &[u32], n: u32) -> Batch {
    let sample = |tag: &u32| Sample::good(TagId(*tag), Value::U32(n), Timestamp(i64::from(n)));
    Batch { device: DeviceId(0), state: DeviceState::Alive, samples: tags.iter().map(sample).collect() }
}

/// What a batch is: its tag, its number, and whether it is live. Number 0 says only that the device answers now.
fn seen(next: &Next) -> (u32, u32, bool) {
    let (live, batch) = match next {
        Next::Live(_, batch) => (true, batch),
        Next::History(_, batch) => (false, batch),
    };
    let Some(first) = batch.samples.first() else {
        assert_eq!(batch.state, DeviceState::Alive);
        return (ALARM, 0, live);
    };
    let tag = first.tag;
    assert!(batch.samples.iter().all(|s| s.tag == tag), "a batch of one class: {batch:?}");
    let Some(Value::U32(n)) = batch.samples[0].value else { panic!("{batch:?}") };
    (tag.0, n, live)
}

fn settle(reader: &mut Reader, next: &Next) {
    let (Next::Live(seq, _) | Next::History(seq, _)) = next;
    reader.settle(*seq, Settled::Sent);
}

/// All that there is now, settled.
fn all(reader: &mut Reader) -> Vec<(u32, u32, bool)> {
    let mut given = Vec::new();
    while let Some(next) = reader.next().now_or_never() {
        settle(reader, &next);
        given.push(seen(&next));
    }
    given
}

fn in_memory(replay: Replay) -> (Arc<Store>, Reader) {
    let (store, _) = open(Options { replay, ..Options::default() });
    let reader = reader(&store);
    (store, reader)
}

/// Two batches of all tags as history, two live.
fn outage(store: &Store, reader: &mut Reader) {
    (1..3).for_each(|n| store.accept(batch(&[TRACE, VALUE, ALARM], n)));
    reader.rewind();
    (3..5).for_each(|n| store.accept(batch(&[TRACE, VALUE, ALARM], n)));
}

#[tokio::test]
async fn live_first_gives_alarms_old_and_new_then_what_is_so_now_then_what_was() {
    let (store, mut reader) = in_memory(Replay::LiveFirst);
    outage(&store, &mut reader);
    let mut given = all(&mut reader);
    // After the first history batch the rate lets no other pass for a moment.
    while given.len() < 12 {
        let next = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("in time");
        settle(&mut reader, &next);
        given.push(seen(&next));
    }
    let kind = |tag, live| {
        let of: Vec<_> = given.iter().enumerate().filter(|(_, g)| (g.0, g.2) == (tag, live)).collect();
        assert_eq!(of.iter().map(|(_, g)| g.1).collect::<Vec<_>>(), if live { [3, 4] } else { [1, 2] });
        (of[0].0, of[1].0)
    };
    let (alarms, was) = (kind(ALARM, true), kind(ALARM, false));
    assert_eq!(alarms, (0, 1));
    let (values, traces) = (kind(VALUE, true), kind(TRACE, true));
    assert!(was.0 == 2 && values.1 < traces.0, "{given:?}");
    assert!(kind(VALUE, false).0 > traces.1 && kind(TRACE, false).0 > kind(VALUE, false).1, "{given:?}");
    assert_eq!(store.readers()[0].pending, 0);
}

#[tokio::test]
async fn in_order_gives_of_each_class_all_history_before_live_the_alarms_first() {
    let (store, mut reader) = in_memory(Replay::InOrder);
    outage(&store, &mut reader);
    let expected: Vec<_> =
        [ALARM, VALUE, TRACE].iter().flat_map(|tag| (1..5).map(|n| (*tag, n, n > 2))).collect();
    assert_eq!(all(&mut reader), expected);
}

#[tokio::test]
async fn a_backlog_on_the_disk_comes_by_class_also_in_the_next_run_and_each_tag_in_order() {
    const BATCHES: u32 = 12_000;
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        path: Some(folder.path().join("store")),
        durability: Durability::Spill,
        spill_after: Duration::from_millis(20),
        ..Options::default()
    };
    let alarms = |n: &u32| n % 5000 == 7;
    {
        let (store, stats) = open(options.clone());
        let _reader = reader(&store);
        for n in 1..=BATCHES {
            store.accept(batch(if alarms(&n) { &[TRACE, VALUE, ALARM] } else { &[TRACE, VALUE] }, n));
            if n == BATCHES / 2 {
                let half = stats.accepted.get();
                let deadline = std::time::Instant::now() + Duration::from_secs(20);
                while stats.spooled.get() < half {
                    assert!(std::time::Instant::now() < deadline, "not spilled in time");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        store.drain(Duration::from_secs(20)).await;
    }
    let (store, _) = open(options);
    let mut reader = reader(&store);
    let mut given: Vec<(u32, u32)> = Vec::new();
    while store.readers()[0].pending > 0 {
        let next = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("in time");
        settle(&mut reader, &next);
        let (tag, n, live) = seen(&next);
        assert!(!live);
        given.push((tag, n));
    }
    let expected = (0..=BATCHES).filter(|n| *n == 0 || alarms(n)).map(|n| (ALARM, n));
    let expected = expected.chain([VALUE, TRACE].iter().flat_map(|tag| (1..=BATCHES).map(|n| (*tag, n))));
    assert!(given == expected.collect::<Vec<_>>(), "{} given, first {:?}", given.len(), &given[..9]);
}

fn budgeted(replay: Replay) -> (Arc<Store>, Reader) {
    let options = Options { replay, ..Options::default() };
    let rules = fieldgate::store::ReaderRules { budget: Some(BUDGET), ..options.reader_rules() };
    let (store, _) = open(options);
    let reader = store.reader("north", ReaderOptions { durable: true, rules: Some(rules) });
    (store, reader)
}

const BUDGET: u64 = 1 << 20;
/// What may go at once after a while without sending.
const AT_ONCE: u64 = BUDGET / 10;

#[tokio::test(start_paused = true)]
async fn a_short_budget_lets_history_wait_first_then_traces_then_values_and_never_alarms() {
    let (store, mut reader) = budgeted(Replay::LiveFirst);
    outage(&store, &mut reader);
    reader.spent(AT_ONCE * 6 / 10);
    // The alarms of before pass, too.
    let lives = [(ALARM, 3, true), (ALARM, 4, true), (ALARM, 1, false)];
    let given = all(&mut reader);
    assert_eq!(given[..3], lives);
    let without = |tag, live| !given.iter().any(|g| (g.0, g.2) == (tag, live));
    assert!(without(VALUE, false) && without(TRACE, false), "{given:?}");
    assert!(!without(VALUE, true) && !without(TRACE, true), "{given:?}");
    reader.spent(AT_ONCE * 2 / 10);
    tokio::time::advance(Duration::from_secs(2)).await;
    all(&mut reader);
    store.accept(batch(&[TRACE, VALUE, ALARM], 5));
    assert_eq!(all(&mut reader), [(ALARM, 5, true), (VALUE, 5, true)]);
    assert_eq!(reader.missed(), [], "traces are put off, and still are");
    reader.spent(AT_ONCE * 3 / 10);
    store.accept(batch(&[TRACE, VALUE, ALARM], 6));
    assert_eq!(all(&mut reader), [(ALARM, 6, true)]);
    let report = store.readers().remove(0);
    assert_eq!((report.budget_left, report.budget_short), (Some(0), 3));
    assert_eq!(report.sent_bytes, AT_ONCE * 6 / 10 + AT_ONCE * 2 / 10 + AT_ONCE * 3 / 10);
    // An hour later all have come, what was put off as history and in order, and nothing is left.
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(reader.missed(), [Class::Normal, Class::Diagnostic]);
    assert_eq!(reader.missed(), []);
    let mut given = Vec::new();
    while store.readers()[0].pending > 0 {
        let next = tokio::time::timeout(Duration::from_secs(60), reader.next()).await.expect("in time");
        settle(&mut reader, &next);
        given.push(seen(&next));
    }
    let history = [(VALUE, 1), (VALUE, 2), (VALUE, 6), (TRACE, 1), (TRACE, 2), (TRACE, 5), (TRACE, 6)];
    assert_eq!(given, history.map(|(tag, n)| (tag, n, false)));
}

#[tokio::test(start_paused = true)]
async fn in_order_with_a_short_budget_what_waits_stays_live_and_in_order() {
    let (store, mut reader) = budgeted(Replay::InOrder);
    reader.rewind();
    reader.spent(AT_ONCE * 2);
    (1..4).for_each(|n| store.accept(batch(&[VALUE, ALARM], n)));
    assert_eq!(all(&mut reader), [1, 2, 3].map(|n| (ALARM, n, true)));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(reader.missed(), []);
    assert_eq!(all(&mut reader), [1, 2, 3].map(|n| (VALUE, n, true)));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_gets_what_waits_when_the_budget_allows_it() {
    let (store, mut reader) = budgeted(Replay::InOrder);
    reader.spent(AT_ONCE + BUDGET / 20);
    store.accept(batch(&[VALUE], 1));
    let began = tokio::time::Instant::now();
    let next = tokio::time::timeout(Duration::from_secs(3600), reader.next()).await.expect("in time");
    assert_eq!(seen(&next), (ALARM, 0, true));
    let next = tokio::time::timeout(Duration::from_secs(3600), reader.next()).await.expect("in time");
    assert_eq!(seen(&next), (VALUE, 1, true));
    // A twentieth of the budget was owed, and nine tenths come in an hour.
    let waited = began.elapsed().as_secs();
    assert!((195..=210).contains(&waited), "{waited}");
}
