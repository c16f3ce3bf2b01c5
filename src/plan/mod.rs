//! The compiled configuration: plain data, comparable; and all that can be wrong with a file.

#[allow(clippy::module_inception)]
mod plan;

pub use plan::{GatewayPlan, PublisherPlan};
