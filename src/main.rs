//! Process start and exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    fieldgate::cli::main()
}
