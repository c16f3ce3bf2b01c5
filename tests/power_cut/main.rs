//! What the disk may do to a store, done to it: power cuts, kills, rotten bits, no room, no rights, failing syncs.
//!
//! What needs a file system of its own needs root; without it each such test names itself as skipped. With
//! `FIELDGATE_TEST_NO_SKIP` set a skip is a failure. `FIELDGATE_TEST_SEED` repeats a run, and
//! `FIELDGATE_TEST_ROUNDS` sets how many rounds the random ones have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod bench;
mod cut;
#[path = "../common/directory.rs"]
mod directory;
mod kill;
mod mounts;
mod rot;
mod sync;
mod trouble;
mod writer;
