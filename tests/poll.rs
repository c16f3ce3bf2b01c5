//! The task of one link, on the sim driver and tokio's paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::command::{Gate, Origin, Refusal, WriteRule};
use fieldgate::drivers::sim::Bench;
use fieldgate::model::*;
use fieldgate::poll;
use fieldgate::store::{Next, Reader, ReaderOptions, Store};
use fieldgate::telemetry::{Connection, Telemetry};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A link with two devices; tag 0 of device 0 every 100 ms, tag 1 of device 1 every second, tag 0 writable.
struct Rig {
    bench: Bench,
    store: Arc<Store>,
    reader: Reader,
    gate: Gate,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    mailbox: mpsc::Sender<fieldgate::command::Write>,
    plans: watch::Sender<Arc<poll::LinkPlan>>,
}

fn rig() -> Rig {
    rig_with(|_| {})
}

fn rig_with(change: impl FnOnce(&mut poll::LinkPlan)) -> Rig {
    let bench = Bench::default();
    let mut plan = common::bench_plan("bench", &bench, 0);
    change(&mut plan);
    let clock = Clock::starting_at(Timestamp(1_700_000_000_000_000));
    let telemetry = Telemetry::new(clock.now());
    let store = Store::in_memory();
    let reader = store.reader("test", ReaderOptions { durable: false, rules: None });
    let (mailbox, inbox) = mpsc::channel(8);
    let gate = Gate::default();
    let rule = WriteRule {
        path: "device-0/tag".into(),
        kind: DataType::U16,
        access: Access::ReadWrite,
        low: None,
        high: None,
        mailbox: mailbox.clone(),
    };
    gate.load(HashMap::from([(TagId(0), rule)]));
    let stop = CancellationToken::new();
    let cx = poll::Context {
        store: store.clone(),
        telemetry: telemetry.clone(),
        clock,
        inbox: Arc::new(tokio::sync::Mutex::new(inbox)),
        stop: stop.clone(),
    };
    let (plans, newest) = watch::channel(Arc::new(plan));
    let task = tokio::spawn(poll::run(newest, cx));
    Rig { bench, store, reader, gate, telemetry, stop, task, mailbox, plans }
}

impl Rig {
    /// The next batch; on the paused clock this waits exactly as long as nothing happens.
    async fn next(&mut self) -> Arc<Batch> {
        let next = tokio::time::timeout(Duration::from_secs(120), self.reader.next()).await;
        match next.expect("a batch within two minutes") {
            Next::Live(_, batch) | Next::History(_, batch) => batch,
        }
    }

    /// Waits for a batch of this device in this state.
    async fn until(&mut self, device: u32, state: DeviceState) -> Arc<Batch> {
        loop {
            let batch = self.next().await;
            if batch.device == DeviceId(device) && batch.state == state {
                return batch;
            }
        }
    }

    fn quality(&self, tag: u32) -> Quality {
        self.store.latest(TagId(tag)).unwrap().quality
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_is_born_complete_and_its_changes_follow() {
    let mut rig = rig();
    rig.bench.set_words(0, 10, &[7]);
    let born = rig.until(0, DeviceState::Alive).await;
    assert_eq!(born.samples[0].value, Some(Value::U16(7)));
    rig.bench.set_words(0, 10, &[8]);
    let start = tokio::time::Instant::now();
    let change = rig.until(0, DeviceState::Alive).await;
    assert_eq!(change.samples[0].value, Some(Value::U16(8)));
    assert!(start.elapsed() <= Duration::from_millis(101), "{:?}", start.elapsed());
    rig.stop.cancel();
    rig.task.await.unwrap();
    assert_eq!(rig.telemetry.link("bench").state.get(), Connection::Stopped);
}

#[tokio::test(start_paused = true)]
async fn the_silence_after_a_transaction_is_time_of_the_line_and_counts_once_where_the_next_one_waits_for_it()
{
    // Two devices: the second one is asked at once after the first one's answer.
    for (period, share) in [(Duration::from_secs(1), 0.076), (Duration::from_millis(5), 1.0)] {
        let mut rig = rig_with(|plan| plan.blocks.iter_mut().for_each(|block| block.period = period));
        rig.bench.set_answer_time(Duration::from_millis(36));
        rig.bench.set_silence(Duration::from_millis(4));
        rig.until(1, DeviceState::Alive).await;
        let stats = rig.telemetry.link("bench");
        let before = stats.busy_us.get();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let busy = (stats.busy_us.get() - before) as f64 / 1e8;
        assert!((busy - share).abs() < 0.001, "{busy} of {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_only_written_is_there_while_its_link_is() {
    let mut rig = rig_with(|plan| {
        let (id, name) = (DeviceId(2), "device-2".to_owned());
        plan.devices.push(poll::DevicePlan { id, name, tags: vec![TagId(2), TagId(3)] });
        // Device 1 is read, and has a tag that is not.
        plan.devices[1].tags.push(TagId(4));
        for (tag, device) in [(3, 2), (2, 2), (4, 1)] {
            let task = poll::WriteTask { device, read_back: None, ..plan.writes[&TagId(0)].clone() };
            plan.writes.insert(TagId(tag), task);
        }
    });
    let never = Quality::Bad(Bad::NeverRead);
    for _ in 0..3 {
        let alive = rig.until(2, DeviceState::Alive).await;
        let told: Vec<_> = alive.samples.iter().map(|s| (s.tag, s.quality)).collect();
        assert_eq!(told, [(TagId(2), never), (TagId(3), never)]);
        let born = rig.until(1, DeviceState::Alive).await;
        assert_eq!(born.samples.iter().map(|s| s.tag).collect::<Vec<_>>(), [TagId(1), TagId(4)]);
        rig.bench.unplug(true);
        rig.until(2, DeviceState::Dead).await;
        rig.bench.unplug(false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_device_has_bad_tags_once_and_its_neighbour_keeps_its_pace() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
    rig.bench.set_fault(1, Some(Fault::Timeout));
    let dead = rig.until(1, DeviceState::Dead).await;
    assert_eq!(dead.samples.len(), 1);
    assert_eq!(dead.samples[0].quality, Quality::Bad(Bad::NoAnswer));
    assert_eq!(dead.samples[0].value, None);
    rig.bench.take_reads();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let reads = rig.bench.take_reads();
    assert!((99..=101).contains(&reads.iter().filter(|b| **b == 0).count()), "{}", reads.len());
    rig.bench.set_fault(1, None);
    let back = rig.until(1, DeviceState::Alive).await;
    assert!(back.samples[0].quality.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_dead_device_on_a_line_that_is_never_idle_is_back_within_three_seconds_of_its_return() {
    // Each read takes 36 ms, as 20 registers at 19200 baud do, and device 0 alone fills the line.
    let mut rig = rig_with(|plan| plan.blocks[0].period = Duration::from_millis(5));
    rig.bench.set_answer_time(Duration::from_millis(36));
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
    for gone in [5, 11, 61, 167] {
        rig.bench.set_fault(1, Some(Fault::Timeout));
        rig.until(1, DeviceState::Dead).await;
        rig.bench.take_reads();
        tokio::time::sleep(Duration::from_secs(gone)).await;
        let reads = rig.bench.take_reads().len() as f64 * 0.036;
        assert!(reads >= gone as f64 * 0.95, "{reads} of {gone} s");
        rig.bench.set_fault(1, None);
        let start = tokio::time::Instant::now();
        rig.until(1, DeviceState::Alive).await;
        assert!(start.elapsed() <= Duration::from_secs(3), "{:?} after {gone} s", start.elapsed());
    }
}

/// Eight devices with 20 registers each on a line of 19200 baud that is asked for more than it allows.
fn saturated() -> poll::LinkPlan {
    let mut text = String::from(
        "node = { group = \"g\", name = \"n\" }\nscan = { all = \"5ms\" }\n[[link.modbus-rtu]]\nname = \"bus\"\n\
         port = \"/dev/ttyS0\"\nbaud = 19200\nparity = \"none\"\nstop-bits = 1\ntimeout = \"200ms\"\n",
    );
    for unit in 1..=8 {
        text += &format!(
            "[[device]]\nname = \"d{unit}\"\nlink = \"bus\"\nunit = {unit}\n[device.tag]\n\
             all = {{ at = \"holding:0\", type = \"string\", length = 40 }}\n"
        );
    }
    let config = fieldgate::config::load(&text).config.unwrap();
    let plan = fieldgate::plan::compile(&config, false, None).unwrap();
    plan.links.into_iter().find(|link| link.name == "bus").unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_dead_of_eight_on_a_full_line_costs_the_others_less_than_a_hundredth() {
    let plan = saturated();
    let allowed = 1.0 / plan.blocks[0].cost.as_secs_f64() / 7.0;
    let forecast = poll::forecast::forecast(&plan, &[2]);
    for (at, period) in forecast.periods.iter().enumerate().filter(|(at, _)| *at != 2) {
        let rate = 1.0 / period.unwrap().as_secs_f64();
        assert!(rate >= allowed * 3.9 / 3.94, "device {at}: {rate} of {allowed}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_dead_devices_together_take_a_twentieth_of_a_full_line() {
    let plan = saturated();
    let allowed = 1.0 / plan.blocks[0].cost.as_secs_f64();
    let forecast = poll::forecast::forecast(&plan, &[1, 2, 3, 4, 5, 6, 7]);
    let rate = 1.0 / forecast.periods[0].unwrap().as_secs_f64();
    assert!(rate >= allowed * 0.94, "{rate} of {allowed}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_device_is_forecast_to_hold_up_the_others_unless_there_is_a_second_lane() {
    let mut plan = saturated();
    plan.blocks.iter_mut().for_each(|block| block.period = Duration::from_secs(1));
    plan.blocks[0].cost = Duration::from_secs(3);
    let slowest = |plan: &poll::LinkPlan| {
        let periods = poll::forecast::forecast(plan, &[]).periods;
        periods[1..].iter().map(|period| period.unwrap()).max().unwrap()
    };
    assert!(slowest(&plan) >= Duration::from_secs(2), "{:?}", slowest(&plan));
    plan.connections = 2;
    assert!(slowest(&plan) <= Duration::from_millis(1050), "{:?}", slowest(&plan));
    assert!(plan.wanted_load() < 2.0 && plan.tightest_load() > 2.9);
}

#[tokio::test(start_paused = true)]
async fn one_lost_frame_makes_no_bad_sample() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
    rig.bench.lose_frames(0, 1);
    rig.bench.set_words(0, 10, &[99]);
    let next = rig.next().await;
    assert_eq!((next.device, next.samples[0].value.clone()), (DeviceId(0), Some(Value::U16(99))));
    assert_eq!(rig.telemetry.link("bench").timeouts.get(), 1);
    assert_eq!(rig.telemetry.device("device-0", "bench").deaths.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_link_makes_every_device_dead_and_comes_back_by_itself() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
    rig.bench.unplug(true);
    for _ in 0..2 {
        let batch = rig.next().await;
        assert_eq!(batch.state, DeviceState::Dead);
        assert_eq!(batch.samples[0].quality, Quality::Bad(Bad::NotConnected));
    }
    assert_eq!(rig.telemetry.link("bench").state.get(), Connection::Down);
    let refused = rig.gate.write(TagId(0), Value::U16(1), &origin()).await;
    assert_eq!(refused, Err(Refusal::LinkDown));
    rig.bench.unplug(false);
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
    assert_eq!(rig.bench.connects(), 2);
    assert!(rig.quality(0).is_good() && rig.quality(1).is_good());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_connections_only_to_close_them_is_tried_less_and_less_often() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
    let break_off = |with| (0..2).for_each(|device| rig.bench.set_fault(device, with));
    break_off(Some(Fault::NotConnected));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = rig.bench.connects();
    assert!((10..100).contains(&tries), "{tries} in ten minutes");
    break_off(None);
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_block_is_bad_with_its_code_while_the_device_lives() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
    rig.bench.set_fault(0, Some(Fault::Refused(2)));
    let batch = rig.until(0, DeviceState::Alive).await;
    assert_eq!(batch.samples[0].quality, Quality::Bad(Bad::Refused(2)));
}

#[tokio::test(start_paused = true)]
async fn a_device_absent_at_the_start_is_tried_until_it_is_there() {
    let mut rig = rig();
    rig.bench.set_fault(1, Some(Fault::Timeout));
    let dead = rig.until(1, DeviceState::Dead).await;
    assert_eq!(dead.samples[0].quality, Quality::Bad(Bad::NoAnswer));
    tokio::time::sleep(Duration::from_secs(600)).await;
    rig.bench.set_fault(1, None);
    let start = tokio::time::Instant::now();
    rig.until(1, DeviceState::Alive).await;
    assert!(start.elapsed() <= Duration::from_secs(37), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_written_value_is_home_before_the_writer_is_told() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.bench.set_answer_time(Duration::from_millis(3));
    rig.gate.write(TagId(0), Value::U16(1234), &origin()).await.unwrap();
    assert_eq!(rig.bench.word(0, 10), 1234);
    assert_eq!(rig.store.latest(TagId(0)).unwrap().value, Some(Value::U16(1234)));
}

#[tokio::test(start_paused = true)]
async fn what_the_device_refuses_is_told_to_the_writer() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.bench.set_fault(0, Some(Fault::Refused(3)));
    let outcome = rig.gate.write(TagId(0), Value::U16(1), &origin()).await;
    assert_eq!(outcome, Err(Refusal::Fault(Fault::Refused(3))));
}

fn origin() -> Origin {
    Origin { publisher: "test".into(), who: String::new() }
}

const STATE: TagId = TagId(10);
const ACKED: TagId = TagId(12);

/// Tag 0 of device 0, polled every 100 ms, is in alarm at 50 and above, after a delay.
fn watched(plan: &mut poll::LinkPlan, delay: Duration) {
    let alarm = Alarm {
        source: TagId(0),
        path: "device-0/tag".into(),
        state: STATE,
        active: TagId(11),
        acked: ACKED,
        trigger: Trigger::Limits(Limits { hi: Some(50.0), hysteresis: 5.0, ..Limits::default() }),
        on_delay: delay,
        off_delay: Duration::ZERO,
        priority: Priority::Medium,
        message: None,
    };
    plan.blocks[0].rules[0].rule.alarm = Some(Arc::new(alarm));
}

impl Rig {
    /// Lets the alarm be acknowledged.
    fn alarms(&self) {
        let rule = WriteRule {
            path: "device-0/tag/alarm-acked".into(),
            kind: DataType::Bool,
            access: Access::Read,
            low: None,
            high: None,
            mailbox: self.mailbox.clone(),
        };
        self.gate.load_alarms(HashMap::from([(ACKED, rule)]));
    }

    fn word(&self, tag: TagId) -> Option<Value> {
        self.store.latest(tag).and_then(|sample| sample.value)
    }

    /// Waits until a tag has this value.
    async fn shows(&mut self, tag: TagId, value: Value) {
        while self.word(tag).as_ref() != Some(&value) {
            self.next().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_alarm_sees_values_that_the_deadband_keeps_back_and_its_delay_ends_between_two_polls() {
    let mut rig = rig_with(|plan| {
        watched(plan, Duration::from_secs(5));
        plan.blocks[0].period = Duration::from_secs(60);
        plan.blocks[0].rules[0].rule.deadband = 100.0;
    });
    rig.bench.set_words(0, 10, &[7]);
    rig.until(0, DeviceState::Alive).await;
    assert_eq!(rig.word(STATE), Some(Value::Text("normal".into())));
    rig.bench.set_words(0, 10, &[60]);
    rig.shows(STATE, Value::Text("hi".into())).await;
    assert_eq!(rig.word(TagId(0)), Some(Value::U16(60)), "within the deadband, but it made the alarm");
    let (alarm, polled) = (rig.store.latest(STATE).unwrap().at.0, 60_000_000);
    let late = (alarm - 1_700_000_000_000_000) % polled;
    assert!((5_000_000..6_500_000).contains(&late), "{late} us after a poll");
}

#[tokio::test(start_paused = true)]
async fn an_alarm_is_acknowledged_through_the_gate_also_while_its_device_is_dead() {
    let mut rig = rig_with(|plan| watched(plan, Duration::ZERO));
    let origin = Origin { publisher: "test".into(), who: "op".into() };
    assert_eq!(rig.gate.acknowledge(ACKED, &origin).await, Err(Refusal::UnknownTag));
    rig.alarms();
    rig.bench.set_words(0, 10, &[60]);
    rig.until(0, DeviceState::Alive).await;
    assert_eq!(rig.word(ACKED), Some(Value::Bool(false)));
    rig.bench.set_fault(0, Some(Fault::Timeout));
    rig.until(0, DeviceState::Dead).await;
    assert_eq!(rig.word(STATE), Some(Value::Text("hi".into())));
    assert_eq!(rig.quality(STATE.0), Quality::Uncertain(Uncertain::LastKnown));
    assert_eq!(rig.gate.acknowledge(ACKED, &origin).await, Ok(()));
    assert_eq!(rig.word(ACKED), Some(Value::Bool(true)));
    assert_eq!(rig.gate.write(ACKED, Value::Bool(true), &origin).await, Err(Refusal::UnknownTag));
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_so_after_the_links_task_began_anew() {
    let mut rig = rig_with(|plan| watched(plan, Duration::ZERO));
    rig.alarms();
    rig.bench.set_words(0, 10, &[60]);
    rig.until(0, DeviceState::Alive).await;
    let origin = Origin { publisher: "test".into(), who: "op".into() };
    assert_eq!(rig.gate.acknowledge(ACKED, &origin).await, Ok(()));
    let kept = rig.store.recall("bench/#alarms").unwrap();
    assert_eq!(kept, "\"device-0/tag\" = \"hi acknowledged\"\n");
    let mut plan = common::bench_plan("bench", &rig.bench, 0);
    watched(&mut plan, Duration::ZERO);
    let rules: Vec<_> = plan.blocks.iter().map(|block| block.rules.as_slice()).collect();
    let mut later = fieldgate::normalize::Normalizer::new(rules);
    later.restore_alarms(&kept);
    let (mut samples, now) = (Vec::new(), (Timestamp(1), Stamp::Synchronised));
    later.apply(0, Ok(&Raw { words: vec![47], ..Raw::default() }), now, &mut samples);
    let told: Vec<_> = samples.iter().filter_map(|s| s.value.clone()).collect();
    let hi = Value::Text("hi".into());
    assert_eq!(told, [Value::U16(47), hi, Value::Bool(true), Value::Bool(true)], "within the hysteresis");
}

const OLD: [(u32, usize, &str, u64); 2] = [(0, 0, "word:10", 100), (1, 1, "word:20", 1000)];

#[tokio::test(start_paused = true)]
async fn another_plan_is_taken_over_the_open_connection_and_only_what_is_new_is_told() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.until(1, DeviceState::Alive).await;
    rig.bench.take_reads();
    let start = tokio::time::Instant::now();
    rig.bench.set_words(1, 40, &[77]);
    let next = [OLD[0], OLD[1], (2, 1, "word:40", 1000)];
    rig.plans.send_replace(Arc::new(common::bench_plan_of("bench", &rig.bench, 0, &next)));
    let told = rig.next().await;
    let of: Vec<_> = told.samples.iter().map(|s| (s.tag.0, s.value.clone())).collect();
    assert_eq!(
        (told.device, told.state, of),
        (DeviceId(1), DeviceState::Alive, vec![(2, Some(Value::U16(77)))])
    );
    assert!(start.elapsed() <= Duration::from_millis(10), "{:?}", start.elapsed());
    // What did not change goes on in its beat, and is not told again.
    let silence = tokio::time::timeout(Duration::from_millis(4950), rig.reader.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    let polls = rig.bench.take_reads().iter().filter(|device| **device == 0).count();
    assert!((49..=50).contains(&polls), "{polls} polls of device 0 in 5 s");
    assert_eq!((rig.bench.connects(), rig.telemetry.link("bench").overruns.get()), (1, 0));
    assert_eq!(rig.telemetry.device("device-1", "bench").deaths.get(), 0);
    rig.bench.set_words(0, 10, &[8]);
    assert_eq!(rig.next().await.samples[0].value, Some(Value::U16(8)));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_dead_stays_dead_under_another_plan_and_its_new_tags_are_bad_at_once() {
    let mut rig = rig();
    rig.until(0, DeviceState::Alive).await;
    rig.bench.set_fault(1, Some(Fault::Timeout));
    rig.until(1, DeviceState::Dead).await;
    let next = [OLD[0], OLD[1], (2, 1, "word:40", 1000)];
    rig.plans.send_replace(Arc::new(common::bench_plan_of("bench", &rig.bench, 0, &next)));
    let told = rig.until(1, DeviceState::Dead).await;
    let of: Vec<_> = told.samples.iter().map(|s| (s.tag.0, s.quality)).collect();
    assert_eq!(of, [(2, Quality::Bad(Bad::NoAnswer))]);
    rig.bench.set_fault(1, None);
    assert_eq!(rig.until(1, DeviceState::Alive).await.samples.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_gone_is_told_no_more_and_a_plan_that_comes_while_the_link_is_down_is_taken() {
    let mut rig = rig();
    rig.until(1, DeviceState::Alive).await;
    rig.bench.unplug(true);
    rig.until(1, DeviceState::Dead).await;
    rig.plans.send_replace(Arc::new(common::bench_plan_of("bench", &rig.bench, 0, &OLD[..1])));
    rig.bench.unplug(false);
    let born = rig.until(0, DeviceState::Alive).await;
    assert!(born.samples[0].quality.is_good());
    rig.bench.set_words(1, 20, &[99]);
    rig.bench.set_words(0, 10, &[9]);
    let told = rig.next().await;
    assert_eq!((told.device, told.samples[0].value.clone()), (DeviceId(0), Some(Value::U16(9))));
    let silence = tokio::time::timeout(Duration::from_secs(3), rig.reader.next()).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_is_done_under_another_plan_where_its_tag_is_the_same_and_refused_where_not() {
    for high in [None, Some(2.0)] {
        let mut rig = rig();
        rig.until(0, DeviceState::Alive).await;
        // Each transaction takes long, so that the write waits while the plan comes.
        rig.bench.set_answer_time(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let gate = rig.gate.clone();
        let origin = Origin { publisher: "test".into(), who: String::new() };
        let write = tokio::spawn(async move { gate.write(TagId(0), Value::U16(3), &origin).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut next =
            common::bench_plan_of("bench", &rig.bench, 0, &[OLD[0], OLD[1], (2, 1, "word:40", 1000)]);
        next.writes.get_mut(&TagId(0)).unwrap().rule.high = high;
        rig.plans.send_replace(Arc::new(next));
        let outcome = write.await.unwrap();
        let expected = if high.is_none() { (Ok(()), 3) } else { (Err(Refusal::LinkDown), 0) };
        assert_eq!((outcome, rig.bench.word(0, 10)), expected);
    }
}
