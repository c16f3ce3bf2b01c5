//! The page, its API, /metrics, /healthz and /readyz: read-only, for people and monitoring on this machine.

#[cfg(feature = "http")]
mod assets;
pub mod config;
#[cfg(feature = "http")]
mod connection;
#[cfg(feature = "http")]
mod history;
#[cfg(feature = "http")]
mod host;
#[cfg(feature = "http")]
mod metrics;
#[cfg(feature = "http")]
mod ready;
#[cfg(feature = "http")]
mod server;
#[cfg(feature = "http")]
mod view;

#[cfg(feature = "http")]
pub use server::Http;
