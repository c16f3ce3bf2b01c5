//! Process start and exit code.
fn main() {}
