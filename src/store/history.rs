//! What was delivered and is kept, for SCADA to read back after its own outage.
//!
//! The same log that delivers: `keep` says which of its segments stay, `query` reads a page, `aggregate` sums up.

mod aggregate;
mod keep;
mod query;

pub use aggregate::{Bin, Bins};
pub use query::{Ask, Lane, Page, Place};

pub(super) use keep::Keeper;
pub(super) use query::Query;

/// So many pages are read at a time; more wait.
pub(super) const READERS: usize = 4;

/// Why history was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// There is no `[store.history]`.
    #[error("no history is kept: write a table [store.history] with `keep`, and `path` in [store]")]
    Off,
    /// The store's folder cannot be used now.
    #[error("history cannot be read while the store has no disk: see its log, and try again")]
    Unavailable,
}
