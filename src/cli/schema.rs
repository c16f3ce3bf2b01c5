//! `fieldgate schema`: a JSON Schema of the configuration file, for editors.

use std::io::Write;

use crate::config::schema;

use super::{FAILED, GOOD};

/// The command line.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of a profile file in place of the whole file
    #[arg(long)]
    profile: bool,
}

/// Prints the schema.
pub(super) fn main(arguments: &Arguments) -> u8 {
    let schema = if arguments.profile { schema::profile_schema() } else { schema::schema() };
    match writeln!(std::io::stdout(), "{:#}", schema.as_value()) {
        Ok(()) => GOOD,
        Err(error) => {
            eprintln!("the schema cannot be printed: {error}");
            FAILED
        }
    }
}
