//! A mistake in the configuration file: where, what is wrong, what to do.

use std::ops::Range;

/// One mistake; `plan` collects them all and shows them at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// A short, stable name to search the documentation for, as `unknown-link`.
    pub code: &'static str,
    /// Byte range in the file; empty at 0 where no place fits.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Mistake {
    /// A mistake at `span`.
    pub fn new(
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Mistake {
        Mistake { code, span, message: message.into(), help: help.into() }
    }
}
