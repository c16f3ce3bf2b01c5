//! When a certificate ends, and how soon that is. Pure but for the gauges.

use super::Gauge;

/// The end of the certificate that ends first.
#[derive(Debug, Default)]
pub struct Expiry {
    /// Seconds since 1970; 0 without a certificate.
    pub ends: Gauge,
    /// 0 none, 1 within 30 days, 2 within 7, 3 within 1 or over.
    pub warning: Gauge,
}

const DAY: u64 = 86_400;

impl Expiry {
    /// Takes note of the end, in seconds since 1970. Gives the level of the warning when it has changed.
    pub fn set(&self, ends: Option<u64>, now: u64) -> Option<i64> {
        self.ends.set(ends.map_or(0, |ends| i64::try_from(ends).unwrap_or(i64::MAX)));
        let level = ends.map_or(0, |ends| level(ends, now));
        let before = self.warning.get();
        self.warning.set(level);
        (level != before).then_some(level)
    }
}

/// 0 none, 1 within 30 days, 2 within 7, 3 within 1 or over.
fn level(ends: u64, now: u64) -> i64 {
    match ends.saturating_sub(now) {
        left if left <= DAY => 3,
        left if left <= 7 * DAY => 2,
        left if left <= 30 * DAY => 1,
        _ => 0,
    }
}

/// Whole days until then; negative when it is over.
pub fn days_left(ends: u64, now: u64) -> i64 {
    let seconds = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    seconds(ends).saturating_sub(seconds(now)).div_euclid(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_comes_30_7_and_1_days_ahead() {
        let now = 1_000 * DAY;
        let left = |seconds: u64| level(now + seconds, now);
        assert_eq!([left(31 * DAY), left(30 * DAY + 1), left(30 * DAY)], [0, 0, 1]);
        assert_eq!([left(7 * DAY + 1), left(7 * DAY)], [1, 2]);
        assert_eq!([left(DAY + 1), left(DAY), left(0), level(5, now)], [2, 3, 3, 3]);
        assert_eq!([days_left(now + DAY - 1, now), days_left(now, now), days_left(now - 1, now)], [0, 0, -1]);
    }

    #[test]
    fn a_level_is_told_when_it_changes_and_not_again() {
        let expiry = Expiry::default();
        assert_eq!(expiry.set(Some(100 * DAY), 0), None);
        assert_eq!(expiry.set(Some(100 * DAY), 80 * DAY), Some(1));
        assert_eq!(expiry.set(Some(100 * DAY), 81 * DAY), None);
        assert_eq!(expiry.set(Some(900 * DAY), 81 * DAY), Some(0), "renewed");
        assert_eq!(expiry.set(None, 81 * DAY), None);
        assert_eq!((expiry.ends.get(), expiry.warning.get()), (0, 0));
    }
}
