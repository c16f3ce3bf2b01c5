//! Simulated plants: Modbus devices on loopback sockets and pseudo-terminals, and a small MQTT broker.

pub mod broker;
pub mod modbus;
pub mod plant;
pub mod replica;
