//! Whether another client with our id takes our place again and again. Pure.

use std::time::Duration;

/// MQTT 3.1.1 gives no reason when a broker closes a connection, so it is told by the pattern: the broker takes us
/// and closes soon after, time and again.
#[derive(Debug, Default)]
pub(in crate::publishers) struct Takeover {
    in_a_row: u32,
}

impl Takeover {
    /// So often in a row is no accident.
    const OFTEN: u32 = 3;
    /// Longer than the longest pause of a twin that waits as we do.
    const SOON: Duration = Duration::from_secs(60);

    /// A connection ended, or could not be made: `closed` by the broker, and after how long.
    pub(in crate::publishers) fn ended(&mut self, closed: bool, lasted: Duration) {
        self.in_a_row = if closed && lasted < Self::SOON { self.in_a_row.saturating_add(1) } else { 0 };
    }

    /// Whether it looks like a take-over.
    pub(in crate::publishers) fn is_likely(&self) -> bool {
        self.in_a_row >= Self::OFTEN
    }

    /// What to say then.
    pub(in crate::publishers) const WHY: &str = "it did so several times soon after connecting: another client with the same \
                                  client id takes its place, or the broker forbids a topic; give each gateway its \
                                  own `client-id`";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_times_in_a_row_is_a_take_over_and_a_broker_that_is_away_in_between_is_none() {
        let mut takeover = Takeover::default();
        let soon = Duration::from_secs(20);
        (0..2).for_each(|_| takeover.ended(true, soon));
        assert!(!takeover.is_likely());
        takeover.ended(true, soon);
        assert!(takeover.is_likely());
        // Nobody listens: the broker was restarted.
        takeover.ended(false, Duration::ZERO);
        assert!(!takeover.is_likely());
        (0..2).for_each(|_| takeover.ended(true, soon));
        takeover.ended(true, Duration::from_secs(3600));
        assert!(!takeover.is_likely());
    }
}
