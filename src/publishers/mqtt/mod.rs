//! Plain MQTT: topics and payloads as the cloud wants them, settled by PUBACK.

mod body;
pub mod commands;
mod compose;
pub mod config;
mod flight;
mod live;
pub mod pattern;
mod publisher;

pub use publisher::Mqtt;
