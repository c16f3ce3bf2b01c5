//! The `alarm` of a tag, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::Scalar;
use crate::model::{Access, Period, Priority, Spanned};

/// `alarm = { … }` of a number or a boolean: limits, or `when`, or `normal`; see docs/alarms.md.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Alarm", title = "alarm of a tag")]
pub struct Alarm {
    /// Raised at it and above, over the high alarm.
    #[schemars(extend("x-range" = "more than `hi`", "examples" = [95.0]))]
    pub hihi: Option<Spanned<f64>>,
    /// Raised at it and above.
    #[schemars(extend("x-range" = "more than `lo`", "examples" = [80.0]))]
    pub hi: Option<Spanned<f64>>,
    /// Raised at it and below.
    #[schemars(extend("x-range" = "more than `lolo`", "examples" = [10.0]))]
    pub lo: Option<Spanned<f64>>,
    /// Raised at it and below, over the low alarm.
    #[schemars(extend("examples" = [5.0]))]
    pub lolo: Option<Spanned<f64>>,
    /// How far a value must come back from a limit.
    #[schemars(extend("default" = 0.0, "x-range" = "less than what is between two limits", "examples" = [2.0]))]
    pub hysteresis: Option<Spanned<f64>>,
    /// The value, or values, that are an alarm.
    #[schemars(extend("examples" = [[2, 3]]))]
    pub when: Option<Spanned<Scalar>>,
    /// The value, or values, that are none: all others are.
    #[schemars(extend("examples" = [0]))]
    pub normal: Option<Spanned<Scalar>>,
    /// On-delay: so long must it hold before the alarm is raised.
    #[schemars(extend("default" = "0s", "x-range" = "`\"0s\"` to `\"1d\"`", "examples" = ["5s"]))]
    pub delay: Option<Spanned<Period>>,
    /// So long must it be gone before the alarm is over.
    #[schemars(extend("default" = "0s", "x-range" = "`\"0s\"` to `\"1d\"`", "examples" = ["10s"]))]
    pub off_delay: Option<Spanned<Period>>,
    /// How urgent.
    #[serde(default)]
    #[schemars(extend("examples" = ["high"]))]
    pub priority: Priority,
    /// For people.
    #[schemars(length(max = 200), extend("x-default" = "the tag's path", "examples" = ["The pump runs dry"]))]
    pub message: Option<Spanned<String>>,
    /// `"read-write"`: every north may acknowledge it, by writing `true` to `…/alarm-acked`.
    #[schemars(extend("default" = "read", "examples" = ["read-write"]))]
    pub access: Option<Spanned<Access>>,
}
