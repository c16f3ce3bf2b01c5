//! How the store keeps what is not delivered.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Plain data, compiled from `[store]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Folder of the spool; `None` keeps all in memory.
    pub path: Option<PathBuf>,
    /// When batches are written to disk.
    pub durability: Durability,
    /// With `spill`: how far a publisher may lag before the head goes to disk.
    pub spill_after: Duration,
    /// With `always`: batches accepted within this time share one flush.
    pub commit: Duration,
    /// Most bytes in memory.
    pub memory: u64,
    /// Most bytes on disk.
    pub max_bytes: u64,
    /// Bytes kept back, given up first when the disk is full; 0 for none.
    pub ballast: u64,
    /// Oldest sample kept.
    pub max_age: Duration,
    /// How history and live share the way north.
    pub replay: Replay,
    /// Most history samples a second while live ones flow.
    pub history_rate: u32,
}

/// When batches are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Only what a publisher could not take in time, and at a clean stop.
    #[default]
    Spill,
    /// Before it is published.
    Always,
}

/// How history and live share the way north.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replay {
    /// Live values first, history in between under `history_rate`.
    #[default]
    LiveFirst,
    /// All history before live.
    InOrder,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            path: None,
            durability: Durability::Spill,
            spill_after: Duration::from_secs(10),
            commit: Duration::from_millis(250),
            memory: 16 << 20,
            max_bytes: 1 << 30,
            ballast: 8 << 20,
            max_age: Duration::from_secs(7 * 86400),
            replay: Replay::LiveFirst,
            history_rate: 5000,
        }
    }
}
