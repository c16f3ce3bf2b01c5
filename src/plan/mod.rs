//! The compiled configuration: plain data, comparable; and all that can be wrong with a file.

mod alarms;
mod case;
mod compile;
pub mod diagnostic;
pub mod diff;
mod doors;
mod draft;
mod labels;
mod links;
mod load;
mod names;
mod north;
#[allow(clippy::module_inception)]
mod plan;
mod ranges;
mod shapes;
mod tags;
mod tests;

pub use compile::compile;
pub use plan::{GatewayPlan, PublisherPlan, Resource, TestCase, TestPlan};
