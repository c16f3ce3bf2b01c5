//! MQTT Sparkplug B 3.0.

pub mod config;
