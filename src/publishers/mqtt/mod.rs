//! Plain MQTT: topics and payloads as the cloud wants them, settled by PUBACK.

#![allow(dead_code)]
mod commands;
mod compose;
pub mod config;
mod flight;
pub mod pattern;
