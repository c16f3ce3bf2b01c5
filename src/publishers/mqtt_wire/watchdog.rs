//! The watchdog: how old the oldest thing is that the broker owes an answer to. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// What the broker is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publishers) enum Asked {
    /// SUBSCRIBE by SUBACK: the subscriptions, then the fence.
    Subscribe,
    /// PINGREQ by PINGRESP.
    Ping,
}

impl Asked {
    /// The packet's name, for people.
    pub(in crate::publishers) fn packet(self) -> &'static str {
        match self {
            Asked::Subscribe => "SUBSCRIBE",
            Asked::Ping => "PINGREQ",
        }
    }
}

/// What is owed since when; of each kind one is under way at a time. A client library alone waits for ever, or, for
/// a ping, until the next one is due.
#[derive(Debug)]
pub(in crate::publishers) struct Watchdog {
    patience: Duration,
    ping_patience: Duration,
    subscribe: Option<Instant>,
    ping: Option<Instant>,
}

impl Watchdog {
    /// `patience`: how old anything may get that the broker owes an answer to. After one silent keep-alive comes a
    /// ping, so half of one is left for its answer: then a dead connection is noticed within one and a half.
    pub(in crate::publishers) fn new(patience: Duration, keep_alive: Duration) -> Watchdog {
        let ping_patience = patience.min(keep_alive / 2);
        Watchdog { patience, ping_patience, subscribe: None, ping: None }
    }

    /// It was sent now.
    pub(in crate::publishers) fn asked(&mut self, what: Asked, now: Instant) {
        self.slot(what).get_or_insert(now);
    }

    /// Its answer came.
    pub(in crate::publishers) fn answered(&mut self, what: Asked) {
        *self.slot(what) = None;
    }

    /// When the next answer is overdue, and which.
    pub(in crate::publishers) fn next(&self) -> Option<(Instant, Asked)> {
        let subscribe = self.subscribe.map(|at| (at + self.patience, Asked::Subscribe));
        let ping = self.ping.map(|at| (at + self.ping_patience, Asked::Ping));
        subscribe.into_iter().chain(ping).min_by_key(|(at, _)| *at)
    }

    /// What was to be answered by now, and how long the broker had for it.
    pub(in crate::publishers) fn overdue(&self, now: Instant) -> Option<(Asked, Duration)> {
        let (_, what) = self.next().filter(|(at, _)| *at <= now)?;
        let had = match what {
            Asked::Subscribe => self.patience,
            Asked::Ping => self.ping_patience,
        };
        Some((what, had))
    }

    fn slot(&mut self, what: Asked) -> &mut Option<Instant> {
        match what {
            Asked::Subscribe => &mut self.subscribe,
            Asked::Ping => &mut self.ping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_oldest_unanswered_thing_must_not_be_older_than_the_patience() {
        let (mut dog, start) = (Watchdog::new(SECOND * 10, SECOND * 60), Instant::now());
        assert_eq!((dog.next(), dog.overdue(start + SECOND * 3600)), (None, None));
        dog.asked(Asked::Subscribe, start);
        // Asked again before the answer: the age is that of the first.
        dog.asked(Asked::Subscribe, start + SECOND * 9);
        assert_eq!(dog.overdue(start + SECOND * 10 - Duration::from_millis(1)), None);
        assert_eq!(dog.overdue(start + SECOND * 10), Some((Asked::Subscribe, SECOND * 10)));
        dog.asked(Asked::Ping, start - SECOND);
        assert_eq!(dog.next(), Some((start + SECOND * 9, Asked::Ping)), "the oldest of all");
        dog.answered(Asked::Ping);
        dog.answered(Asked::Subscribe);
        assert_eq!(dog.overdue(start + SECOND * 3600), None);
    }

    #[test]
    fn a_ping_is_answered_within_half_a_keep_alive_so_that_silence_is_noticed_within_one_and_a_half() {
        let (mut dog, start) = (Watchdog::new(SECOND * 30, SECOND * 30), Instant::now());
        dog.asked(Asked::Ping, start + SECOND * 30);
        assert_eq!(dog.overdue(start + SECOND * 45), Some((Asked::Ping, SECOND * 15)));
        let mut dog = Watchdog::new(SECOND * 5, SECOND * 30);
        dog.asked(Asked::Ping, start);
        assert_eq!(dog.overdue(start + SECOND * 5), Some((Asked::Ping, SECOND * 5)));
    }
}
