//! Says when: the task of one link, its schedule and the state of its devices.

pub mod plan;

pub use plan::{BlockTask, DevicePlan, LinkPlan, WriteTask};
