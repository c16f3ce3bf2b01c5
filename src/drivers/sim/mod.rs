//! The example driver, and the only test double: registers in memory, faults on demand.

/// What a simulated link needs to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {}
