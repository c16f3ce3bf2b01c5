//! How urgent a tag is on its way north.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What goes first where not all can go at once: after an outage, on a thin link, under a budget.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Class {
    /// Alarms: before everything else, also when the budget is used up.
    Critical,
    /// What the plant is run and billed by.
    #[default]
    Normal,
    /// Of use to who looks for a fault: waits for the others.
    Diagnostic,
}

impl Class {
    /// All, the most urgent first.
    pub const ALL: [Class; 3] = [Class::Critical, Class::Normal, Class::Diagnostic];

    /// The word in a configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Class::Critical => "critical",
            Class::Normal => "normal",
            Class::Diagnostic => "diagnostic",
        }
    }
}
