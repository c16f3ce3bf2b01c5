//! What holds for an alarm, whatever values come at whatever times.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Priority, TagId};

const HYSTERESIS: f64 = 2.0;

fn engine(trigger: Trigger, on_delay: u64, off_delay: u64) -> Engine {
    Engine::new(Arc::new(Alarm {
        source: TagId(0),
        path: "pump/pressure".into(),
        state: TagId(1),
        active: TagId(2),
        acked: TagId(3),
        trigger,
        on_delay: Duration::from_secs(on_delay),
        off_delay: Duration::from_secs(off_delay),
        priority: Priority::Medium,
        message: None,
    }))
}

fn four(on_delay: u64, off_delay: u64) -> Engine {
    let limits =
        Limits { hihi: Some(90.0), hi: Some(80.0), lo: Some(20.0), lolo: Some(10.0), hysteresis: HYSTERESIS };
    engine(Trigger::Limits(limits), on_delay, off_delay)
}

fn at(second: i64) -> Timestamp {
    Timestamp(second * 1_000_000)
}

fn take(engine: &mut Engine, second: i64, value: f64) -> Level {
    engine.take(Ok(&Value::F64(value)), at(second));
    engine.level()
}

#[test]
fn an_alarm_rises_at_its_limit_and_falls_when_the_value_is_back_by_the_hysteresis() {
    let mut alarm = four(0, 0);
    let levels: Vec<_> = [79.9, 80.0, 90.0, 88.1, 88.0, 78.1, 78.0, 20.0, 10.0, 12.0, 22.0]
        .into_iter()
        .enumerate()
        .map(|(second, value)| take(&mut alarm, second as i64, value).name())
        .collect();
    assert_eq!(levels, ["normal", "hi", "hihi", "hihi", "hi", "hi", "normal", "lo", "lolo", "lo", "normal"]);
}

#[test]
fn without_hysteresis_the_limit_itself_is_alarm_and_just_below_is_not() {
    let mut alarm = engine(Trigger::Limits(Limits { hi: Some(5.0), ..Limits::default() }), 0, 0);
    assert_eq!(
        [5.0, 4.99, 5.0].map(|value| take(&mut alarm, 0, value)),
        [Level::Hi, Level::Normal, Level::Hi]
    );
}

#[test]
fn a_delay_must_pass_without_a_break_and_ends_also_without_a_new_sample() {
    let mut alarm = four(5, 0);
    assert_eq!(take(&mut alarm, 0, 85.0), Level::Normal);
    assert_eq!(alarm.deadline(), Some(at(5)));
    assert_eq!(take(&mut alarm, 4, 79.0), Level::Normal);
    assert_eq!(alarm.deadline(), None);
    take(&mut alarm, 6, 95.0);
    alarm.wait(Timestamp(at(11).0 - 1));
    assert_eq!(alarm.level(), Level::Normal);
    alarm.wait(at(11));
    assert_eq!((alarm.level(), alarm.deadline()), (Level::HiHi, None));
}

#[test]
fn a_value_that_climbs_through_the_limits_is_high_in_time_though_it_was_highest_later() {
    let mut alarm = four(5, 0);
    take(&mut alarm, 0, 85.0);
    take(&mut alarm, 3, 95.0);
    assert_eq!(take(&mut alarm, 5, 95.0), Level::Hi);
    assert_eq!(take(&mut alarm, 8, 95.0), Level::HiHi);
}

#[test]
fn a_bad_sample_neither_raises_nor_ends_an_alarm_and_begins_delays_anew() {
    let mut alarm = four(5, 5);
    take(&mut alarm, 0, 85.0);
    alarm.take(Err(Bad::NoAnswer), at(4));
    assert_eq!((take(&mut alarm, 6, 85.0), take(&mut alarm, 11, 85.0)), (Level::Normal, Level::Hi));
    alarm.take(Err(Bad::NoAnswer), at(12));
    alarm.wait(at(10_000));
    assert_eq!(alarm.level(), Level::Hi);
    let mut told = Vec::new();
    alarm.tell(at(12), Stamp::Synchronised, &mut told);
    let last_known = Quality::Uncertain(Uncertain::LastKnown);
    assert!(told.iter().all(|sample| sample.quality == last_known && sample.value.is_some()));
    assert_eq!(told.len(), 3);
    take(&mut alarm, 10_001, 50.0);
    assert_eq!(take(&mut alarm, 10_006, 50.0), Level::Normal);
}

#[test]
fn before_the_first_value_nothing_is_known_and_that_is_told() {
    let mut alarm = four(0, 0);
    let mut told = Vec::new();
    alarm.take(Err(Bad::NoAnswer), at(0));
    alarm.tell(at(0), Stamp::Synchronised, &mut told);
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|s| s.quality == Quality::Bad(Bad::NoAnswer) && s.value.is_none()));
}

#[test]
fn an_alarm_stays_unacknowledged_when_it_is_over_and_wants_it_again_when_it_is_worse() {
    let mut alarm = four(0, 0);
    take(&mut alarm, 0, 85.0);
    assert_eq!(alarm.kept(), Some((Level::Hi, false)));
    take(&mut alarm, 1, 50.0);
    assert_eq!(alarm.kept(), Some((Level::Normal, false)));
    assert!(alarm.acknowledge() && !alarm.acknowledge());
    assert_eq!(alarm.kept(), None);
    take(&mut alarm, 2, 85.0);
    alarm.acknowledge();
    take(&mut alarm, 3, 95.0);
    assert_eq!(alarm.kept(), Some((Level::HiHi, false)));
    alarm.acknowledge();
    take(&mut alarm, 4, 85.0);
    assert_eq!(alarm.kept(), Some((Level::Hi, true)), "it comes down: nothing new to be seen");
}

#[test]
fn only_what_changed_is_told_and_an_unchanged_alarm_tells_nothing() {
    let mut alarm = four(0, 0);
    let tell = |alarm: &mut Engine, value| {
        take(alarm, 0, value);
        let mut told = Vec::new();
        alarm.tell(at(0), Stamp::Synchronised, &mut told);
        told.into_iter().map(|s| (s.tag.0, s.value.unwrap())).collect::<Vec<_>>()
    };
    let word = |level: &str| Value::Text(level.into());
    let (yes, no) = (Value::Bool(true), Value::Bool(false));
    assert_eq!(tell(&mut alarm, 50.0), [(1, word("normal")), (2, no.clone()), (3, yes.clone())]);
    assert_eq!(tell(&mut alarm, 60.0), []);
    assert_eq!(tell(&mut alarm, 85.0), [(1, word("hi")), (2, yes), (3, no)]);
    assert_eq!(tell(&mut alarm, 95.0), [(1, word("hihi"))]);
}

#[test]
fn a_state_is_an_alarm_by_its_value() {
    let mut fault = engine(Trigger::When(vec![Value::U16(3), Value::U16(4)]), 0, 0);
    let mut mode = engine(Trigger::NotNormal(vec![Value::U16(3)]), 0, 0);
    for (value, is_fault, is_off) in [(1, false, true), (3, true, false), (4, true, true)] {
        fault.take(Ok(&Value::U16(value)), at(0));
        mode.take(Ok(&Value::U16(value)), at(0));
        assert_eq!((fault.level().is_active(), mode.level().is_active()), (is_fault, is_off), "{value}");
    }
}

#[test]
fn after_a_restart_it_stands_as_it_was_until_a_value_says_otherwise() {
    let mut alarm = four(0, 0);
    alarm.restore(Level::HiHi, true);
    alarm.take(Err(Bad::NotConnected), at(0));
    assert_eq!(alarm.kept(), Some((Level::HiHi, true)));
    assert_eq!(take(&mut alarm, 1, 89.0), Level::HiHi, "within the hysteresis");
    assert_eq!(take(&mut alarm, 2, 85.0), Level::Hi);
    assert_eq!(alarm.kept(), Some((Level::Hi, true)), "it was acknowledged before the restart");
    let mut only_high = engine(Trigger::Limits(Limits { hi: Some(5.0), ..Limits::default() }), 0, 0);
    only_high.restore(Level::LoLo, false);
    assert_eq!(only_high.kept(), None, "a level that the file has no more");
}

#[test]
fn time_that_goes_back_makes_an_alarm_late_but_never_too_soon() {
    let mut alarm = four(5, 0);
    take(&mut alarm, 1000, 85.0);
    assert_eq!(take(&mut alarm, 10, 85.0), Level::Normal);
    assert_eq!(take(&mut alarm, 14, 85.0), Level::Normal);
    assert_eq!(take(&mut alarm, 15, 85.0), Level::Hi);
}

#[derive(Debug, Clone)]
enum Step {
    Value(f64),
    Bad,
    Wait,
    Acknowledge,
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let step = prop_oneof![
        6 => (0.0..100.0_f64).prop_map(Step::Value),
        2 => prop::sample::select(vec![10.0, 12.0, 20.0, 22.0, 78.0, 80.0, 88.0, 90.0]).prop_map(Step::Value),
        1 => Just(Step::Bad),
        1 => Just(Step::Wait),
        1 => Just(Step::Acknowledge),
    ];
    prop::collection::vec((-2..6_i64, step), 1..80)
}

proptest! {
    #[test]
    fn whatever_comes_an_outer_limit_implies_the_inner_one_and_no_bad_sample_moves_anything(
        steps in steps(), on in 0..4_u64, off in 0..4_u64
    ) {
        let mut alarm = four(on, off);
        let mut now = 1000;
        for (later, step) in steps {
            now += later;
            let (before, acked) = (alarm.level(), alarm.acked);
            match &step {
                Step::Value(value) => drop(take(&mut alarm, now, *value)),
                Step::Bad => drop(alarm.take(Err(Bad::NoAnswer), at(now))),
                Step::Wait => alarm.wait(at(now)),
                Step::Acknowledge => drop(alarm.acknowledge()),
            }
            let [lo, lolo, hi, hihi] = alarm.latches.map(|latch| latch.on);
            prop_assert!((!hihi || hi) && (!lolo || lo), "{:?}", alarm.latches);
            prop_assert!(!(hi && lo), "{:?}", alarm.latches);
            if matches!(step, Step::Bad | Step::Acknowledge) {
                prop_assert_eq!(alarm.level(), before);
            }
            prop_assert_eq!(
                alarm.acked,
                matches!(step, Step::Acknowledge) || (acked && !alarm.level().is_worse_than(before))
            );
        }
    }

    #[test]
    fn within_the_hysteresis_nothing_ever_flaps(values in prop::collection::vec(78.001..89.999_f64, 1..60)) {
        let mut alarm = four(0, 0);
        take(&mut alarm, 0, 85.0);
        for value in values {
            prop_assert_eq!(take(&mut alarm, 1, value), Level::Hi);
        }
    }

    #[test]
    fn no_alarm_comes_before_its_delay_and_none_that_held_so_long_stays_out(
        polls in prop::collection::vec((1..4_i64, prop::bool::ANY), 1..60), delay in 1..10_u64
    ) {
        let mut alarm = engine(Trigger::When(vec![Value::Bool(true)]), delay, 0);
        let (mut now, mut since) = (0, None);
        for (later, on) in polls {
            now += later;
            alarm.take(Ok(&Value::Bool(on)), at(now));
            since = if on { since.or(Some(now)) } else { None };
            let held = since.is_some_and(|since| now - since >= delay as i64);
            prop_assert_eq!(alarm.level().is_active(), held);
        }
    }
}
