//! Says when: the task of one link, its lanes, its schedule and the state of its devices.

mod follow;
pub mod forecast;
mod hub;
pub mod inventory;
mod lane;
mod load;
mod outcome;
mod plan;
mod said;
mod schedule;
mod state;
mod task;
mod turns;

pub use plan::{BlockTask, DevicePlan, LinkPlan, WriteTask};
pub use task::{Context, run};
