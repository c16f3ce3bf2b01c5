//! Says what raw words mean: decode, scale, quality, deadband, alarms; and encode, the way back.

mod alarm;
mod alarms;
mod deadband;
pub mod decode;
pub mod encode;
mod normalizer;
pub mod quality;
pub mod rule;

pub use normalizer::Normalizer;
pub use rule::{PlacedRule, Rule, Scaling};
