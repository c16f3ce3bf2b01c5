//! Says when: the task of one link, its lanes, its schedule and the state of its devices.

pub mod forecast;
mod hub;
mod lane;
mod load;
pub mod plan;
mod schedule;
mod state;
mod task;
mod turns;

pub use plan::{BlockTask, DevicePlan, LinkPlan, WriteTask};
pub use task::{Context, run};
