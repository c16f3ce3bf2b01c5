//! MQTT itself, shared by the publishers that speak it: the address, the options, and one connection.

pub mod address;
mod backoff;
mod client;
pub mod config;
mod credentials;
mod message;
mod v4;
mod v5;

pub(super) use backoff::Backoff;
pub(super) use client::{Down, Inbound, Wire};
pub(super) use credentials::Credentials;
pub(super) use message::{Publish, Qos};
