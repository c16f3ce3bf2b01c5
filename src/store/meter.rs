//! The budget of bytes of one reader: what it sent, what may still go, who waits when it runs short. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::Class;

/// A bucket that holds a tenth of the budget and is filled with nine tenths of it an hour: so no hour has more
/// than the budget, wherever one begins to count (but for what is critical).
#[derive(Debug, Default)]
pub(super) struct Meter {
    budget: Option<u64>,
    /// Bytes that may go; below zero after what could not wait.
    level: f64,
    at: Option<Instant>,
    /// Samples that were given and whose bytes were not reported yet.
    open: f64,
    /// What a sample cost so far.
    each: Option<f64>,
    sent: u64,
}

/// What a sample costs before the first was sent: alias, time stamp, value and their keys.
const FIRST_GUESS: f64 = 24.0;
/// Who asks again does so no sooner.
const SHORTEST: Duration = Duration::from_millis(50);

impl Meter {
    /// Fills the bucket up to now.
    pub(super) fn tick(&mut self, budget: Option<u64>, now: Instant) {
        let Some(bytes) = budget else {
            self.budget = None;
            return;
        };
        let (most, rate) = (bytes as f64 / 10.0, bytes as f64 * 0.9 / 3600.0);
        if self.budget != budget {
            self.level = if self.budget.is_none() { most } else { self.level.min(most) };
            (self.budget, self.at) = (budget, Some(now));
        }
        let since = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.level = (self.level + since * rate).min(most);
        self.at = Some(now);
    }

    /// Until when batches of this class and kind wait; `None`: they may go. First history waits, then diagnostic
    /// values, then normal ones. Critical ones never do.
    pub(super) fn short_until(&self, class: Class, live: bool, now: Instant) -> Option<Instant> {
        let bytes = self.budget? as f64;
        // As a part of a full bucket.
        let kept_back = match (class, live) {
            (Class::Critical, _) => return None,
            (_, false) => 0.5,
            (Class::Diagnostic, true) => 0.25,
            (Class::Normal, true) => 0.0,
        };
        let lacking = kept_back * bytes / 10.0 - self.left();
        if lacking < 0.0 {
            return None;
        }
        let wait = Duration::from_secs_f64((lacking / (bytes * 0.9 / 3600.0)).clamp(0.0, 7200.0));
        Some(now + wait.max(SHORTEST))
    }

    /// Samples were given, and will be sent.
    pub(super) fn gave(&mut self, samples: u64) {
        self.open += samples as f64;
    }

    /// Bytes were sent, with all that was given before.
    pub(super) fn spent(&mut self, bytes: u64) {
        self.sent += bytes;
        let now = bytes as f64;
        if self.open > 0.0 {
            let each = now / self.open;
            self.each = Some(self.each.map_or(each, |before| before * 0.8 + each * 0.2));
            self.open = 0.0;
        }
        if let Some(budget) = self.budget {
            // What is critical may run up a debt; the others pay it back for an hour, not for ever.
            self.level = (self.level - now).max(-(budget as f64));
        }
    }

    fn left(&self) -> f64 {
        self.level - self.open * self.each.unwrap_or(FIRST_GUESS)
    }

    /// Bytes sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that may go now; `None` without a budget.
    pub(super) fn remains(&self) -> Option<u64> {
        self.budget.map(|_| self.left().max(0.0) as u64)
    }

    /// How many of history, diagnostic and normal values wait for the budget.
    pub(super) fn short(&self, now: Instant) -> u8 {
        let kinds = [(Class::Normal, false), (Class::Diagnostic, true), (Class::Normal, true)];
        kinds.into_iter().filter(|(class, live)| self.short_until(*class, *live, now).is_some()).count() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 3_600_000;

    fn may(meter: &Meter, now: Instant) -> [bool; 4] {
        use Class::{Critical, Diagnostic, Normal};
        [(Critical, false), (Normal, true), (Diagnostic, true), (Normal, false)]
            .map(|(class, live)| meter.short_until(class, live, now).is_none())
    }

    #[test]
    fn history_waits_first_then_diagnostic_then_normal_and_critical_never() {
        let now = Instant::now();
        let mut meter = Meter::default();
        meter.tick(Some(BUDGET), now);
        assert_eq!(may(&meter, now), [true; 4]);
        meter.spent(BUDGET / 20);
        assert_eq!(may(&meter, now), [true, true, true, false]);
        meter.spent(BUDGET / 40);
        assert_eq!(may(&meter, now), [true, true, false, false]);
        meter.spent(BUDGET / 40);
        assert_eq!(may(&meter, now), [true, false, false, false]);
        assert_eq!((meter.sent(), meter.remains(), meter.short(now)), (BUDGET / 10, Some(0), 3));
    }

    #[test]
    fn no_hour_has_more_bytes_than_the_budget_and_nearly_all_of_them_are_used() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut sent: Vec<u64> = Vec::new();
        for second in 0..3 * 3600 {
            let now = start + Duration::from_secs(second);
            meter.tick(Some(BUDGET), now);
            let mut bytes = 0;
            while meter.short_until(Class::Normal, true, now).is_none() {
                meter.gave(10);
                meter.spent(500);
                bytes += 500;
            }
            sent.push(bytes);
        }
        for hour in sent.windows(3600) {
            let bytes: u64 = hour.iter().sum();
            assert!((BUDGET * 85 / 100..=BUDGET + 500).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn what_was_given_counts_before_it_is_sent_so_that_a_burst_does_not_pass_the_budget() {
        let now = Instant::now();
        let mut meter = Meter::default();
        meter.tick(Some(BUDGET), now);
        meter.gave(100);
        meter.spent(100 * 50);
        let mut samples = 0;
        while meter.short_until(Class::Normal, true, now).is_none() {
            meter.gave(100);
            samples += 100;
        }
        assert!(samples * 50 <= BUDGET / 10 + 5000, "{samples}");
    }

    #[test]
    fn a_wait_is_over_when_it_says() {
        let now = Instant::now();
        let mut meter = Meter::default();
        meter.tick(Some(BUDGET), now);
        meter.spent(BUDGET / 5);
        let until = meter.short_until(Class::Normal, true, now).unwrap();
        assert!(until > now + Duration::from_secs(300), "a tenth of the budget is owed");
        let later = until + Duration::from_millis(1);
        meter.tick(Some(BUDGET), later);
        assert_eq!(meter.short_until(Class::Normal, true, later), None);
    }
}
