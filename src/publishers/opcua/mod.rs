//! The OPC UA server: an object per device, a variable per tag, values pushed as they come.

mod addresses;
#[cfg(feature = "opcua")]
mod change;
#[cfg(feature = "opcua")]
mod conditions;
pub mod config;
#[cfg(feature = "opcua")]
mod history;
#[cfg(feature = "opcua")]
pub(crate) mod pki;
#[cfg(feature = "opcua")]
mod server;
#[cfg(feature = "opcua")]
mod space;
#[cfg(feature = "opcua")]
mod status;
#[cfg(feature = "opcua")]
mod units;
#[cfg(feature = "opcua")]
pub mod users;
#[cfg(feature = "opcua")]
mod wire;

#[cfg(feature = "opcua")]
pub use server::OpcUa;
