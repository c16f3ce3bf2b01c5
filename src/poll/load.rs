//! How much of a link's time is made use of.

use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::LinkStats;

/// The share of the last few seconds with a transaction under way, of all lanes.
pub(super) struct LoadMeter {
    lanes: u128,
    since: Instant,
    busy: Duration,
}

impl LoadMeter {
    const WINDOW: Duration = Duration::from_secs(2);

    pub(super) fn new(now: Instant, lanes: usize) -> LoadMeter {
        LoadMeter { lanes: lanes.max(1) as u128, since: now, busy: Duration::ZERO }
    }

    pub(super) fn busy(&mut self, took: Duration) {
        self.busy += took;
    }

    pub(super) fn show(&mut self, stats: &LinkStats) {
        let window = self.since.elapsed();
        if window >= Self::WINDOW {
            let permille = self.busy.as_micros() * 1000 / (window.as_micros() * self.lanes).max(1);
            stats.load_permille.set(i64::try_from(permille.min(1000)).unwrap_or(1000));
            (self.since, self.busy) = (Instant::now(), Duration::ZERO);
        }
    }
}
