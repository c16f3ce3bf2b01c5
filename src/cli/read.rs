//! `fieldgate read`: tags once, by the rules of a file or of an address line, without a gateway.

use std::path::PathBuf;

use toml::{Table, Value};

use super::once::{Reading, read_all};
use super::run::block_on;
use super::show::say;
use super::target::{Target, is_target};
use super::{FAILED, GOOD, WRONG, field, show};
use crate::drivers::modbus::address::Address;
use crate::model::data_type::NoType;
use crate::model::{Bad, Clock, DataType, Directory, Quality};
use crate::plan::GatewayPlan;

/// The command line of `read`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A configuration file, or the address of a register: `modbus-tcp://HOST[:PORT]/UNIT/ADDRESS`,
    /// `modbus-rtu:///dev/ttyUSB0/UNIT/ADDRESS?baud=19200&parity=even`; behind `?` stands any key of the
    /// link's table
    source: String,
    /// With a file: tags as `device/tag`, or patterns as `pump-1/*`; all without
    #[arg(value_name = "DEVICE/TAG")]
    tags: Vec<String>,
    /// Show the registers in hexadecimal, too
    #[arg(long)]
    raw: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
    /// With an address: the type (bool, i8, u8, i16, u16, i32, u32, i64, u64, f32, f64, string)
    #[arg(long = "type", value_name = "TYPE", help_heading = "With an address")]
    kind: Option<String>,
    /// The order of the bytes: abcd, badc, cdab or dcba
    #[arg(long, help_heading = "With an address")]
    order: Option<String>,
    /// Bytes of a string
    #[arg(long, help_heading = "With an address")]
    length: Option<u16>,
    /// Value = raw × scale + offset
    #[arg(long, allow_negative_numbers = true, help_heading = "With an address")]
    scale: Option<f64>,
    /// See `--scale`
    #[arg(long, allow_negative_numbers = true, help_heading = "With an address")]
    offset: Option<f64>,
    /// So many values, one after the other
    #[arg(long, help_heading = "With an address")]
    count: Option<u16>,
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let at_address = is_target(&arguments.source);
    let plan = if at_address {
        addressed(arguments).map_err(|error| eprintln!("{error}")).ok()
    } else {
        if arguments.is_about_an_address() {
            eprintln!(
                "--type, --order, --length, --scale, --offset and --count go with an address; a file has its own"
            );
            return WRONG;
        }
        field::open(&PathBuf::from(&arguments.source), &arguments.tags, |_| {})
    };
    let Some(plan) = plan else { return WRONG };
    if plan.directory.tags().is_empty() {
        eprintln!("{}: there is no tag to read", arguments.source);
        return WRONG;
    }
    let clock = Clock::system();
    let (readings, troubles) = match block_on(async { Ok(read_all(&plan, &clock).await) }) {
        Ok(read) => read,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return FAILED;
        }
    };
    if arguments.json {
        let readings: Vec<_> = readings.iter().map(|r| json(r, &plan.directory, at_address)).collect();
        say(&serde_json::json!({ "tags": readings, "troubles": troubles }).to_string());
    } else {
        say(table(&readings, &plan.directory, at_address, arguments.raw).trim_end());
        troubles.iter().for_each(|trouble| eprintln!("{trouble}"));
        let mut said = Vec::new();
        for reading in &readings {
            let advice = show::advice(reading.quality);
            if !advice.is_empty() && !said.contains(&reading.quality) {
                eprintln!("{}: {advice}", reading.quality);
                said.push(reading.quality);
            }
        }
    }
    // That a tag cannot be read is no failure among others that can.
    let never = |r: &&Reading| r.quality == Quality::Bad(Bad::NeverRead);
    let failed = readings.iter().any(|r| r.value.is_none() && !never(&r));
    if failed || readings.iter().all(|r| never(&r)) { FAILED } else { GOOD }
}

impl Arguments {
    fn is_about_an_address(&self) -> bool {
        self.kind.is_some()
            || self.order.is_some()
            || self.length.is_some()
            || self.scale.is_some()
            || self.offset.is_some()
            || self.count.is_some()
    }
}

/// Most values that one address line may ask for.
const MOST_VALUES: u16 = 1000;

/// The plan of an address line.
fn addressed(arguments: &Arguments) -> Result<GatewayPlan, String> {
    if let Some(tag) = arguments.tags.first() {
        return Err(format!("`{tag}`: an address is one line; tags go with a configuration file"));
    }
    let target: Target = arguments.source.parse()?;
    let is_bit =
        |at: &str| ["coil", "discrete"].iter().any(|area| at.starts_with(area)) || at.starts_with(['0', '1']);
    let usual = if is_bit(&target.at) { "bool" } else { "u16" };
    let kind_name = arguments.kind.as_deref().unwrap_or(usual);
    let count = arguments.count.unwrap_or(1);
    if !(1..=MOST_VALUES).contains(&count) {
        return Err(format!("--count cannot be {count}; write 1 to {MOST_VALUES}"));
    }
    let kind: DataType = kind_name.parse().map_err(|error: NoType| error.to_string())?;
    let mut tags = Table::new();
    let first = Address::parse(&target.at, kind, arguments.length.unwrap_or(0))
        .map_err(|error| format!("{}; {}", error.message, error.help))?;
    for at in 0..count {
        // A bit or a byte of a register is followed by the same one of the next register.
        let start = u32::from(first.start) + u32::from(at) * u32::from(first.count());
        let suffix = target.at.split_once('.').map_or(String::new(), |(_, part)| format!(".{part}"));
        let address = format!("{}:{start}{suffix}", first.area.name());
        let mut tag = Table::new();
        tag.insert("at".into(), Value::String(address.clone()));
        tag.insert("description".into(), Value::String(address));
        tag.insert("type".into(), Value::String(kind.to_string()));
        if let Some(order) = &arguments.order {
            tag.insert("order".into(), Value::String(order.clone()));
        }
        if let Some(length) = arguments.length {
            tag.insert("length".into(), Value::Integer(length.into()));
        }
        for (key, value) in [("scale", arguments.scale), ("offset", arguments.offset)] {
            if let Some(value) = value {
                tag.insert(key.into(), Value::Float(value));
            }
        }
        // Tags are in the order of their names.
        tags.insert(format!("{}:{start:05}{suffix}", first.area.name()), Value::Table(tag));
    }
    field::compile_own(&target.file(tags, Table::new()))
}

/// The path; of an address line's tag, whose path is made up, the address.
fn name(reading: &Reading, directory: &Directory, at_address: bool) -> String {
    let tag = directory.tag(reading.tag);
    let address = tag.filter(|_| at_address).and_then(|tag| tag.description.clone());
    address.or(tag.map(|tag| tag.path.clone())).unwrap_or_default().to_string()
}

fn table(readings: &[Reading], directory: &Directory, at_address: bool, raw: bool) -> String {
    let row = |reading: &Reading| {
        let unit = directory.tag(reading.tag).and_then(|tag| tag.unit.clone());
        let mut row = vec![
            name(reading, directory, at_address),
            show::value(reading.value.as_ref()),
            unit.unwrap_or_default().to_string(),
            reading.quality.to_string(),
            show::utc(reading.at),
        ];
        if raw {
            row.push(hex(&reading.words).join(" "));
        }
        row
    };
    show::columns(&readings.iter().map(row).collect::<Vec<_>>())
}

fn hex(words: &[u16]) -> Vec<String> {
    words.iter().map(|word| format!("{word:04x}")).collect()
}

fn json(reading: &Reading, directory: &Directory, at_address: bool) -> serde_json::Value {
    serde_json::json!({
        "tag": name(reading, directory, at_address),
        "value": reading.value,
        "unit": directory.tag(reading.tag).and_then(|tag| tag.unit.clone()),
        "quality": reading.quality.to_string(),
        "time": reading.at.millis(),
        "registers": hex(&reading.words),
    })
}
