//! Whether a device is polled or left alone for a while: pure, one per device.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{DeviceState, Fault};

/// Growing pause between tries, with jitter, so that many gateways do not knock in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    pause: Duration,
    longest: Duration,
    dice: u64,
}

impl Backoff {
    /// The first pause.
    const SHORTEST: Duration = Duration::from_millis(500);

    pub(crate) fn new(longest: Duration, seed: u64) -> Backoff {
        Backoff { pause: Self::SHORTEST, longest, dice: seed | 1 }
    }

    /// The pause before the next try: doubling, ±20 %; the longest one is up to 5 % shorter.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_within(self.longest)
    }

    /// The same, and it is never longer than `most`.
    pub(crate) fn next_within(&mut self, most: Duration) -> Duration {
        // xorshift64: spreads tries over time, nothing depends on its quality.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let dice = (self.dice % 1000) as f64 / 1000.0;
        let most = most.clamp(Self::SHORTEST, self.longest);
        let pause = match self.pause {
            pause if pause < most => pause.mul_f64(0.8 + 0.4 * dice).min(most),
            _ => most.mul_f64(0.95 + 0.05 * dice),
        };
        self.pause = (self.pause * 2).min(most);
        pause
    }

    /// The longest pause there is.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    pub(crate) fn reset(&mut self) {
        self.pause = Self::SHORTEST;
    }
}

/// What an answer or a fault means for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing new.
    Same,
    /// The same request once more, now: one lost frame is no death.
    Retry,
    /// It answers, and did not before.
    Born,
    /// It does not answer any more (or never did).
    Died,
}

/// A circuit breaker: a device that does not answer is left alone for a growing pause, so that it does
/// not take the time of its neighbours, and is back as soon as one try succeeds.
#[derive(Debug)]
pub(crate) struct Health {
    state: DeviceState,
    missed: u32,
    /// The try under way, or the last one, is a hasty one.
    hasty: bool,
    /// What the last hasty try took.
    cheap: Option<Duration>,
    /// From then on a try has the whole time-out again: the device may have become slower than it was.
    patient_from: Instant,
    backoff: Backoff,
    /// When it is tried where it is not alive.
    next_try: Instant,
    /// It was tried in vain, and its link did not come back since.
    left_alone: bool,
    /// Alive, and polled from then on: it asked for time.
    polled_from: Instant,
    busy: Backoff,
}

impl Health {
    /// Requests in a row without an answer before the device counts as dead.
    pub(crate) const MISSES: u32 = 2;
    /// The longest pause between two tries of a dead device.
    pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30);
    /// A hasty try is made at least this often, so that the device is back within three seconds: the pause,
    /// the wait for a turn, the try itself and the reads after it are in those.
    const CHEAP_PAUSE: Duration = Duration::from_millis(2850);
    /// Where tries are dear, the pause grows until one takes this share of it.
    const SHARE: u32 = 50;
    /// Patient tries take this share of the time at most.
    const PATIENT_SHARE: u32 = 500;
    /// And are no further apart than this.
    const LONGEST_PATIENT: Duration = Duration::from_secs(600);
    /// The longest pause for a device that says that it is busy.
    pub(crate) const LONGEST_BUSY: Duration = Duration::from_secs(10);

    pub(crate) fn new(seed: u64, now: Instant) -> Health {
        Health {
            state: DeviceState::Unknown,
            missed: 0,
            hasty: false,
            cheap: None,
            patient_from: now,
            backoff: Backoff::new(Self::LONGEST_PAUSE, seed),
            next_try: now,
            left_alone: false,
            polled_from: now,
            busy: Backoff::new(Self::LONGEST_BUSY, seed),
        }
    }

    pub(crate) fn state(&self) -> DeviceState {
        self.state
    }

    /// From when on it is polled by its schedule; `None` where it is not alive.
    pub(crate) fn polled_from(&self) -> Option<Instant> {
        self.is_alive().then_some(self.polled_from)
    }

    /// Whether it answered or failed to, ever.
    pub(crate) fn is_known(&self) -> bool {
        self.state != DeviceState::Unknown
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state == DeviceState::Alive
    }

    /// Whether it is known to be dead and its link did not come back since.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.left_alone
    }

    /// When a device that is not alive is tried next; `None` when it is alive.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        (!self.is_alive()).then_some(self.next_try)
    }

    /// The device gave what it was asked for.
    pub(crate) fn answered(&mut self) -> Verdict {
        self.busy.reset();
        self.is_there()
    }

    /// The device said something, be it a refusal.
    fn is_there(&mut self) -> Verdict {
        self.missed = 0;
        self.hasty = false;
        self.cheap = None;
        if self.is_alive() {
            return Verdict::Same;
        }
        self.state = DeviceState::Alive;
        self.left_alone = false;
        self.backoff.reset();
        Verdict::Born
    }

    /// A device that is not alive is tried now: whether in haste, or with the whole time-out.
    pub(crate) fn starts_try(&mut self, now: Instant) -> bool {
        self.hasty = self.state == DeviceState::Dead && now < self.patient_from;
        self.hasty
    }

    /// A transaction that took so long ended in this fault.
    pub(crate) fn failed(&mut self, fault: Fault, took: Duration, now: Instant) -> Verdict {
        match fault {
            Fault::Refused(_) | Fault::Altered | Fault::Unsupported => return self.is_there(),
            Fault::Busy => {
                self.polled_from = now + self.busy.next();
                return self.is_there();
            }
            // The link is gone: no use to try again before it is back.
            Fault::NotConnected => self.missed = Self::MISSES,
            Fault::Timeout | Fault::Garbled => self.missed += 1,
        }
        let was = self.state;
        if was == DeviceState::Alive && self.missed < Self::MISSES {
            return Verdict::Retry;
        }
        self.state = DeviceState::Dead;
        // A patient try now and then costs more, and is no reason to leave the device alone for longer.
        if self.hasty {
            self.cheap = Some(took);
        } else {
            self.patient_from = now + (took * Self::PATIENT_SHARE).min(Self::LONGEST_PATIENT);
        }
        self.left_alone = true;
        let most = match self.cheap {
            Some(took) => (took * Self::SHARE).max(Self::CHEAP_PAUSE),
            None => took * Self::SHARE,
        };
        self.next_try = now + self.backoff.next_within(most);
        if was == DeviceState::Dead { Verdict::Same } else { Verdict::Died }
    }

    /// The link is open again: try at once.
    pub(crate) fn try_now(&mut self, now: Instant) {
        self.next_try = now;
        self.left_alone = false;
        self.backoff.reset();
    }
}

/// What dead devices may take of their link together: one part in twenty of its time, in the mean.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Up to here the link's time is paid for with what was spent.
    paid: Instant,
}

impl Budget {
    /// One part in so many of the link's time.
    pub(crate) const SHARE: u32 = 20;
    /// Time that was not made use of and still counts: a dear try among cheap ones costs no wait.
    const SAVED: Duration = Duration::from_secs(10);

    pub(crate) fn new(now: Instant) -> Budget {
        Budget { paid: now }
    }

    /// When the next dead device may be tried.
    pub(crate) fn free_at(&self) -> Instant {
        self.paid
    }

    /// A try of a dead device took so long and brought nothing.
    pub(crate) fn spend(&mut self, took: Duration, now: Instant) {
        let oldest = now.checked_sub(Self::SAVED).unwrap_or(now);
        self.paid = self.paid.max(oldest) + took * Self::SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a try takes that waits for its whole time-out.
    const LONG: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_lost_frame_is_no_death_and_two_are() {
        let now = Instant::now();
        let mut health = Health::new(1, Instant::now());
        assert_eq!(health.answered(), Verdict::Born);
        assert_eq!(health.failed(Fault::Timeout, LONG, now), Verdict::Retry);
        assert_eq!(health.answered(), Verdict::Same);
        assert_eq!(health.failed(Fault::Timeout, LONG, now), Verdict::Retry);
        assert_eq!(health.failed(Fault::Garbled, LONG, now), Verdict::Died);
        assert_eq!(health.failed(Fault::Timeout, LONG, now), Verdict::Same);
        assert_eq!(health.answered(), Verdict::Born);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_a_sign_of_life() {
        let mut health = Health::new(1, Instant::now());
        assert_eq!(health.failed(Fault::Refused(2), LONG, Instant::now()), Verdict::Born);
        assert!(health.is_alive());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_device_is_tried_ever_more_rarely_but_for_ever() {
        let now = Instant::now();
        let mut health = Health::new(7, Instant::now());
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            health.failed(Fault::Timeout, LONG, now);
            last = health.next_try().unwrap() - now;
            assert!(last >= Duration::from_millis(400) && last <= Health::LONGEST_PAUSE.mul_f64(1.2));
        }
        assert!(last >= Health::LONGEST_PAUSE.mul_f64(0.8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cheap_try_is_made_more_often_than_a_dear_one() {
        let now = Instant::now();
        let pause_after = |took: Duration| {
            let mut health = Health::new(3, Instant::now());
            health.failed(Fault::Timeout, LONG, now);
            for _ in 0..20 {
                assert!(health.starts_try(now));
                health.failed(Fault::Timeout, took, now);
            }
            health.next_try().unwrap() - now
        };
        let (cheap, dear) = (pause_after(Duration::from_millis(20)), pause_after(LONG));
        assert!(cheap <= Health::CHEAP_PAUSE, "{cheap:?}");
        assert!(dear >= Duration::from_secs(24), "{dear:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn most_tries_of_a_dead_device_are_hasty_and_some_are_not() {
        let start = Instant::now();
        let mut health = Health::new(3, start);
        health.failed(Fault::Timeout, LONG / 2, start);
        let (mut hasty, mut patient, mut now) = (0, 0, start);
        while now < start + Duration::from_secs(3600) {
            now = now.max(health.next_try().unwrap());
            let quick = health.starts_try(now);
            let took = if quick { LONG / 50 } else { LONG / 2 };
            (hasty, patient) = (hasty + u32::from(quick), patient + u32::from(!quick));
            health.failed(Fault::Timeout, took, now + took);
        }
        assert!((1200..1400).contains(&hasty) && (13..16).contains(&patient), "{hasty}, {patient}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_device_is_alive_and_asked_again_after_a_growing_pause() {
        let now = Instant::now();
        let mut health = Health::new(3, now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            health.failed(Fault::Busy, LONG, now);
            pauses.push(health.polled_from().unwrap() - now);
        }
        assert!(pauses[0] >= Duration::from_millis(400) && pauses[7] >= Duration::from_secs(8), "{pauses:?}");
        health.answered();
        health.failed(Fault::Busy, LONG, now);
        assert!(health.polled_from().unwrap() - now <= Duration::from_millis(600));
    }

    #[tokio::test(start_paused = true)]
    async fn dead_devices_take_a_twentieth_of_their_link_and_a_dear_try_among_cheap_ones_no_wait() {
        let start = Instant::now();
        let (mut budget, mut now, mut spent) = (Budget::new(start), start, Duration::ZERO);
        while now < start + Duration::from_secs(600) {
            now = now.max(budget.free_at());
            let took = Duration::from_millis(250);
            budget.spend(took, now);
            (spent, now) = (spent + took, now + took);
        }
        assert!(spent <= Duration::from_secs(31), "{spent:?}");

        let mut budget = Budget::new(start);
        for at in 1..60_u64 {
            let now = start + Duration::from_secs(2 * at);
            assert!(budget.free_at() <= now, "at {at}");
            budget.spend(Duration::from_millis(if at % 16 == 0 { 250 } else { 40 }), now);
        }
    }
}
