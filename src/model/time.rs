//! Time stamps from a monotonic clock tied to UTC.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::Instant;

/// Microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole milliseconds since 1970, as Sparkplug counts.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// As the system's own type; before 1970 counts as 1970.
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

/// Gives time stamps that never go back while the wall clock is not stepped by more than
/// [`Clock::STEP`]; a larger step (the first NTP answer, a correction by hand) is taken over once.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Mutex<Anchor>>);

#[derive(Debug)]
struct Anchor {
    instant: Instant,
    utc: i64,
}

impl Clock {
    /// How far monotonic and wall clock may drift apart before the stamp follows the wall clock.
    pub const STEP: Duration = Duration::from_millis(500);

    /// Ties the monotonic clock to the wall clock now.
    pub fn system() -> Clock {
        Clock::starting_at(Self::wall())
    }

    /// Starts at a given time; for tests and replays.
    pub fn starting_at(at: Timestamp) -> Clock {
        Clock(Arc::new(Mutex::new(Anchor { instant: Instant::now(), utc: at.0 })))
    }

    /// The time stamp of this moment.
    pub fn now(&self) -> Timestamp {
        let anchor = self.0.lock().unwrap_or_else(|e| e.into_inner());
        Timestamp(anchor.utc + micros(anchor.instant.elapsed()))
    }

    /// Compares with the wall clock and follows it where it was stepped; gives the step in
    /// microseconds. Called every few seconds by the supervisor.
    pub fn follow(&self) -> Option<i64> {
        let wall = Self::wall();
        let mut anchor = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let step = wall.0 - (anchor.utc + micros(anchor.instant.elapsed()));
        if step.unsigned_abs() < Self::STEP.as_micros() as u64 {
            return None;
        }
        *anchor = Anchor { instant: Instant::now(), utc: wall.0 };
        Some(step)
    }

    fn wall() -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(micros(since)),
            Err(before) => Timestamp(-micros(before.duration())),
        }
    }
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}
