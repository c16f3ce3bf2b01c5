//! MQTT Sparkplug B 3.0: the pure session, and the thin wire around it.

mod arrays;
mod bdseq;
pub mod commands;
pub mod config;
mod delivery;
pub mod form;
pub mod host;
pub mod payload;
mod publisher;
pub mod session;
pub mod topic;

pub use publisher::Sparkplug;
