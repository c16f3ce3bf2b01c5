//! Ranges that numbers and durations of the file must keep.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::{Mistake, Period, Spanned};

/// From a millisecond to a day is what a period of this program may be.
pub(super) fn period(key: &str, period: &Spanned<Period>, mistakes: &mut Vec<Mistake>) -> Duration {
    period_within(key, period, Duration::from_millis(1)..=Duration::from_secs(86_400), mistakes)
}

pub(super) fn period_within(
    key: &str,
    period: &Spanned<Period>,
    allowed: RangeInclusive<Duration>,
    mistakes: &mut Vec<Mistake>,
) -> Duration {
    let value = period.get_ref().0;
    if !allowed.contains(&value) {
        mistakes.push(Mistake::new(
            "out-of-range",
            period.span(),
            format!("`{key}` cannot be {}", words(value)),
            format!("write \"{}\" to \"{}\"", words(*allowed.start()), words(*allowed.end())),
        ));
    }
    value
}

/// As one would write it in the file.
fn words(period: Duration) -> String {
    let seconds = period.as_secs();
    match (period.subsec_nanos(), seconds) {
        (0, 0) => "0s".to_owned(),
        (0, s) if s % 86_400 == 0 => format!("{}d", s / 86_400),
        (0, s) if s % 3600 == 0 => format!("{}h", s / 3600),
        _ => format!("{period:?}"),
    }
}

pub(super) fn number<T: PartialOrd + Copy + std::fmt::Display>(
    key: &str,
    number: &Spanned<T>,
    allowed: RangeInclusive<T>,
    mistakes: &mut Vec<Mistake>,
) -> T {
    let value = *number.get_ref();
    if !allowed.contains(&value) {
        mistakes.push(Mistake::new(
            "out-of-range",
            number.span(),
            format!("`{key}` cannot be {value}"),
            format!("write {} to {}", allowed.start(), allowed.end()),
        ));
    }
    value
}
