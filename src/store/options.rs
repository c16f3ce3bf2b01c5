//! How the store keeps what is not delivered.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Period, Size, Spanned};

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
    /// What goes when a bound is reached.
    pub when_full: WhenFull,
    /// With `downsample`: the window of which a few samples of each tag stay.
    pub downsample: Duration,
    /// What is kept although it is delivered, for SCADA to read back; `None`: nothing.
    pub history: Option<History>,
}

impl Options {
    /// What holds for a publisher that says nothing of its own.
    pub fn reader_rules(&self) -> ReaderRules {
        ReaderRules {
            durability: self.durability,
            spill_after: self.spill_after,
            max_bytes: None,
            max_age: self.max_age,
            when_full: self.when_full,
            replay: self.replay,
            history_rate: self.history_rate,
            budget: None,
        }
    }
}

/// How one publisher's samples are kept and served; plain data, compiled from its `outbox` over `[store]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReaderRules {
    /// When its batches are written to disk.
    pub durability: Durability,
    /// With `spill`: how far it may lag before its batches go to disk.
    pub spill_after: Duration,
    /// Most bytes that wait for it, in memory and on disk together; `None`: only the store's bounds.
    pub max_bytes: Option<u64>,
    /// Oldest sample kept for it.
    pub max_age: Duration,
    /// What goes when `max_bytes` is reached.
    pub when_full: WhenFull,
    /// How history and live share its way north.
    pub replay: Replay,
    /// Most history samples a second while live ones flow.
    pub history_rate: u32,
    /// Most bytes an hour that it may send north; `None`: any.
    pub budget: Option<u64>,
}

/// `outbox = { … }`: what differs from `[store]` for this publisher alone; see docs/store.md.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Outbox", title = "outbox of a publisher")]
pub struct OutboxTable {
    /// When its samples are written to disk; needs `path` in `[store]`.
    #[schemars(extend("x-default" = "as `[store]`", "examples" = ["always"]))]
    pub durability: Option<Spanned<Durability>>,
    /// With `spill`: how far it may lag before its samples go to disk.
    #[schemars(extend("x-default" = "as `[store]`", "x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["1m"]))]
    pub spill_after: Option<Spanned<Period>>,
    /// Most bytes that wait for it, in memory and on disk together.
    #[schemars(extend("x-range" = "from `\"1MiB\"` to what the store may hold", "examples" = ["200MiB"]))]
    pub max_bytes: Option<Spanned<Size>>,
    /// Oldest sample kept for it.
    #[schemars(extend("x-default" = "as `[store]`", "x-range" = "from `\"1ms\"` to that of `[store]`", "examples" = ["3d"]))]
    pub max_age: Option<Spanned<Period>>,
    /// What goes when its `max-bytes` is reached.
    #[schemars(extend("x-default" = "as `[store]`", "examples" = ["downsample"]))]
    pub when_full: Option<Spanned<WhenFull>>,
    /// How history and live share its way north.
    #[schemars(extend("x-default" = "as `[store]`", "examples" = ["in-order"]))]
    pub replay: Option<Replay>,
    /// Most history while live samples flow.
    #[schemars(range(min = 1, max = 10000000), extend("x-default" = "as `[store]`", "x-unit" = "samples a second", "examples" = [500]))]
    pub history_rate: Option<Spanned<u32>>,
    /// Most bytes an hour that it may send north; when it runs short history waits first, then what is
    /// `"diagnostic"`, then what is `"normal"`, never what is `"critical"`; see docs/store.md#budget.
    #[schemars(extend("x-range" = "from `\"64KiB\"`", "x-unit" = "an hour", "examples" = ["10MiB"]))]
    pub budget: Option<Spanned<Size>>,
}

/// What goes when a bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum WhenFull {
    /// The oldest.
    #[default]
    DropOldest,
    /// What is new, until delivery has made room.
    DropNewest,
    /// Of the oldest all but the first, last, least and greatest of each tag and window; then the oldest.
    Downsample,
}

/// How long and how much of what is delivered is kept. Compiled from `[store.history]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Samples up to this age.
    pub keep: Duration,
    /// Most bytes on disk, besides what is not delivered.
    pub max_bytes: u64,
}

/// When batches are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Durability {
    /// Only what a publisher could not take in time, and the rest at a clean stop.
    #[default]
    Spill,
    /// Before it is published.
    Always,
}

/// How history and live share the way north.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Replay {
    /// Live values first, history in between under `history-rate`.
    #[default]
    LiveFirst,
    /// Of each class all history before live.
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
            history_rate: 15_000,
            when_full: WhenFull::DropOldest,
            downsample: Duration::from_secs(60),
            history: None,
        }
    }
}
