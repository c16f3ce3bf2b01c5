//! MQTT itself, shared by the publishers that speak it: the address, the options, and one connection.

pub mod address;
mod backoff;
mod client;
pub mod config;
mod credentials;
mod inbox;
mod message;
mod parting;
mod receipts;
mod renewal;
mod rounds;
mod takeover;
mod v4;
mod v5;
mod walk;
mod watchdog;
mod window;

pub(super) use client::{Down, Inbound, Wire};
pub(super) use credentials::Credentials;
pub(super) use message::{Publish, Qos};
pub(super) use parting::{FAREWELL, LAST_ACK, stopped_and_stuck};
pub(super) use renewal::Renewal;
pub(super) use rounds::Rounds;
pub(super) use walk::{Stay, Walk};
pub(super) use watchdog::{Asked, Watchdog};
pub(super) use window::Window;
