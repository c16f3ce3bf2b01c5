//! Fieldgate: field devices to typed tags to MQTT Sparkplug B and OPC UA.
//!
//! ```text
//!  field ──► driver ──► poll ──► normalize ──► store ──► publisher ──► cloud / SCADA / HMI
//!            moves      says     says what     keeps     speaks
//!            words      when     it means      it        north
//!            ◄───────── poll ◄── encode ◄────── command ◄──┘          (writes, same rooms backwards)
//! ```
//!
//! Five rooms in a line, no room visited twice. South pushes, north pulls, they meet in the store.

pub mod cli;
pub mod command;
pub mod config;
pub mod drivers;
pub mod model;
pub mod normalize;
pub mod notify;
pub mod plan;
pub mod poll;
pub mod publishers;
#[cfg(test)]
mod reference;
pub mod simulate;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod telemetry;
#[cfg(feature = "tls")]
pub mod tls;
