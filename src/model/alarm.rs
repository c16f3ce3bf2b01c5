//! What the alarm of a tag is: when it is raised, how urgent it is, and the tags that show it.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TagId, Value};

/// The alarm of one tag, in the words of IEC 62682 (ISA-18.2): on-delay, off-delay, deadband (here `hysteresis`),
/// priority, acknowledge.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// Whose values are watched.
    pub source: TagId,
    /// `device/tag` of it.
    pub path: Arc<str>,
    /// Shows the [`Level`] as a word.
    pub state: TagId,
    /// Shows whether it is raised.
    pub active: TagId,
    /// Shows whether it is acknowledged.
    pub acked: TagId,
    /// What raises it.
    pub trigger: Trigger,
    /// So long must the trigger hold before it is raised.
    pub on_delay: Duration,
    /// So long must the trigger be gone before it returns to normal.
    pub off_delay: Duration,
    /// How urgent.
    pub priority: Priority,
    /// What is told to people; `None`: the path and the level.
    pub message: Option<Arc<str>>,
}

/// What raises an alarm.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// A value at or beyond a limit.
    Limits(Limits),
    /// One of these values.
    When(Vec<Value>),
    /// Any value but these.
    NotNormal(Vec<Value>),
}

/// Limits in engineering units; those that are there have the order `lolo` < `lo` < `hi` < `hihi`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Raised at it and above, over the high alarm.
    pub hihi: Option<f64>,
    /// Raised at it and above.
    pub hi: Option<f64>,
    /// Raised at it and below.
    pub lo: Option<f64>,
    /// Raised at it and below, over the low alarm.
    pub lolo: Option<f64>,
    /// So far must a value come back from a limit; smaller than what is between two limits.
    pub hysteresis: f64,
}

/// Where an alarm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Level {
    /// Not raised.
    #[default]
    Normal,
    /// Raised by a state, not by a limit.
    Active,
    /// At `lolo` or below.
    LoLo,
    /// At `lo` or below.
    Lo,
    /// At `hi` or above.
    Hi,
    /// At `hihi` or above.
    HiHi,
}

impl Level {
    /// All.
    pub const ALL: [Level; 6] =
        [Level::Normal, Level::Active, Level::LoLo, Level::Lo, Level::Hi, Level::HiHi];

    /// The word that the state's tag has.
    pub fn name(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::Active => "active",
            Level::LoLo => "lolo",
            Level::Lo => "lo",
            Level::Hi => "hi",
            Level::HiHi => "hihi",
        }
    }

    /// The level of a word.
    pub fn from_name(name: &str) -> Option<Level> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Whether it is raised.
    pub fn is_active(self) -> bool {
        self != Level::Normal
    }

    /// Whether this is worse than `before`: raised, raised further, or raised at the other end.
    pub fn is_worse_than(self, before: Level) -> bool {
        self.is_active()
            && self != before
            && !matches!((before, self), (Level::HiHi, Level::Hi) | (Level::LoLo, Level::Lo))
    }
}

/// How urgent an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Priority {
    /// When there is time.
    Low,
    /// Soon.
    #[default]
    Medium,
    /// At once.
    High,
    /// Before all others.
    Critical,
}

impl Priority {
    /// 1 to 1000 as OPC 10000-5 §6.4.2 has it, in the middle of its five bands; further limits are 100 above.
    pub fn severity(self, level: Level) -> u16 {
        let own = match self {
            Priority::Low => 300,
            Priority::Medium => 500,
            Priority::High => 700,
            Priority::Critical => 900,
        };
        if matches!(level, Level::HiHi | Level::LoLo) { own + 100 } else { own }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_comes_back_from_its_word() {
        for level in Level::ALL {
            assert_eq!(Level::from_name(level.name()), Some(level));
        }
        assert_eq!(Level::from_name("high"), None);
    }

    #[test]
    fn a_level_that_comes_down_on_its_own_side_is_no_worse() {
        assert!(Level::Hi.is_worse_than(Level::Normal) && Level::HiHi.is_worse_than(Level::Hi));
        assert!(Level::Lo.is_worse_than(Level::HiHi) && Level::Hi.is_worse_than(Level::LoLo));
        assert!(!Level::Hi.is_worse_than(Level::HiHi) && !Level::Lo.is_worse_than(Level::LoLo));
        assert!(!Level::Normal.is_worse_than(Level::HiHi) && !Level::Hi.is_worse_than(Level::Hi));
    }
}
