//! Time stamps, and how far they can be trusted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// 2020-01-01: what is stamped before it came from a clock that was never set.
    pub const PLAUSIBLE: Timestamp = Timestamp(1_577_836_800_000_000);

    /// Whole milliseconds since 1970, as Sparkplug counts.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// As the system's own type; before 1970 counts as 1970.
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

/// What was known of the clock when a sample was stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stamp {
    /// The clock was synchronised, or the stamp was put right since.
    #[default]
    Synchronised,
    /// Not synchronised yet in this run; the clock can put it right as soon as it is. The number tells which
    /// of the clock's times before the first synchronisation it is.
    Provisional(u8),
    /// The clock had been synchronised and was not any more: near, and not put right later.
    Lapsed,
    /// Nobody can tell any more what time it was.
    Unknown,
}

impl Stamp {
    /// Whether the time can be taken for UTC.
    pub fn is_synchronised(self) -> bool {
        self == Stamp::Synchronised
    }
}
