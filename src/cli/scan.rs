//! `fieldgate scan`: which units answer on a host or a serial line, at which settings, and who they are.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use super::progress::Progress;
use super::run::block_on;
use super::show::say;
use super::target::host_and_port;
use super::wire::{Answer, Ask, Wire};
use super::{FAILED, GOOD, WRONG, show};
use crate::drivers::modbus::address::Area;
use crate::drivers::modbus::config::{Framing, Parity};
use crate::drivers::modbus::identify::{self, Category, Identity, Question};
use crate::model::Period;

/// The command line of `scan`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The units behind a host; asks one after the other, never writes
    Tcp {
        /// `HOST` or `HOST:PORT`; port 502 without
        host: String,
        /// Units to ask, as `1-10,247`
        #[arg(long, default_value = "1-247")]
        units: Units,
        /// What is said: tcp, or the frames of a serial line that the host passes through: rtu, ascii
        #[arg(long, default_value = "tcp", value_parser = framing)]
        framing: Framing,
        #[command(flatten)]
        common: Common,
    },
    /// The units on a serial line and its settings; asks one after the other, never writes
    Serial {
        /// The port, as /dev/ttyUSB0
        port: String,
        /// Units to ask, as `1-10,247`
        #[arg(long, default_value = "1-247")]
        units: Units,
        /// Speeds to try
        #[arg(long, value_delimiter = ',', default_value = "9600,19200,38400,57600,115200")]
        bauds: Vec<u32>,
        /// Parities to try
        #[arg(long, value_delimiter = ',', default_value = "none,even,odd", value_parser = parity)]
        parities: Vec<Parity>,
        /// Speak ASCII, with 7 data bits, instead of RTU
        #[arg(long)]
        ascii: bool,
        /// Go on with the other settings where units were found
        #[arg(long)]
        all_settings: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// How long to wait for each answer
    #[arg(long, default_value = "300ms")]
    timeout: Period,
    /// Ask units that are silent for an input register and a coil, too; takes three times as long
    #[arg(long)]
    thorough: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Units in order, each once.
#[derive(Debug, Clone, PartialEq)]
struct Units(BTreeSet<u8>);

impl FromStr for Units {
    type Err = String;

    fn from_str(text: &str) -> Result<Units, String> {
        let wrong = || format!("`{text}` are no units; write numbers from 0 to 255 as `1-10,247`");
        let number = |text: &str| text.trim().parse::<u8>().map_err(|_| wrong());
        let mut units = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            units.extend(first..=last);
        }
        Ok(Units(units))
    }
}

fn framing(text: &str) -> Result<Framing, String> {
    match text {
        "tcp" => Ok(Framing::Tcp),
        "rtu" => Ok(Framing::Rtu),
        "ascii" => Ok(Framing::Ascii),
        _ => Err("write tcp, rtu or ascii".into()),
    }
}

fn parity(text: &str) -> Result<Parity, String> {
    match text {
        "none" => Ok(Parity::None),
        "even" => Ok(Parity::Even),
        "odd" => Ok(Parity::Odd),
        _ => Err("write none, even or odd".into()),
    }
}

fn parity_name(parity: Parity) -> &'static str {
    match parity {
        Parity::None => "none",
        Parity::Even => "even",
        Parity::Odd => "odd",
    }
}

/// A unit that answers.
#[derive(Debug)]
struct Found {
    unit: u8,
    /// Speed and parity.
    serial: Option<(u32, Parity)>,
    /// `value`, or the exception.
    said: String,
    took: Duration,
    identity: Identity,
    server_id: Option<identify::ServerId>,
}

/// What the whole scan came to.
#[derive(Debug, Default)]
struct Report {
    found: Vec<Found>,
    hints: Vec<String>,
}

impl Report {
    /// What was found until here is told all the same.
    fn end_early(&mut self, error: String) -> Result<(), String> {
        if self.found.is_empty() {
            return Err(error);
        }
        self.hints.push(format!("the scan ended early: {error}"));
        Ok(())
    }
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let (units, common, serial) = match &arguments.what {
        What::Tcp { units, common, .. } => (units, common, false),
        What::Serial { units, common, .. } => (units, common, true),
    };
    let on_a_line =
        serial || matches!(&arguments.what, What::Tcp { framing, .. } if *framing != Framing::Tcp);
    if on_a_line && units.0.iter().any(|unit| !(1..=247).contains(unit)) {
        eprintln!("on a serial line units go from 1 to 247: 0 is for all at once, the rest is reserved");
        return WRONG;
    }
    if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&common.timeout.0) {
        eprintln!("--timeout cannot be {}; write 1ms to 60s", common.timeout);
        return WRONG;
    }
    let scanned = match &arguments.what {
        What::Tcp { host, framing, .. } => match host_and_port(host) {
            Ok((host, port)) => {
                block_on(async { Ok(tcp(&host, port.unwrap_or(502), *framing, units, common).await) })
            }
            Err(why) => {
                eprintln!("`{host}`: {why}; write HOST or HOST:PORT");
                return WRONG;
            }
        },
        What::Serial { port, bauds, parities, ascii, all_settings, .. } => {
            if let Some(baud) = bauds.iter().find(|baud| !(300..=4_000_000).contains(*baud)) {
                eprintln!("--bauds: {baud} is no speed; write 300 to 4000000");
                return WRONG;
            }
            let settings: Vec<_> =
                bauds.iter().flat_map(|baud| parities.iter().map(|parity| (*baud, *parity))).collect();
            let framing = if *ascii { Framing::Ascii } else { Framing::Rtu };
            block_on(async { Ok(lines(port, framing, &settings, *all_settings, units, common).await) })
        }
    };
    let report = match scanned {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => {
            eprintln!("{error}");
            return FAILED;
        }
        Err(error) => {
            eprintln!("cannot start: {error}");
            return FAILED;
        }
    };
    if common.json {
        let units: Vec<_> = report.found.iter().map(Found::json).collect();
        say(&serde_json::json!({ "units": units, "hints": report.hints }).to_string());
    } else {
        say(table(&report.found, serial).trim_end());
        report.hints.iter().for_each(|hint| eprintln!("{hint}"));
    }
    if report.found.is_empty() { FAILED } else { GOOD }
}

async fn tcp(
    host: &str,
    port: u16,
    framing: Framing,
    units: &Units,
    common: &Common,
) -> Result<Report, String> {
    let mut wire = Wire::tcp(host, port, framing).await?;
    let mut progress = Progress::new(units.0.len());
    let mut report = Report::default();
    let outcome = pass(&mut wire, units, common, None, &mut progress, &mut report).await;
    progress.end();
    if let Err(error) = outcome {
        report.end_early(error)?;
    } else if report.found.is_empty() {
        report.hints.push(format!(
            "{host}:{port} takes connections, and no unit answers: is it Modbus? try a longer --timeout, \
             --thorough, or --units 0,255"
        ));
    } else if units.0.len() >= 16 && report.found.len() == units.0.len() {
        report.hints.push("every unit answers: this device does not look at the unit number".into());
    }
    Ok(report)
}

async fn lines(
    port: &str,
    framing: Framing,
    settings: &[(u32, Parity)],
    all_settings: bool,
    units: &Units,
    common: &Common,
) -> Result<Report, String> {
    let mut progress = Progress::new(units.0.len() * settings.len());
    let mut report = Report::default();
    let mut noisy = Vec::new();
    for (baud, parity) in settings {
        progress.at(format!("{baud} {}", parity_name(*parity)));
        let outcome = match Wire::serial(port, *baud, *parity, framing) {
            Ok(mut wire) => {
                let serial = Some((*baud, *parity));
                let outcome = pass(&mut wire, units, common, serial, &mut progress, &mut report).await;
                if wire.noise > 0 {
                    noisy.push(format!("{baud} {}", parity_name(*parity)));
                }
                outcome
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            progress.end();
            report.end_early(error)?;
            return Ok(report);
        }
        if !report.found.is_empty() && !all_settings {
            break;
        }
    }
    progress.end();
    if !noisy.is_empty() {
        report.hints.push(format!(
            "bytes that are no Modbus frame came at {}: another speed or parity, a second master, or noise",
            noisy.join(", ")
        ));
    }
    if report.found.is_empty() {
        report.hints.push(
            "no unit answers: are A and B exchanged, is the device on, is the line terminated? try a longer \
             --timeout or other --bauds"
                .into(),
        );
    }
    Ok(report)
}

/// All units once, then those that seemed slow or were disturbed once more with more patience.
async fn pass(
    wire: &mut Wire,
    units: &Units,
    common: &Common,
    serial: Option<(u32, Parity)>,
    progress: &mut Progress,
    report: &mut Report,
) -> Result<(), String> {
    let patience = common.timeout.0;
    let mut again = BTreeSet::new();
    for unit in &units.0 {
        match there(wire, *unit, common.thorough, patience).await? {
            There::Yes(said, took) => {
                let found = who(wire, *unit, serial, said, took, patience).await;
                report.found.push(found);
            }
            There::Perhaps => drop(again.insert(*unit)),
            There::No => {}
        }
        progress.step(*unit, report.found.len());
    }
    wire.settle(patience).await;
    again.extend(wire.late.iter().copied().filter(|unit| units.0.contains(unit)));
    again.retain(|unit| !report.found.iter().any(|f| f.unit == *unit && f.serial == serial));
    for unit in again {
        wire.settle(patience).await;
        if let There::Yes(said, took) = there(wire, unit, common.thorough, patience * 4).await? {
            let found = who(wire, unit, serial, said, took, patience * 4).await;
            report.found.push(found);
            if took > patience {
                report
                    .hints
                    .push(format!("unit {unit} answers after {took:.0?}; give it a longer `timeout`"));
            }
        }
    }
    report.found.sort_by_key(|found| (found.serial.map(|(baud, _)| baud), found.unit));
    Ok(())
}

enum There {
    Yes(String, Duration),
    /// Something came that was no answer.
    Perhaps,
    No,
}

/// Asks for one register. An exception is an answer, too, unless it says that a gateway finds no such unit.
async fn there(wire: &mut Wire, unit: u8, thorough: bool, patience: Duration) -> Result<There, String> {
    let areas: &[Area] = if thorough { &[Area::Holding, Area::Input, Area::Coil] } else { &[Area::Holding] };
    let mut disturbed = false;
    for area in areas {
        let mut tries = 0;
        loop {
            tries += 1;
            match wire.ask(unit, Ask::First(*area), patience).await {
                // Section 7: 0x0A and 0x0B come from a gateway that has not reached the unit.
                Answer::Pdu(pdu, took) => match pdu.as_slice() {
                    [0x80..=0xFF, 0x0A | 0x0B] => return Ok(There::No),
                    [0x80..=0xFF, code] => return Ok(There::Yes(format!("exception {code}"), took)),
                    _ => return Ok(There::Yes("value".into(), took)),
                },
                Answer::Silence => break,
                // Some devices close the connection instead of saying that they have no such unit.
                Answer::Gone(_) | Answer::Garbled if tries < 2 => {}
                Answer::Gone(why) if why.starts_with("the connection") => break,
                Answer::Gone(why) => return Err(why),
                Answer::Garbled => {
                    disturbed = true;
                    break;
                }
            }
        }
    }
    Ok(if disturbed { There::Perhaps } else { There::No })
}

/// Asks who it is; who does not say is found all the same.
async fn who(
    wire: &mut Wire,
    unit: u8,
    serial: Option<(u32, Parity)>,
    said: String,
    took: Duration,
    patience: Duration,
) -> Found {
    // A device takes longer over a text than over a register.
    let patience = patience * 2;
    let mut identity = Identity::default();
    for category in [Category::Basic, Category::Regular] {
        if category == Category::Regular && identity.level < 2 {
            break;
        }
        let mut next = Some(0);
        while let Some(from) = next.take() {
            let answer = wire.ask(unit, Ask::Who(Question::Device(category, from)), patience).await;
            if let Answer::Pdu(pdu, _) = answer
                && let Ok(page) = identify::page(&pdu)
            {
                next = identity.add(from, page);
            }
        }
    }
    let server_id = match wire.ask(unit, Ask::Who(Question::ServerId), patience).await {
        Answer::Pdu(pdu, _) => identify::server_id(&pdu).ok(),
        _ => None,
    };
    Found { unit, serial, said, took, identity, server_id }
}

impl Found {
    /// The identification on one line.
    fn name(&self) -> String {
        let mut parts: Vec<String> = self
            .identity
            .objects
            .values()
            .filter(|t| !t.is_empty())
            .map(|t| show::clean(t).into_owned())
            .collect();
        if let Some(id) = &self.server_id {
            let text = id.text().unwrap_or_else(|| hex(&id.bytes));
            parts.push(format!("server id {}", show::clean(&text)));
        }
        parts.join(", ")
    }

    fn json(&self) -> serde_json::Value {
        let named = |(object, text): (&u8, &String)| {
            let name = identify::object_name(*object).map_or(format!("object-{object}"), str::to_owned);
            (name, text.clone())
        };
        let identity: BTreeMap<_, _> = self.identity.objects.iter().map(named).collect();
        serde_json::json!({
            "unit": self.unit,
            "baud": self.serial.map(|(baud, _)| baud),
            "parity": self.serial.map(|(_, parity)| parity_name(parity)),
            "said": self.said,
            "answer_seconds": self.took.as_secs_f64(),
            "identification": identity,
            "server_id": self.server_id.as_ref().map(|id| serde_json::json!({
                "bytes": hex(&id.bytes),
                "text": id.text(),
                "running": id.running(),
            })),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn table(found: &[Found], serial: bool) -> String {
    let mut rows = Vec::new();
    if !found.is_empty() {
        let mut head = vec!["unit", "said", "after", "identification"];
        if serial {
            head.splice(1..1, ["baud", "parity"]);
        }
        rows.push(head.into_iter().map(str::to_owned).collect());
    }
    for unit in found {
        let mut row = vec![
            unit.unit.to_string(),
            unit.said.clone(),
            format!("{:.1} ms", unit.took.as_secs_f64() * 1e3),
            unit.name(),
        ];
        if let Some((baud, parity)) = unit.serial {
            row.splice(1..1, [baud.to_string(), parity_name(parity).to_owned()]);
        }
        rows.push(row);
    }
    show::columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_numbers_and_ranges() {
        let units = |text: &str| text.parse::<Units>().map(|u| u.0.into_iter().collect::<Vec<_>>());
        assert_eq!(units("3,1-2, 247"), Ok(vec![1, 2, 3, 247]));
        for bad in ["", "1-", "5-1", "256", "a", "1--2", "-1"] {
            assert!(units(bad).is_err(), "{bad}");
        }
    }
}
