//! Says what raw words mean: decode, scale, quality, deadband; and encode, the way back.

pub mod rule;

pub use rule::{PlacedRule, Rule, Scaling};
