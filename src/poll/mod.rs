//! Says when: the task of one link, its schedule and the state of its devices.

pub mod forecast;
pub mod inventory;
mod plan;
mod schedule;
mod state;
mod task;
mod turns;

pub use plan::{BlockTask, DevicePlan, LinkPlan, WriteTask};
pub use task::{Context, run};
