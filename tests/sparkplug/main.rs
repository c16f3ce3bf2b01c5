//! The edge node as hosts and brokers see it.
//!
//! `tck_id_…` are the normative statements of Sparkplug 3.0 by their ids; docs/sparkplug-conformance.md lists all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

/// A test per id, with the proof that they share, on the one recorded session.
macro_rules! proves {
    ($($($id:ident),+ => $proof:expr);+ $(;)?) => {
        $($(
            #[test]
            fn $id() {
                let proof: fn(&$crate::recorded::Record) = $proof;
                proof($crate::recorded::record());
            }
        )+)+
    };
}

mod coercion;
mod commands;
mod delivery;
#[path = "../common/link.rs"]
mod link;
mod mqtt5;
mod payloads;
mod plant;
mod primary;
mod proto;
mod recorded;
mod reload;
#[cfg(feature = "tls")]
mod renewed;
mod session;
mod shapes;
mod splits;
mod topics;
mod wire;
mod withheld;
