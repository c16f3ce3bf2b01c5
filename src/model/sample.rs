//! A sample: value, quality and source time of a tag.

use super::{Bad, DeviceId, Quality, Stamp, TagId, Timestamp, Uncertain, Value};

/// What was known of a tag at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Whose sample.
    pub tag: TagId,
    /// The value; `None` exactly when the quality is bad.
    pub value: Option<Value>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// When the answer arrived (UTC).
    pub at: Timestamp,
    /// What was known of the clock then.
    pub stamp: Stamp,
}

impl Sample {
    /// A value as the device gave it.
    pub fn good(tag: TagId, value: Value, at: Timestamp) -> Sample {
        Sample { tag, value: Some(value), quality: Quality::Good, at, stamp: Stamp::Synchronised }
    }

    /// A value to be used with care.
    pub fn uncertain(tag: TagId, value: Value, why: Uncertain, at: Timestamp) -> Sample {
        Sample { tag, value: Some(value), quality: Quality::Uncertain(why), at, stamp: Stamp::Synchronised }
    }

    /// No value, and why.
    pub fn bad(tag: TagId, why: Bad, at: Timestamp) -> Sample {
        Sample { tag, value: None, quality: Quality::Bad(why), at, stamp: Stamp::Synchronised }
    }
}

/// Whether a device answers, as the poll task sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceState {
    /// Not tried yet since the start.
    #[default]
    Unknown,
    /// It answers.
    Alive,
    /// It does not.
    Dead,
}

impl DeviceState {
    /// For people and scripts.
    pub fn name(self) -> &'static str {
        match self {
            DeviceState::Unknown => "unknown",
            DeviceState::Alive => "alive",
            DeviceState::Dead => "dead",
        }
    }
}

/// The samples of one device from one transaction, with the device's state after it.
/// A change of state without samples is a batch too.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Whose samples these are.
    pub device: DeviceId,
    /// The device's state after this transaction.
    pub state: DeviceState,
    /// What changed enough to be reported.
    pub samples: Vec<Sample>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_the_clock_makes_no_sample_larger() {
        let bare = size_of::<(TagId, Option<Value>, Quality, Timestamp)>();
        assert_eq!(size_of::<Sample>(), bare);
    }
}
