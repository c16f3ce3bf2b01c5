//! The edge node as hosts and brokers see it.
//!
//! `tck_id_…` are the normative statements of Sparkplug 3.0 by their ids; docs/sparkplug-conformance.md lists all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod commands;
mod delivery;
mod plant;
mod session;
