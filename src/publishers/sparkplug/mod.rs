//! MQTT Sparkplug B 3.0: the pure session, and the thin wire around it.

pub(super) mod backoff;
mod bdseq;
pub(super) mod client;
pub mod commands;
pub mod config;
mod delivery;
pub mod payload;
pub(super) mod publisher;
pub mod session;
pub mod topic;

pub use publisher::Sparkplug;
