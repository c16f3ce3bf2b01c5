//! The publishers; this file is the registry: one line a publisher in each enum.

pub mod http;
pub mod opcua;
pub mod publisher;
pub mod sparkplug;

/// What a publisher needs to run, of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum PublisherSpec {
    /// MQTT Sparkplug B.
    Sparkplug(sparkplug::config::Spec),
    /// OPC UA server.
    OpcUa(opcua::config::Spec),
    /// Page and metrics.
    Http(http::config::Spec),
}
