//! The door by which commands on the same machine reach a gateway that runs: a local socket, a line each way.
//!
//! A request is one line of JSON of at most [`LONGEST`] bytes, the answer another; then the connection is closed.
//! Whoever may open the socket may ask: its folder's and its own mode (0660) say who that is.

mod client;
mod server;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(super) use client::{Socket, ask};
pub(super) use server::listen;

/// Bytes of a request.
const LONGEST: u64 = 8192;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    /// How it stands.
    Status {},
    /// Take on the configuration file as it is now.
    Reload {},
    /// What would change with this file.
    Compare {
        /// Absolute.
        file: PathBuf,
    },
    /// Take on this file, and go back where nobody confirms it in time.
    Apply {
        /// Absolute.
        file: PathBuf,
        /// Seconds.
        confirm: u64,
    },
    /// Which files a trial is about.
    Trial {},
    /// What is tried stays: it is in the gateway's own file by now.
    Confirm {},
    /// What is tried goes.
    Revert {},
}

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// It was done.
    pub(super) ok: bool,
    /// In words, a line each: what changed, or why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) lines: Vec<String>,
    /// The file on trial, and the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trial: Option<(PathBuf, PathBuf)>,
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<serde_json::Value>,
}

impl Answer {
    pub(super) fn done(lines: Vec<String>) -> Answer {
        Answer { ok: true, lines, ..Answer::default() }
    }

    pub(super) fn not(lines: Vec<String>) -> Answer {
        Answer { ok: false, lines, ..Answer::default() }
    }
}
