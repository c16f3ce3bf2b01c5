//! The OPC UA server.

pub mod config;
