//! How long to wait before the next connection.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Doubles from half a second to thirty, give or take a quarter, so that a fleet does not come at once.
#[derive(Debug)]
pub(in crate::publishers) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);

    pub(in crate::publishers) fn new() -> Backoff {
        Backoff { next: Self::FIRST }
    }

    /// A connection lasted: the next pause is short again.
    pub(in crate::publishers) fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// The pause now.
    pub(in crate::publishers) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(Self::LONGEST);
        // The standard library's hash keys are the only random number that needs no crate.
        let random = RandomState::new().build_hasher().finish() % 1000;
        pause.mul_f64(0.75 + random as f64 / 2000.0).min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_thirty_seconds_and_is_short_again_after_a_reset() {
        let mut backoff = Backoff::new();
        assert!(backoff.pause() <= Duration::from_millis(625));
        for _ in 0..20 {
            assert!(backoff.pause() <= Backoff::LONGEST);
        }
        assert!(backoff.pause() >= Duration::from_secs(22));
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(625));
    }
}
