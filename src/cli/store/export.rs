//! `fieldgate store export`: a line a sample, as JSON or CSV.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

use super::super::file::count;
use super::super::show::utc_micros;
use super::super::{FAILED, GOOD};
use super::{Failure, complain, folder, holder, with_progress};
use crate::model::{Clock, Value};
use crate::store::clock_is_synchronised;
use crate::store::inspect::{Exported, Which};

/// The command line of `store export`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML)
    config: PathBuf,
    /// JSON, an object a line, or CSV
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Only what this publisher has still to get
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    publisher: Option<String>,
    /// All that is there, delivered or not
    #[arg(long)]
    all: bool,
    /// Into this file, not to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Csv,
}

/// A sample in JSON.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    time: &'a str,
    us: i64,
    value: Option<Shown<'a>>,
    quality: &'a str,
    synchronised: bool,
    seq: u64,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, Failure> {
    let (folder, _) = folder(&arguments.config)?;
    let which = match &arguments.publisher {
        Some(publisher) => Which::Of(publisher.clone()),
        None if arguments.all => Which::All,
        None => Which::Undelivered,
    };
    if let Some(holder) = holder(&folder) {
        eprintln!("the store is in use by {holder}: what is in its memory is not in the export");
    }
    // Stamps from before this boot's first synchronisation leave right, as the gateway would send them.
    let clock = Clock::system();
    clock.follow(clock_is_synchronised());
    let cannot = |error: io::Error| format!("{} cannot be written: {error}", shown(arguments));
    let mut out: Box<dyn Write> = match &arguments.out {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(cannot)?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    if arguments.format == Format::Csv {
        writeln!(out, "path,time,us,value,quality,synchronised").map_err(cannot)?;
    }
    let (mut samples, mut gone) = (0, false);
    let damage = with_progress(|progress| {
        let mut line = |exported: Exported<'_>| {
            samples += 1;
            put(&mut out, &exported, arguments.format).map_err(|error| {
                // Who reads may stop early: `| head` is no failure of ours to shout about.
                gone = error.kind() == ErrorKind::BrokenPipe;
                cannot(error)
            })
        };
        folder.export(&which, &clock, &mut line, progress)
    });
    let damage = match damage {
        Err(_) if gone => return Ok(FAILED),
        damage => damage?,
    };
    out.flush().map_err(cannot)?;
    complain(&damage);
    if arguments.out.is_some() {
        eprintln!("{}: {}", shown(arguments), count(samples, "sample"));
    }
    Ok(if damage.is_empty() { GOOD } else { FAILED })
}

fn shown(arguments: &Arguments) -> String {
    arguments.out.as_ref().map_or("standard output".into(), |path| path.display().to_string())
}

fn put(out: &mut dyn Write, exported: &Exported<'_>, format: Format) -> io::Result<()> {
    let Exported { seq, path, sample } = exported;
    let (time, quality) = (utc_micros(sample.at), sample.quality.to_string());
    let synchronised = sample.stamp.is_synchronised();
    let value = sample.value.as_ref();
    if format == Format::Csv {
        let value = value.map(Value::to_string).unwrap_or_default();
        let (path, value, quality) = (cell(path), cell(&value), cell(&quality));
        return writeln!(out, "{path},{time},{},{value},{quality},{synchronised}", sample.at.0);
    }
    let value = value.map(Shown);
    let line = Line { path, time: &time, us: sample.at.0, value, quality: &quality, synchronised, seq: *seq };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// A cell, in quotes where it needs them (RFC 4180).
fn cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// A value in JSON: numbers as they are, whole ones exact also beyond 2^53.
struct Shown<'a>(&'a Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(v) => to.serialize_bool(*v),
            Value::I8(v) => to.serialize_i8(*v),
            Value::U8(v) => to.serialize_u8(*v),
            Value::I16(v) => to.serialize_i16(*v),
            Value::U16(v) => to.serialize_u16(*v),
            Value::I32(v) => to.serialize_i32(*v),
            Value::U32(v) => to.serialize_u32(*v),
            Value::I64(v) => to.serialize_i64(*v),
            Value::U64(v) => to.serialize_u64(*v),
            Value::F32(v) => to.serialize_f32(*v),
            Value::F64(v) => to.serialize_f64(*v),
            Value::Text(v) => to.serialize_str(v),
            Value::Array(v) => v.serialize(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Sample, Stamp, TagId, Timestamp};

    #[test]
    fn a_line_holds_value_time_and_quality_in_either_format() {
        let at = Timestamp(1_795_000_000_123_456);
        let put = |value, format| {
            let sample = Sample { stamp: Stamp::Lapsed, ..Sample::good(TagId(0), value, at) };
            let mut out = Vec::new();
            super::put(&mut out, &Exported { seq: 7, path: "p,1/a", sample }, format).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            put(Value::F32(0.1), Format::Json),
            "{\"path\":\"p,1/a\",\"time\":\"2026-11-18T11:06:40.123456Z\",\"us\":1795000000123456,\
             \"value\":0.1,\"quality\":\"good\",\"synchronised\":false,\"seq\":7}\n"
        );
        assert_eq!(
            put(Value::Text("say \"a\",\nb".into()), Format::Csv),
            "\"p,1/a\",2026-11-18T11:06:40.123456Z,1795000000123456,\"say \"\"a\"\",\nb\",good,false\n"
        );
        assert!(put(Value::U64(u64::MAX), Format::Json).contains("\"value\":18446744073709551615,"));
        assert!(put(Value::F64(f64::NAN), Format::Json).contains("\"value\":null,"));
    }
}
