//! Which broker comes next, and how long to wait before: pure but for the jitter.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::backoff::Backoff;

/// A number from 0 to 1. The standard library's hash keys are the only random number that needs no crate.
fn chance() -> f64 {
    (RandomState::new().build_hasher().finish() % 1001) as f64 / 1000.0
}

/// Up to `longest`, at random.
pub(in crate::publishers) fn up_to(longest: Duration) -> Duration {
    longest.mul_f64(chance())
}

/// How long a node that is not born stays with a broker where its primary host is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publishers) enum Stay {
    /// Until it is told that the host is away: another broker was not asked yet in this round.
    Glance,
    /// So long: all were asked, and the pause until the next round is spent where news may come.
    For(Duration),
    /// There is no other broker.
    ForEver,
}

/// The way from broker to broker. A round asks each once, one right after the other; the pauses between rounds
/// grow. So a dead broker delays no other, and no state of brokers and hosts makes a storm of connections.
#[derive(Debug)]
pub(in crate::publishers) struct Walk {
    brokers: usize,
    at: usize,
    /// Steps since a connection lasted.
    steps: usize,
    /// The pause of this round was spent connected.
    rested: bool,
    backoff: Backoff,
}

impl Walk {
    /// Longest wait before the next broker of a round: all gateways of a fleet lose a broker at the same time.
    const STEP: Duration = Duration::from_millis(500);

    pub(in crate::publishers) fn new(brokers: usize) -> Walk {
        Walk { brokers: brokers.max(1), at: 0, steps: 0, rested: false, backoff: Backoff::new() }
    }

    /// The broker whose turn it is.
    pub(in crate::publishers) fn at(&self) -> usize {
        self.at
    }

    /// A connection lasted: the next pause is short again, and a new round begins.
    pub(in crate::publishers) fn lasted(&mut self) {
        self.backoff.reset();
        self.steps = 0;
    }

    /// On to the next broker, after this pause.
    pub(in crate::publishers) fn on(&mut self) -> Duration {
        self.at = (self.at + 1) % self.brokers;
        self.steps += 1;
        let rested = std::mem::take(&mut self.rested);
        if self.steps.is_multiple_of(self.brokers) && !rested {
            self.backoff.pause()
        } else {
            up_to(Self::STEP)
        }
    }

    /// How long to wait here for the primary host.
    pub(in crate::publishers) fn stay(&mut self) -> Stay {
        if self.brokers == 1 {
            Stay::ForEver
        } else if (self.steps + 1).is_multiple_of(self.brokers) {
            self.rested = true;
            Stay::For(self.backoff.pause())
        } else {
            Stay::Glance
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(625);

    #[test]
    fn the_pause_grows_to_thirty_seconds_and_is_short_again_after_a_connection_that_lasted() {
        let mut walk = Walk::new(1);
        assert!(walk.on() <= SHORT);
        for _ in 0..20 {
            assert!(walk.on() <= LONGEST);
        }
        assert!(walk.on() >= Duration::from_secs(22));
        walk.lasted();
        assert!(walk.on() <= SHORT);
    }

    #[test]
    fn a_round_asks_each_broker_without_a_pause_and_the_pause_comes_after_it() {
        let mut walk = Walk::new(3);
        let mut rounds = Vec::new();
        for _ in 0..12 {
            assert_eq!(walk.at(), 0);
            assert!(walk.on() <= Walk::STEP && walk.on() <= Walk::STEP);
            assert_eq!(walk.at(), 2);
            rounds.push(walk.on());
        }
        assert!(rounds[0] <= SHORT && rounds[11] >= Duration::from_secs(22), "{rounds:?}");
        // What lasted began a round: the next broker is asked at once.
        assert!(walk.on() <= Walk::STEP);
        walk.lasted();
        assert!(walk.on() <= Walk::STEP && walk.on() <= Walk::STEP && walk.on() >= SHORT / 2);
    }

    #[test]
    fn where_the_host_is_away_everywhere_the_pause_is_spent_with_the_last_broker() {
        let mut walk = Walk::new(2);
        for round in 0..12 {
            assert_eq!((walk.at(), walk.stay()), (0, Stay::Glance));
            assert!(walk.on() <= Walk::STEP);
            let Stay::For(pause) = walk.stay() else { panic!("round {round}") };
            assert!(pause <= LONGEST && (round < 10 || pause >= Duration::from_secs(22)));
            assert!(walk.on() <= Walk::STEP, "it was spent already");
        }
        assert_eq!(Walk::new(1).stay(), Stay::ForEver);
    }

    #[test]
    fn a_random_wait_stays_within_its_bound() {
        assert!((0..100).all(|_| up_to(Duration::from_secs(1)) <= Duration::from_secs(1)));
        assert_eq!(up_to(Duration::ZERO), Duration::ZERO);
    }
}
