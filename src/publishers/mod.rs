//! The publishers; this file is the registry: one line a publisher in each match.

#[cfg(feature = "opcua")]
mod apart;
mod directories;
pub mod http;
pub mod mqtt;
pub mod mqtt_wire;
pub mod opcua;
pub mod publisher;
pub mod sparkplug;
mod words;

use self::publisher::{Context, PublishError, Publisher};

/// What a publisher needs to run, of any kind.
// There is one for each publisher of the file: what a smaller one wastes is nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum PublisherSpec {
    /// MQTT Sparkplug B.
    Sparkplug(sparkplug::config::Spec),
    /// Plain MQTT.
    Mqtt(mqtt::config::Spec),
    /// OPC UA server.
    OpcUa(opcua::config::Spec),
    /// Page and metrics.
    Http(http::config::Spec),
}

impl PublisherSpec {
    /// The kind's name, as in the configuration file.
    pub fn kind(&self) -> &'static str {
        match self {
            PublisherSpec::Sparkplug(_) => "sparkplug",
            PublisherSpec::Mqtt(_) => "mqtt",
            PublisherSpec::OpcUa(_) => "opcua",
            PublisherSpec::Http(_) => "http",
        }
    }
}

/// Runs a publisher until it is told to stop.
pub async fn run(spec: PublisherSpec, cx: Context) -> Result<(), PublishError> {
    match spec {
        #[cfg(feature = "http")]
        PublisherSpec::Http(spec) => http::Http::new(spec).run(cx).await,
        PublisherSpec::Sparkplug(spec) => sparkplug::Sparkplug::new(spec).run(cx).await,
        PublisherSpec::Mqtt(spec) => mqtt::Mqtt::new(spec).run(cx).await,
        #[cfg(feature = "opcua")]
        PublisherSpec::OpcUa(spec) => apart::run(cx, |cx| opcua::OpcUa::new(spec).run(cx)).await,
        // `compile` lets none through that this build leaves out.
        #[cfg(not(all(feature = "http", feature = "opcua")))]
        spec => Err(PublishError(format!("this build has no {}", spec.kind()))),
    }
}
