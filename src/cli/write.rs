//! `fieldgate write`: one value through the gate, with what was there before and what is there after.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::run::block_on;
use super::show::{self, say};
use super::{FAILED, GOOD, WRONG, field};
use crate::command::{Gate, Origin, Refusal, WriteRule};
use crate::model::{Array, Bad, Clock, DataType, Fault, Place, Quality, Raw, Sample, Tag, TagId, Value};
use crate::normalize::decode::decode;
use crate::normalize::encode::encode;
use crate::plan::GatewayPlan;
use crate::supervisor::Gateway;
use crate::telemetry::{self, Connection};

/// The command line of `write`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML)
    config: PathBuf,
    /// The tag, as `device/tag`; it needs `access = "read-write"` or `"write-only"`
    #[arg(value_name = "DEVICE/TAG")]
    tag: String,
    /// The value in engineering units; `true` or `false` for a bit
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let Some(plan) = field::open(&arguments.config, std::slice::from_ref(&arguments.tag), |_| {}) else {
        return WRONG;
    };
    let [tag] = plan.directory.tags() else {
        eprintln!("`{}` are several tags; one value goes to one tag", arguments.tag);
        return WRONG;
    };
    let tag = tag.clone();
    let value = match parse(&tag, &arguments.value) {
        Ok(value) => value,
        Err(error) => {
            eprintln!("{error}");
            return WRONG;
        }
    };
    telemetry::start_log("off", false);
    match block_on(async { Ok(write(plan, &tag, value).await) }) {
        Ok(done) => done.tell(&tag, arguments.json),
        Err(error) => {
            eprintln!("cannot start: {error}");
            FAILED
        }
    }
}

/// What came of it.
struct Done {
    before: Option<Sample>,
    after: Option<Sample>,
    /// Empty where all is well.
    trouble: String,
}

impl Done {
    fn failed(before: Option<Sample>, trouble: impl Into<String>) -> Done {
        Done { before, after: None, trouble: trouble.into() }
    }

    fn tell(&self, tag: &Tag, json: bool) -> u8 {
        let value = |sample: &Option<Sample>| sample.as_ref().and_then(|s| s.value.clone());
        if json {
            let trouble = Some(&self.trouble).filter(|trouble| !trouble.is_empty());
            say(&serde_json::json!({
                "tag": tag.path,
                "unit": tag.unit,
                "before": value(&self.before),
                "after": value(&self.after),
                "written": self.after.is_some(),
                "trouble": trouble,
            })
            .to_string());
        } else {
            let shown = |sample: &Sample| match &sample.value {
                Some(value) => {
                    let unit = tag.unit.as_deref().map_or(String::new(), |unit| format!(" {unit}"));
                    format!("{}{unit} ({})", show::value(Some(value)), sample.quality)
                }
                None => format!("unknown ({})", sample.quality),
            };
            if let Some(before) = &self.before {
                say(&format!("{} before: {}", tag.path, shown(before)));
            }
            if let Some(after) = &self.after {
                say(&format!("{} after:  {}", tag.path, shown(after)));
            }
        }
        if self.trouble.is_empty() {
            return GOOD;
        }
        eprintln!("{}", self.trouble);
        FAILED
    }
}

/// The value of that tag's type; a number that does not fit is the gate's to refuse.
fn parse(tag: &Tag, text: &str) -> Result<Value, String> {
    if let DataType::Array(of, length) = tag.kind {
        let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
        let elements: Vec<Value> =
            inner.split(',').map(|one| element(tag, *of, one.trim())).collect::<Result<_, _>>()?;
        if elements.len() != usize::from(length) {
            return Err(format!("{} is a {}; these are {} values", tag.path, tag.kind, elements.len()));
        }
        // Numbers are written as whole ones or as floats: the type of all is the tag's.
        let same = elements.iter().map_while(|one| one.coerce(*of));
        let array = Array::collect(*of, same).filter(|array| array.length() == elements.len());
        return match array {
            Some(array) => Ok(Value::Array(array)),
            None => Err(format!("{} is a {}; not all of `{text}` fit that type", tag.path, tag.kind)),
        };
    }
    element(tag, tag.kind, text)
}

fn element(tag: &Tag, kind: DataType, text: &str) -> Result<Value, String> {
    let wrong = |what: &str| Err(format!("{} is a {}; `{text}` is no {what}", tag.path, tag.kind));
    match kind {
        DataType::Text => Ok(Value::Text(text.into())),
        DataType::Bool => match text {
            "true" | "on" | "1" => Ok(Value::Bool(true)),
            "false" | "off" | "0" => Ok(Value::Bool(false)),
            _ => wrong("boolean: write true or false"),
        },
        _ => {
            if let Ok(whole) = text.parse::<i64>() {
                return Ok(Value::I64(whole));
            }
            if let Ok(whole) = text.parse::<u64>() {
                return Ok(Value::U64(whole));
            }
            match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::F64(number)),
                _ => wrong("number"),
            }
        }
    }
}

/// What the gate would say to it, before anything is opened.
async fn refused_at_once(tag: &Tag, value: &Value, origin: &Origin) -> Option<Refusal> {
    let (mailbox, _) = tokio::sync::mpsc::channel(1);
    let rule = WriteRule {
        path: tag.path.clone(),
        kind: tag.kind,
        access: tag.access,
        low: tag.low,
        high: tag.high,
        mailbox,
    };
    let gate = Gate::default();
    gate.load(HashMap::from([(tag.id, rule)]));
    // No link is behind this gate: who comes as far has passed it.
    gate.write(tag.id, value.clone(), origin).await.err().filter(|refusal| *refusal != Refusal::LinkDown)
}

async fn write(plan: GatewayPlan, tag: &Tag, value: Value) -> Done {
    let who = std::env::var("USER").unwrap_or_default();
    let origin = Origin { publisher: "command-line".into(), who };
    if let Some(refusal) = refused_at_once(tag, &value, &origin).await {
        return Done::failed(None, why(refusal, tag, false));
    }
    let expected = taken(&plan, tag.id, &value);
    let task = plan.links.iter().find_map(|link| link.writes.get(&tag.id));
    let is_part = task.is_some_and(|t| matches!(t.place, Place::WordBit { .. } | Place::HalfWord { .. }));
    let gateway = Gateway::start(plan, Clock::system()).await;
    let done = through(&gateway, tag, value, expected, is_part, &origin).await;
    gateway.stop().await;
    done
}

/// What the registers hold after the write: rounded to a step of the scale, as a single float.
fn taken(plan: &GatewayPlan, tag: TagId, value: &Value) -> Option<Value> {
    let task = plan.links.iter().find_map(|link| link.writes.get(&tag))?;
    let mut raw = Raw::default();
    encode(&task.rule, task.place, value, &mut raw).ok()?;
    decode(&task.rule, task.place, &raw, None).ok()
}

async fn through(
    gateway: &Gateway,
    tag: &Tag,
    value: Value,
    expected: Option<Value>,
    is_part: bool,
    origin: &Origin,
) -> Done {
    let Some(before) = first(gateway, tag.id).await else {
        return Done::failed(None, "the tag could not be read within 30 s; nothing was written");
    };
    // A register that only takes values refuses to be read; it may be written all the same.
    let unreachable = matches!(
        before.quality,
        Quality::Bad(Bad::NotConnected | Bad::NoAnswer | Bad::Stopped | Bad::Waiting | Bad::Garbled)
    );
    if unreachable {
        let down = gateway.telemetry().links().into_iter().find(|l| l.state.get() == Connection::Down);
        let trouble = match down {
            Some(link) => link.state.trouble(),
            None => format!("{}: {}", before.quality, show::advice(before.quality)),
        };
        return Done::failed(Some(before), format!("{}; nothing was written", show::clean(&trouble)));
    }
    match gateway.gate().write(tag.id, value, origin).await {
        // What it holds instead is seen below.
        Ok(()) | Err(Refusal::Fault(Fault::Altered)) => {}
        Err(refusal) => return Done::failed(Some(before), why(refusal, tag, is_part)),
    }
    let after = gateway.store().latest(tag.id);
    let read_back = after.as_ref().and_then(|sample| sample.value.as_ref());
    let trouble = match (read_back, expected) {
        (Some(got), Some(expected)) if *got != expected => format!(
            "the device answered that it took {expected}, and holds {}: does it limit the value, or does \
             something else write it?",
            show::value(Some(got))
        ),
        _ => String::new(),
    };
    Done { before: Some(before), after, trouble }
}

/// The tag as it is read first.
async fn first(gateway: &Gateway, tag: TagId) -> Option<Sample> {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if let Some(sample) = gateway.store().latest(tag) {
            return Some(sample);
        }
        sleep(Duration::from_millis(10)).await;
    }
    None
}

/// A refusal with what to do.
fn why(refusal: Refusal, tag: &Tag, is_part: bool) -> String {
    let help = match refusal {
        Refusal::ReadOnly => {
            "where it is meant to be written, give it `access = \"read-write\"`".to_owned()
        }
        Refusal::OutOfRange => {
            let limit = |limit: Option<f64>| limit.map_or("none".into(), |limit| limit.to_string());
            format!("low is {}, high {}, the type {}", limit(tag.low), limit(tag.high), tag.kind)
        }
        // Of the functions that write, those for a part of a register are the ones that a device may lack.
        Refusal::Fault(Fault::Refused(1)) if is_part => {
            "the device does not know function 22; `bit-write = \"read-modify-write\"` does without, where nothing \
             else writes that register"
                .to_owned()
        }
        Refusal::Fault(Fault::Refused(1)) => "the device does not know the function: try another `write`".to_owned(),
        Refusal::Fault(Fault::Refused(code)) => show::exception(code).to_owned(),
        Refusal::Fault(_) => "whether it took effect is not known: read it".to_owned(),
        _ => String::new(),
    };
    let what = format!("{}: {refusal}", tag.path);
    if help.is_empty() { what } else { format!("{what}; {help}") }
}
