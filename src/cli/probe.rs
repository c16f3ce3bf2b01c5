//! `fieldgate probe`: what registers mean, from a value that somebody reads on the device's display.

use std::str::FromStr;

use toml::{Table, Value};

use super::explain::{Candidate, Expected, Window, explain, order_name};
use super::once::read_all;
use super::run::block_on;
use super::show::say;
use super::target::Target;
use super::{FAILED, GOOD, WRONG, field, show};
use crate::drivers::modbus::address::{Address, Area};
use crate::model::{Bad, Clock, Quality};

/// The command line of `probe`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the value should be: `modbus-tcp://HOST[:PORT]/UNIT/ADDRESS`,
    /// `modbus-rtu:///dev/ttyUSB0/UNIT/ADDRESS?baud=19200&parity=even`
    address: String,
    /// The value as the device itself shows it
    #[arg(long, allow_negative_numbers = true)]
    expect: f64,
    /// How far a value may be from it: `2%`, or in its own unit, as `0.5`
    #[arg(long, default_value = "2%")]
    tolerance: Tolerance,
    /// How many ways to show
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
enum Tolerance {
    Percent(f64),
    Absolute(f64),
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Tolerance, String> {
        let number = text.strip_suffix('%').unwrap_or(text);
        match number.trim().parse::<f64>() {
            Ok(n) if n >= 0.0 && n.is_finite() => {
                Ok(if number.len() < text.len() { Tolerance::Percent(n) } else { Tolerance::Absolute(n) })
            }
            _ => Err("write a percentage as `2%`, or a number as `0.5`".into()),
        }
    }
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let (target, asked) = match understand(arguments) {
        Ok(understood) => understood,
        Err(error) => {
            eprintln!("{error}");
            return WRONG;
        }
    };
    let windows = match block_on(async { Ok(windows(&target, asked).await) }) {
        Ok(Ok(windows)) => windows,
        Ok(Err((error, code))) => {
            eprintln!("{error}");
            return code;
        }
        Err(error) => {
            eprintln!("cannot start: {error}");
            return FAILED;
        }
    };
    let value = arguments.expect;
    let tolerance = match arguments.tolerance {
        Tolerance::Percent(percent) => value.abs() * percent / 100.0,
        Tolerance::Absolute(units) => units,
    };
    let found = explain(asked, &windows, Expected { value, tolerance });
    if arguments.json {
        let candidates: Vec<_> = found.iter().take(arguments.top).map(|c| json(c, asked)).collect();
        let registers: Vec<_> = windows.iter().map(window_json).collect();
        say(&serde_json::json!({ "registers": registers, "candidates": candidates }).to_string());
    } else {
        windows.iter().for_each(|window| say(&window_line(window)));
        let row = |(at, c): (usize, &Candidate)| {
            vec![format!("{:>2}", at + 1), c.shown.clone(), c.keys(), c.note(asked)]
        };
        let rows: Vec<_> = found.iter().take(arguments.top).enumerate().map(row).collect();
        say(show::columns(&rows).trim_end());
        if found.len() > arguments.top {
            say(&format!("and {} more; see --top, or narrow the --tolerance", found.len() - arguments.top));
        }
        if value == 0.0 {
            eprintln!("empty registers explain a zero, too; probe again when the value is another one");
        }
    }
    if !found.is_empty() {
        return GOOD;
    }
    eprintln!(
        "nothing explains {value} here: try a wider --tolerance, another address, and look whether the value \
         has changed meanwhile"
    );
    FAILED
}

fn understand(arguments: &Arguments) -> Result<(Target, (Area, u16)), String> {
    if !arguments.expect.is_finite() {
        return Err("--expect needs a number".into());
    }
    let target: Target = arguments.address.parse()?;
    let asked = Address::parse_start(&target.at).map_err(|e| format!("{}; {}", e.message, e.help))?;
    if asked.0.is_bits() {
        return Err(format!("`{}` is one bit; a number lies in holding or input registers", target.at));
    }
    Ok((target, asked))
}

/// The registers around the address, in its own table and in the other one.
async fn windows(target: &Target, asked: (Area, u16)) -> Result<Vec<Window>, (String, u8)> {
    let other = if asked.0 == Area::Holding { Area::Input } else { Area::Holding };
    let mut windows = Vec::new();
    let mut troubles = Vec::new();
    for area in [asked.0, other] {
        // From the one before to the last one of four registers from the next one on.
        let (first, last) = (asked.1.saturating_sub(1), asked.1.saturating_add(4));
        let (mut words, mut qualities, mut trouble) = read(target, area, first, last, 125).await?;
        // A map with holes: one by one.
        if qualities.iter().any(|q| matches!(q, Quality::Bad(Bad::Refused(2 | 3)))) {
            (words, qualities, trouble) = read(target, area, first, last, 1).await?;
        }
        troubles.extend(trouble);
        if words.iter().any(Option::is_some) {
            windows.push(Window { area, start: first, words });
        } else if let Some(quality) = qualities.first() {
            troubles.push(format!("{}: {quality}: {}", area.name(), show::advice(*quality)));
            if *quality == Quality::Bad(Bad::NotConnected) {
                break;
            }
        }
    }
    if windows.is_empty() { Err((troubles.join("\n"), FAILED)) } else { Ok(windows) }
}

type Registers = (Vec<Option<u16>>, Vec<Quality>, Vec<String>);

/// Registers `first` to `last`, at most so many in one request.
async fn read(
    target: &Target,
    area: Area,
    first: u16,
    last: u16,
    most: u8,
) -> Result<Registers, (String, u8)> {
    let tag = |register: u16| {
        let keys = [("at", format!("{}:{register}", area.name())), ("type", "u16".into())];
        let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value)));
        (format!("{register:05}"), Value::Table(keys.collect()))
    };
    let limit = Table::from_iter([("max-registers".to_owned(), Value::Integer(most.into()))]);
    let file = target.file((first..=last).map(tag).collect(), limit);
    let plan = field::compile_own(&file).map_err(|error| (error, WRONG))?;
    let (readings, troubles) = read_all(&plan, &Clock::system()).await;
    let words = readings.iter().map(|r| r.words.first().copied()).collect();
    Ok((words, readings.iter().map(|r| r.quality).collect(), troubles))
}

fn hex(word: Option<u16>) -> String {
    word.map_or("----".into(), |word| format!("{word:04x}"))
}

fn window_line(window: &Window) -> String {
    let words: Vec<_> = window.words.iter().map(|word| hex(*word)).collect();
    format!("{} from {}: {}", window.area.name(), window.start, words.join(" "))
}

fn window_json(window: &Window) -> serde_json::Value {
    serde_json::json!({ "area": window.area.name(), "start": window.start, "words": window.words })
}

fn json(candidate: &Candidate, asked: (Area, u16)) -> serde_json::Value {
    serde_json::json!({
        "at": format!("{}:{}", candidate.area.name(), candidate.start),
        "type": candidate.kind,
        "or_type": candidate.twin,
        "order": order_name(candidate.order),
        "scale": candidate.scale,
        "value": candidate.value,
        "as_asked": (candidate.area, candidate.start) == asked,
    })
}
