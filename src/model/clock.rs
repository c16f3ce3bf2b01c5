//! A clock that gives time stamps from a monotonic clock tied to UTC, and puts right those from before UTC was known.
//!
//! A small computer without a battery starts in 1970 or at the time of its last shutdown, and is right only
//! when a time server has answered. Until then stamps are *provisional*: their distance from each other is
//! right, their place is not. The first synchronisation gives the place, once, for all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{Batch, Quality, Sample, Stamp, Timestamp, Uncertain};

/// Gives time stamps that never go back once it is synchronised.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Mutex<State>>);

/// One start of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's number of it; zero where there is none.
    pub id: [u8; 16],
    /// Time since it, sleep included.
    pub uptime: Duration,
}

/// What ties provisional stamps to the time since the computer started: enough to put them right in a later run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Era {
    /// See [`Boot::id`].
    pub boot: [u8; 16],
    /// The provisional time of the boot, in microseconds since 1970.
    pub origin: i64,
}

/// What a look at the wall clock showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Nothing new.
    Steady,
    /// The first synchronisation: stamps from before it move by so many microseconds.
    Synchronised(i64),
    /// The wall clock was stepped by so many microseconds.
    Stepped(i64),
}

#[derive(Debug)]
struct State {
    instant: Instant,
    utc: i64,
    /// How far the stamps were ahead of the wall clock at `instant`, in microseconds.
    lead: i64,
    boot: [u8; 16],
    /// The time of the boot by each of the times before the first synchronisation, and at last by it.
    origins: Vec<i64>,
    /// The first synchronisation was seen.
    was: bool,
    /// It is synchronised now.
    is: bool,
}

impl Clock {
    /// How far monotonic and wall clock may drift apart before it counts as a step.
    pub const STEP: Duration = Duration::from_millis(500);

    /// Ties the monotonic clock to the wall clock now; provisional until [`Clock::follow`] is told otherwise.
    pub fn system() -> Clock {
        Clock::unsynchronised(wall(), boot())
    }

    /// A synchronised clock that starts at a given time; for tests and replays.
    pub fn starting_at(at: Timestamp) -> Clock {
        let clock = Clock::unsynchronised(at, Boot { id: [0; 16], uptime: Duration::ZERO });
        {
            let mut state = clock.state();
            (state.was, state.is) = (true, true);
        }
        clock
    }

    /// A clock that starts at a time that nobody vouches for.
    pub fn unsynchronised(at: Timestamp, boot: Boot) -> Clock {
        Clock(Arc::new(Mutex::new(State {
            instant: Instant::now(),
            utc: at.0,
            lead: 0,
            boot: boot.id,
            origins: vec![at.0.saturating_sub(micros(boot.uptime))],
            was: false,
            is: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This moment.
    pub fn now(&self) -> Timestamp {
        self.state().now().0
    }

    /// The time stamp of this moment, with what is known of the clock.
    pub fn stamp(&self) -> (Timestamp, Stamp) {
        let state = self.state();
        let (now, lead) = state.now();
        let stamp = match (state.was, state.is) {
            (false, _) => Stamp::Provisional(u8::try_from(state.origins.len() - 1).unwrap_or(u8::MAX)),
            // Held back after a step: known to be wrong.
            (true, _) if lead >= micros(Self::STEP) => Stamp::Unknown,
            (true, true) => Stamp::Synchronised,
            (true, false) => Stamp::Lapsed,
        };
        (now, stamp)
    }

    /// Whether it is synchronised now.
    pub fn is_synchronised(&self) -> bool {
        let state = self.state();
        state.was && state.is && state.now().1 < micros(Self::STEP)
    }

    /// How often stamps given before had to move: once at the first synchronisation, and at each step before it.
    pub fn turns(&self) -> usize {
        self.state().origins.len() - 1
    }

    /// Compares with the wall clock; `synchronised` is what the operating system says of it. Called every
    /// second by the supervisor.
    pub fn follow(&self, synchronised: bool) -> Followed {
        self.tell(wall(), synchronised)
    }

    /// As [`Clock::follow`], with the wall clock told.
    pub fn tell(&self, wall: Timestamp, synchronised: bool) -> Followed {
        // A clock in 1970 is not synchronised, whoever says so.
        let synchronised = synchronised && wall >= Timestamp::PLAUSIBLE;
        let mut state = self.state();
        let (now, lead) = state.now();
        let step = wall.0.saturating_sub(now.0);
        let first = synchronised && !state.was;
        state.is = synchronised;
        if first {
            state.was = true;
            state.turn(step);
            // A little back is made up for by going slower, so that no stamp goes back without need.
            let slow = step <= 0 && step > -micros(Self::STEP);
            state.tie(if slow { now.0 } else { wall.0 }, if slow { -step } else { 0 });
            return Followed::Synchronised(step);
        }
        let unseen = step.saturating_add(lead);
        if unseen.unsigned_abs() < Self::STEP.as_micros() as u64 {
            return Followed::Steady;
        }
        if !state.was {
            state.turn(step);
            state.tie(wall.0, 0);
        } else if step >= 0 {
            state.tie(wall.0, 0);
        } else {
            state.tie(now.0, -step);
        }
        Followed::Stepped(unseen)
    }

    /// The batch as it may leave: provisional stamps in the best time known, and nothing whose time is not
    /// known passes for good. None where it may leave as it is. Also how many stamps were put right for good.
    pub fn put_right(&self, batch: &Batch) -> Option<(Batch, u64)> {
        let leave = |s: &Sample| s.stamp == Stamp::Synchronised && s.at >= Timestamp::PLAUSIBLE;
        if batch.samples.iter().all(leave) {
            return None;
        }
        let state = self.state();
        if !batch.samples.iter().any(|s| state.changes(s)) {
            return None;
        }
        let mut batch = batch.clone();
        let restamped = batch.samples.iter_mut().map(|s| u64::from(state.put_right(s))).sum();
        Some((batch, restamped))
    }

    /// As [`Clock::put_right`] for one sample.
    pub fn put_right_one(&self, mut sample: Sample) -> Sample {
        if sample.stamp != Stamp::Synchronised || sample.at < Timestamp::PLAUSIBLE {
            self.state().put_right(&mut sample);
        }
        sample
    }

    /// A stamp in the best time known.
    pub fn best(&self, at: Timestamp, stamp: Stamp) -> Timestamp {
        match stamp {
            Stamp::Provisional(turn) => self.state().moved(at, turn),
            _ => at,
        }
    }

    /// The era of the stamps that [`Clock::in_era`] gives.
    pub fn era(&self) -> Era {
        let state = self.state();
        Era { boot: state.boot, origin: state.origins.first().copied().unwrap_or(0) }
    }

    /// A provisional stamp in the time of [`Clock::era`], whatever it was since.
    pub fn in_era(&self, at: Timestamp, turn: u8) -> Timestamp {
        let state = self.state();
        let first = state.origins.first().copied().unwrap_or(0);
        Timestamp(at.0.saturating_sub(state.origin(turn)).saturating_add(first))
    }

    /// The inverse of [`Clock::in_era`], also for an earlier run's stamps: provisional for this clock where
    /// it is the same boot, unknown for ever where it is not.
    pub fn of_era(&self, at: Timestamp, era: &Era) -> (Timestamp, Stamp) {
        let state = self.state();
        if state.boot != era.boot || state.boot == [0; 16] && state.origin(0) != era.origin {
            return (at, Stamp::Unknown);
        }
        (Timestamp(at.0.saturating_sub(era.origin).saturating_add(state.origin(0))), Stamp::Provisional(0))
    }
}

impl State {
    /// This moment, and how far it is still ahead of the wall clock.
    fn now(&self) -> (Timestamp, i64) {
        let elapsed = micros(self.instant.elapsed());
        // What is ahead goes at half the pace until the wall clock is there: a stamp never goes back, and
        // no two polls get the same.
        let lead = self.lead.saturating_sub(elapsed / 2).max(0);
        let paid = self.lead - lead;
        (Timestamp(self.utc.saturating_add(elapsed - paid)), lead)
    }

    fn tie(&mut self, utc: i64, lead: i64) {
        (self.instant, self.utc, self.lead) = (Instant::now(), utc, lead);
    }

    /// From here on the time of the boot is another one.
    fn turn(&mut self, step: i64) {
        let next = self.origins.last().copied().unwrap_or(0).saturating_add(step);
        // More than anybody sets a clock by hand in one run; the last but one then stands for all.
        if self.origins.len() > usize::from(u8::MAX) {
            self.origins.pop();
        }
        self.origins.push(next);
    }

    fn origin(&self, turn: u8) -> i64 {
        self.origins.get(usize::from(turn)).or(self.origins.last()).copied().unwrap_or(0)
    }

    fn current(&self) -> u8 {
        u8::try_from(self.origins.len() - 1).unwrap_or(u8::MAX)
    }

    fn changes(&self, sample: &Sample) -> bool {
        let moves = match sample.stamp {
            Stamp::Provisional(turn) => self.was || turn != self.current(),
            _ => false,
        };
        moves || sample.stamp == Stamp::Unknown || sample.at < Timestamp::PLAUSIBLE
    }

    fn moved(&self, at: Timestamp, turn: u8) -> Timestamp {
        let current = self.origins.last().copied().unwrap_or(0);
        Timestamp(at.0.saturating_sub(self.origin(turn)).saturating_add(current))
    }

    /// True when the stamp is right from now on.
    fn put_right(&self, sample: &mut Sample) -> bool {
        let mut restamped = false;
        if let Stamp::Provisional(turn) = sample.stamp {
            sample.at = self.moved(sample.at, turn);
            sample.stamp = Stamp::Provisional(self.current());
            if self.was {
                sample.stamp = Stamp::Synchronised;
                restamped = true;
            }
        }
        if sample.at < Timestamp::PLAUSIBLE && sample.stamp == Stamp::Synchronised {
            sample.stamp = Stamp::Unknown;
        }
        let unknown = sample.stamp == Stamp::Unknown || sample.at < Timestamp::PLAUSIBLE;
        if unknown && sample.quality == Quality::Good {
            sample.quality = Quality::Uncertain(Uncertain::TimeUnknown);
        }
        restamped
    }
}

fn wall() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp(micros(since)),
        Err(before) => Timestamp(-micros(before.duration())),
    }
}

/// The kernel's own account of this boot.
fn boot() -> Boot {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&hex, 16).unwrap_or(0).to_be_bytes();
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = Duration::from_secs(u64::try_from(since.tv_sec).unwrap_or(0));
    Boot { id, uptime: seconds + Duration::from_nanos(u64::try_from(since.tv_nsec).unwrap_or(0)) }
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeviceId, DeviceState, TagId, Value};
    use proptest::prelude::*;

    const UTC: i64 = 1_800_000_000_000_000;
    const BOOT: Boot = Boot { id: [7; 16], uptime: Duration::from_secs(20) };

    fn sample(clock: &Clock) -> Sample {
        let (at, stamp) = clock.stamp();
        Sample { stamp, ..Sample::good(TagId(0), Value::U8(1), at) }
    }

    fn left(clock: &Clock, sample: &Sample) -> Sample {
        clock.put_right_one(sample.clone())
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn samples_from_before_the_first_synchronisation_are_put_right_once_it_comes() {
        let clock = Clock::unsynchronised(Timestamp(5_000_000), BOOT);
        let early = sample(&clock);
        assert_eq!(early.at, Timestamp(5_000_000));
        let marked = left(&clock, &early);
        assert_eq!(marked.quality, Quality::Uncertain(Uncertain::TimeUnknown), "1970 never leaves unmarked");
        pass(60).await;
        let late = sample(&clock);
        assert_eq!(clock.tell(Timestamp(65_000_000), false), Followed::Steady);
        assert_eq!(clock.tell(Timestamp(UTC), true), Followed::Synchronised(UTC - 65_000_000));
        for (sample, at) in [(&early, UTC - 60_000_000), (&late, UTC), (&super::tests::sample(&clock), UTC)] {
            let left = left(&clock, sample);
            assert_eq!((left.at.0, left.stamp, left.quality), (at, Stamp::Synchronised, Quality::Good));
        }
        assert_eq!(clock.turns(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_set_by_hand_before_the_synchronisation_loses_no_sample_its_place() {
        let clock = Clock::unsynchronised(Timestamp(0), BOOT);
        let mut samples = vec![sample(&clock)];
        for wall in [UTC + 9_000_000_000, UTC - 5_000_000_000, 77] {
            pass(10).await;
            assert!(matches!(clock.tell(Timestamp(wall), false), Followed::Stepped(_)));
            samples.push(sample(&clock));
        }
        pass(10).await;
        clock.tell(Timestamp(UTC), true);
        samples.push(sample(&clock));
        let seconds: Vec<_> = samples.iter().map(|s| (left(&clock, s).at.0 - UTC) / 1_000_000).collect();
        assert_eq!(seconds, [-40, -30, -20, -10, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_synchronisation_a_step_back_holds_and_is_marked_until_the_time_is_there() {
        let clock = Clock::starting_at(Timestamp(UTC));
        pass(10).await;
        // The wall clock is set back by a minute.
        let wall = |passed: i64| Timestamp(UTC - 50_000_000 + passed * 1_000_000);
        assert_eq!(clock.tell(wall(0), true), Followed::Stepped(-60_000_000));
        let mut last = sample(&clock);
        assert_eq!(last.stamp, Stamp::Unknown);
        assert_eq!(left(&clock, &last).quality, Quality::Uncertain(Uncertain::TimeUnknown));
        for passed in 1..=130 {
            pass(1).await;
            assert_eq!(clock.tell(wall(passed), true), Followed::Steady);
            let next = sample(&clock);
            assert!(next.at > last.at, "{passed}");
            last = next;
        }
        assert_eq!((last.at, last.stamp), (wall(130), Stamp::Synchronised));
        assert_eq!(clock.turns(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_forward_is_followed_and_a_lapsed_synchronisation_is_told() {
        let clock = Clock::starting_at(Timestamp(UTC));
        let before = sample(&clock);
        assert_eq!(clock.tell(Timestamp(UTC + 3_600_000_000), true), Followed::Stepped(3_600_000_000));
        assert_eq!(sample(&clock).at, Timestamp(UTC + 3_600_000_000));
        assert_eq!(left(&clock, &before), before, "what was right stays");
        assert_eq!(clock.tell(Timestamp(UTC + 3_600_000_000), false), Followed::Steady);
        let lapsed = sample(&clock);
        assert_eq!(lapsed.stamp, Stamp::Lapsed);
        assert_eq!(left(&clock, &lapsed), lapsed);
        assert!(!clock.is_synchronised());
    }

    #[tokio::test(start_paused = true)]
    async fn stamps_of_an_earlier_run_are_put_right_in_the_same_boot_only() {
        let first = Clock::unsynchronised(Timestamp(5_000_000), BOOT);
        pass(10).await;
        let sample = sample(&first);
        let (era, at) = (first.era(), first.in_era(sample.at, 0));
        // The program starts again 100 s later, the clock is right by then.
        let again = Boot { uptime: BOOT.uptime + Duration::from_secs(100), ..BOOT };
        let second = Clock::unsynchronised(Timestamp(UTC), again);
        second.tell(Timestamp(UTC), true);
        let (at_second, stamp) = second.of_era(at, &era);
        let read = left(&second, &Sample { at: at_second, stamp, ..sample.clone() });
        assert_eq!((read.at, read.stamp), (Timestamp(UTC - 90_000_000), Stamp::Synchronised));
        // The computer started again: nobody knows.
        let other = Clock::unsynchronised(Timestamp(UTC), Boot { id: [8; 16], ..again });
        other.tell(Timestamp(UTC), true);
        let (at_other, stamp) = other.of_era(at, &era);
        assert_eq!((at_other, stamp), (at, Stamp::Unknown));
        let read = left(&other, &Sample { at: at_other, stamp, ..sample });
        assert_eq!(read.quality, Quality::Uncertain(Uncertain::TimeUnknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_copied_only_where_something_in_it_changes() {
        let clock = Clock::unsynchronised(Timestamp(UTC), BOOT);
        let batch = |samples| Batch { device: DeviceId(0), state: DeviceState::Alive, samples };
        let one = batch(vec![sample(&clock)]);
        assert_eq!(clock.put_right(&one), None, "nothing better is known yet");
        clock.tell(Timestamp(UTC + 7_000_000), true);
        let (right, restamped) = clock.put_right(&one).unwrap();
        assert_eq!((right.samples[0].at, restamped), (Timestamp(UTC + 7_000_000), 1));
        assert_eq!(clock.put_right(&right), None);
        // A wrong time from a device of the field, or from a test.
        let old = batch(vec![Sample::good(TagId(0), Value::U8(1), Timestamp(0))]);
        let (marked, restamped) = clock.put_right(&old).unwrap();
        assert_eq!((marked.samples[0].stamp, restamped), (Stamp::Unknown, 0));
    }

    #[test]
    fn the_kernels_boot_has_a_number_and_an_age() {
        let boot = boot();
        assert_ne!(boot.id, [0; 16]);
        assert!(boot.uptime > Duration::ZERO);
    }

    proptest! {
        #[test]
        fn whatever_the_wall_clock_does_a_tag_keeps_its_order(
            start in prop_oneof![Just(0_i64), UTC - 86_400_000_000..UTC + 86_400_000_000],
            acts in prop::collection::vec((0..20_000_u64, -90_000_000_i64..90_000_000, any::<bool>(), 0..4_u8), 1..60),
            years: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let clock = Clock::unsynchronised(Timestamp(start), BOOT);
                let (mut wall, mut samples, mut first) = (start, Vec::new(), None);
                for (millis, step, synchronised, kind) in acts {
                    tokio::time::advance(Duration::from_millis(millis)).await;
                    wall += millis as i64 * 1000;
                    if kind == 0 { wall += step * if years { 1_000_000 } else { 1 }; }
                    if matches!(clock.tell(Timestamp(wall), synchronised), Followed::Synchronised(_)) {
                        first = Some(samples.len());
                    }
                    samples.push(sample(&clock));
                }
                let left: Vec<_> = samples.iter().map(|s| left(&clock, s)).collect();
                // All of them in the end, since before the first synchronisation nothing left for good.
                for (n, two) in left.windows(2).enumerate() {
                    prop_assert!(two[0].at <= two[1].at, "{n}: {two:?}");
                }
                for (n, sample) in left.iter().enumerate() {
                    let marked = !sample.stamp.is_synchronised();
                    prop_assert!(sample.at >= Timestamp::PLAUSIBLE || marked && !sample.quality.is_good());
                    prop_assert!(first.is_some() || marked, "{n}");
                }
                Ok(())
            })?;
        }
    }
}
