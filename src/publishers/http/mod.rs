//! The page, its API, /metrics and /healthz.

pub mod config;
