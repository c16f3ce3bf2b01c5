//! The `alarm` of a tag, as written.

use serde::Deserialize;

use super::leaf::Scalar;
use crate::model::{Access, Period, Priority, Spanned};

/// `alarm = { … }` of a tag.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Alarm {
    /// Raised at it and above, over the high alarm.
    pub hihi: Option<Spanned<f64>>,
    /// Raised at it and above.
    pub hi: Option<Spanned<f64>>,
    /// Raised at it and below.
    pub lo: Option<Spanned<f64>>,
    /// Raised at it and below, over the low alarm.
    pub lolo: Option<Spanned<f64>>,
    /// How far a value must come back from a limit.
    pub hysteresis: Option<Spanned<f64>>,
    /// The value, or values, that are an alarm.
    pub when: Option<Spanned<Scalar>>,
    /// The value, or values, that are none: all others are.
    pub normal: Option<Spanned<Scalar>>,
    /// On-delay: so long must it hold before the alarm is raised.
    pub delay: Option<Spanned<Period>>,
    /// So long must it be gone before the alarm is.
    pub off_delay: Option<Spanned<Period>>,
    /// How urgent.
    #[serde(default)]
    pub priority: Priority,
    /// For people.
    pub message: Option<Spanned<String>>,
    /// Whether every north may acknowledge it, by a write.
    pub access: Option<Spanned<Access>>,
}
