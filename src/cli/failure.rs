//! Why a command could not do what it was asked for, with its exit code.

use super::{FAILED, WRONG};

/// What went wrong, with the exit code; what was said already is empty.
pub(super) struct Failure(pub(super) u8, pub(super) String);

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure(FAILED, why)
    }
}

impl Failure {
    /// The command line or a file that it names is not right.
    pub(super) fn wrong(why: impl Into<String>) -> Failure {
        Failure(WRONG, why.into())
    }

    /// What is right, but cannot be done.
    pub(super) fn failed(why: impl Into<String>) -> Failure {
        Failure(FAILED, why.into())
    }
}

/// Says what went wrong, and gives the exit code.
pub(super) fn exit_code(done: Result<u8, Failure>) -> u8 {
    done.unwrap_or_else(|Failure(code, why)| {
        if !why.is_empty() {
            eprintln!("{why}");
        }
        code
    })
}
