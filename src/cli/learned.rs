//! `fieldgate plan --learned`: what the gateway learned of its devices, and the lines that spare them the lesson.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::file::{compile_text, count};
use super::show::utc;
use super::{GOOD, WRONG};
use crate::config::Config;
use crate::drivers::LinkSpec;
use crate::drivers::modbus::address::{Address, Area};
use crate::drivers::modbus::config::ModbusDevice;
use crate::drivers::modbus::facts::{Facts, Known, Reason, Refusal};
use crate::drivers::modbus::holes::{Hole, joined};
use crate::model::{Spanned, Timestamp};
use crate::plan::GatewayPlan;
use crate::poll::LinkPlan;
use crate::store::learned;

pub(super) fn main(path: &Path, json: bool) -> u8 {
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("cannot read {name}: {error}");
            return WRONG;
        }
    };
    let mut compiled = compile_text(name.clone(), text.clone(), |_| {});
    let config = compiled.config.take();
    let (Some(plan), Some(config)) = (compiled.into_plan(), config) else { return WRONG };
    let found = plan.store.path.as_deref().map(learned::read).unwrap_or_default();
    let mut devices = of_the_file(&plan, &config, &found);
    let better = compile_text(name, text, |config| devices.iter().for_each(|d| d.adapt(config))).plan.ok();
    for device in &mut devices {
        device.with_lines = better.as_ref().map(|better| device.rate(better, None));
    }
    if json {
        let devices: Vec<_> = devices.iter().map(Learned::json).collect();
        println!("{}", serde_json::json!({ "devices": devices }));
    } else if !devices.is_empty() {
        devices.iter().for_each(|device| println!("{}", device.text()));
    } else if let Some(path) = &plan.store.path {
        println!("nothing is known yet: the gateway keeps what it learns of a device in {}", path.display());
    } else {
        println!("nothing is kept: the file has no `path` in `[store]`, so each start learns anew");
    }
    GOOD
}

/// One device of which something is known.
struct Learned {
    link: String,
    device: String,
    facts: Facts,
    /// The keys of its `[[device]]` that fit what is known; `None` where they fit already.
    holes: Option<Vec<Hole>>,
    max_registers: Option<u16>,
    max_bits: Option<u16>,
    /// Tags that the device refuses by themselves, each with its address.
    without: Vec<(String, String)>,
    /// Reads a second now, and with those lines.
    now: f64,
    with_lines: Option<f64>,
}

fn of_the_file(plan: &GatewayPlan, config: &Config, found: &BTreeMap<String, String>) -> Vec<Learned> {
    let mut devices = Vec::new();
    for link in &plan.links {
        for (at, device) in link.devices.iter().enumerate() {
            let (Some(spec), Some(text)) =
                (modbus(&link.spec, at), link.learned_as(at).and_then(|name| found.get(&name)))
            else {
                continue;
            };
            match Facts::read(text) {
                Ok(facts) if facts.unit == spec.unit => {
                    devices.push(Learned::new(plan, config, link, &device.name, spec, facts));
                }
                Ok(facts) => eprintln!(
                    "{}: what is known is of unit {}, not {}: left out",
                    device.name, facts.unit, spec.unit
                ),
                Err(why) => {
                    eprintln!("{}: what was learned cannot be read ({why}): left out", device.name);
                }
            }
        }
    }
    devices
}

/// A device as its driver has it.
fn modbus(spec: &LinkSpec, device: usize) -> Option<&ModbusDevice> {
    match spec {
        LinkSpec::ModbusTcp(spec) => spec.devices().get(device),
        LinkSpec::ModbusLine(spec) => spec.devices().get(device),
        LinkSpec::Sim(_) | LinkSpec::System(_) => None,
    }
}

impl Learned {
    fn new(
        plan: &GatewayPlan,
        config: &Config,
        link: &LinkPlan,
        device: &str,
        spec: &ModbusDevice,
        facts: Facts,
    ) -> Learned {
        let mut learned: Vec<Hole> = Vec::new();
        for (area, known) in facts.areas() {
            learned.extend(known.refused.iter().filter_map(|r| hole(area, known, r)));
        }
        let is_new = |hole: &Hole| {
            !spec.holes.iter().any(|h| h.area == hole.area && h.first <= hole.first && hole.last <= h.last)
        };
        let own = config.device.iter().map(Spanned::get_ref).find(|d| d.name.get_ref() == device);
        let holes = learned.iter().any(is_new).then(|| {
            // What the device's own key has stays in it; that of its profile is added anyway.
            let own = own.and_then(|d| d.holes.as_ref()).into_iter().flatten();
            learned.extend(own.filter_map(|text| Hole::parse(text.get_ref()).ok()));
            joined(learned)
        });
        let least = |areas: [Area; 2], most: u16| {
            let limits = areas.map(|area| facts.of(area).limit());
            limits.into_iter().flatten().min().filter(|limit| *limit < most)
        };
        let max_registers = least([Area::Input, Area::Holding], spec.max_registers);
        let max_bits = least([Area::Coil, Area::Discrete], spec.max_bits);
        let without = own.map(|own| {
            let tags = config.tags_of(own).into_iter();
            let refused = tags.filter_map(|(name, tag)| {
                let length = tag.length.as_ref().map_or(0, |l| *l.get_ref());
                let address = Address::parse(tag.at.get_ref(), *tag.kind.get_ref(), length).ok()?;
                let known = facts.of(address.area);
                let refusal = known.refusal_of(address.start, address.count())?;
                let path = format!("{device}/{}", name.get_ref());
                (refusal.reason(known.longest) == Reason::NoSuchValue)
                    .then(|| (path, tag.at.get_ref().clone()))
            });
            refused.collect()
        });
        let mut learned = Learned {
            link: link.name.clone(),
            device: device.to_owned(),
            facts,
            holes,
            max_registers,
            max_bits,
            without: without.unwrap_or_default(),
            now: 0.0,
            with_lines: None,
        };
        learned.now = learned.rate(plan, Some(&learned.facts));
        learned
    }

    /// Reads a second of this device in a plan, each block whole or as it is read by what is known.
    fn rate(&self, plan: &GatewayPlan, facts: Option<&Facts>) -> f64 {
        let Some(link) = plan.links.iter().find(|l| l.name == self.link) else { return 0.0 };
        let ours = |device: usize| link.devices.get(device).is_some_and(|d| d.name == self.device);
        let blocks = link.blocks.iter().filter(|b| ours(b.device));
        let reads = blocks.map(|b| {
            let reads = facts.map_or(1, |facts| match &link.spec {
                LinkSpec::ModbusTcp(spec) => spec.reads_of(b.block, facts),
                LinkSpec::ModbusLine(spec) => spec.reads_of(b.block, facts),
                LinkSpec::Sim(_) | LinkSpec::System(_) => 1,
            });
            reads as f64 / b.period.as_secs_f64().max(1e-6)
        });
        reads.sum()
    }

    /// The file's tables as if the lines were in them.
    fn adapt(&self, config: &mut Config) {
        let ours = config.device.iter_mut().map(Spanned::get_mut).find(|d| *d.name.get_ref() == self.device);
        let Some(device) = ours else { return };
        if let Some(holes) = &self.holes {
            device.holes = Some(holes.iter().map(|hole| Spanned::new(0..0, hole.to_string())).collect());
        }
        if let Some(most) = self.max_registers {
            device.max_registers = Some(Spanned::new(0..0, most));
        }
        if let Some(most) = self.max_bits {
            device.max_bits = Some(Spanned::new(0..0, most));
        }
    }

    fn lines(&self) -> Vec<String> {
        let quoted =
            |holes: &Vec<Hole>| holes.iter().map(|h| format!("\"{h}\"")).collect::<Vec<_>>().join(", ");
        let holes = self.holes.as_ref().map(|holes| format!("holes = [{}]", quoted(holes)));
        let most = self.max_registers.map(|most| format!("max-registers = {most}"));
        let bits = self.max_bits.map(|most| format!("max-bits = {most}"));
        holes.into_iter().chain(most).chain(bits).collect()
    }

    fn text(&self) -> String {
        let mut out = format!("{} on {}, unit {}\n", self.device, self.link, self.facts.unit);
        for (area, known) in self.facts.areas() {
            let what = if area.is_bits() { "bit" } else { "register" };
            if known.longest > 0 {
                let longest = count(usize::from(known.longest), what);
                let _ = writeln!(out, "  {:<9} longest read answered: {longest}", area.name());
            }
            for refusal in &known.refused {
                let _ = writeln!(out, "  {:<9} {}", area.name(), words(known, refusal));
            }
        }
        for (tag, at) in &self.without {
            let _ = writeln!(out, "  the tag `{tag}` ({at}) is refused: correct its address, or remove it");
        }
        let lines = self.lines();
        if lines.is_empty() {
            let _ = writeln!(out, "  nothing to add to its [[device]]");
            return out;
        }
        let _ = writeln!(out, "  to add to its [[device]]:");
        for line in lines {
            let _ = writeln!(out, "\n{line}");
        }
        match self.with_lines {
            Some(then) => {
                let _ = writeln!(
                    out,
                    "\n  with that {then:.2} reads a second instead of {:.2}, and none that is refused to find this out",
                    self.now
                );
            }
            None => {
                let _ =
                    writeln!(out, "\n  with that the file has mistakes: a value may be longer than one read");
            }
        }
        out
    }

    fn json(&self) -> serde_json::Value {
        let area = |(area, known): (Area, &Known)| {
            let refused: Vec<_> = known
                .refused
                .iter()
                .map(|r| {
                    serde_json::json!({
                        "start": r.start, "count": r.count, "exception": r.code, "since": utc(since(r)),
                        "reason": reason_name(r.reason(known.longest)),
                    })
                })
                .collect();
            let known = serde_json::json!({ "longest": known.longest, "refused": refused });
            (area.name().to_owned(), known)
        };
        let areas: serde_json::Map<_, _> = self.facts.areas().into_iter().map(area).collect();
        serde_json::json!({
            "device": self.device,
            "link": self.link,
            "unit": self.facts.unit,
            "areas": areas,
            "refused_tags": self.without.iter().map(|(tag, _)| tag).collect::<Vec<_>>(),
            "lines": self.lines(),
            "reads_per_second": self.now,
            "reads_per_second_with_lines": self.with_lines,
        })
    }
}

/// What is not there, where that is known to its place.
fn hole(area: Area, known: &Known, refusal: &Refusal) -> Option<Hole> {
    let (first, count) = match refusal.reason(known.longest) {
        Reason::NoSuchValue => (refusal.start, refusal.count),
        Reason::Gap(first, count) => (first, count),
        Reason::Seam(_) | Reason::TooLong => return None,
    };
    Some(Hole { area, first, last: first.checked_add(count.checked_sub(1)?)? })
}

fn words(known: &Known, refusal: &Refusal) -> String {
    let place = |first: u16, count: u16| match count {
        0 | 1 => first.to_string(),
        _ => format!("{first}..{}", u32::from(first) + u32::from(count) - 1),
    };
    let whole = place(refusal.start, refusal.count);
    let what = match refusal.reason(known.longest) {
        Reason::NoSuchValue => format!("refuses {whole}"),
        Reason::Gap(first, count) => {
            format!("refuses {whole}, but not what it has on both sides of {}", place(first, count))
        }
        Reason::Seam(at) => format!("refuses {whole}, but not what lies before and from {at} on"),
        Reason::TooLong => format!("refuses {whole}, but not its halves: too long"),
    };
    format!("{what} (exception {}, since {})", refusal.code, utc(since(refusal)))
}

fn since(refusal: &Refusal) -> Timestamp {
    Timestamp(refusal.at.saturating_mul(1_000_000))
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSuchValue => "no-such-value",
        Reason::Gap(..) => "gap",
        Reason::Seam(_) => "seam",
        Reason::TooLong => "too-long",
    }
}
