//! `fieldgate plan`: what each link will do, and how long it takes, before a byte is sent.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::file::{compile, count};
use super::{FileArguments, GOOD, WRONG};
use crate::plan::GatewayPlan;
use crate::poll::LinkPlan;
use crate::poll::forecast::{Forecast, forecast};

/// Devices told one by one in the worst case with one dead.
const MOST_DEVICES: usize = 64;

/// The command line of `plan`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: FileArguments,
    /// What the gateway learned of its devices (refused registers, longest read), with the lines for the file
    #[arg(long)]
    learned: bool,
}

pub(super) fn main(Arguments { file: arguments, learned }: &Arguments) -> u8 {
    if *learned {
        return super::learned::main(&arguments.config, arguments.json);
    }
    let plan = match compile(&arguments.config) {
        Ok(compiled) => compiled.into_plan(),
        Err(error) => {
            eprintln!("{error}");
            None
        }
    };
    let Some(plan) = plan else { return WRONG };
    let reports: Vec<_> = own_links(&plan).map(Report::new).collect();
    if arguments.json {
        let links: Vec<_> = reports.iter().map(Report::json).collect();
        println!("{}", serde_json::json!({ "links": links }));
    } else {
        for report in &reports {
            println!("{}", report.text(&plan));
        }
    }
    GOOD
}

/// The links of the file; the gateway's own has no line to load.
fn own_links(plan: &GatewayPlan) -> impl Iterator<Item = &LinkPlan> {
    let is_node =
        |link: &LinkPlan| link.devices.iter().any(|d| plan.directory.device(d.id).is_some_and(|d| d.is_node));
    plan.links.iter().filter(move |link| !is_node(link))
}

struct Report<'a> {
    link: &'a LinkPlan,
    good: Forecast,
    /// The worst of all choices of one dead device, and of two.
    dead: Vec<(Vec<usize>, Forecast)>,
}

impl<'a> Report<'a> {
    fn new(link: &'a LinkPlan) -> Report<'a> {
        // Who is only written to is not missed.
        let is_read = |device: &usize| link.blocks.iter().any(|block| block.device == *device);
        let devices = (0..link.devices.len()).filter(is_read).take(MOST_DEVICES);
        let mut dead: Vec<(Vec<usize>, Forecast)> = Vec::new();
        let worst = |choices: Vec<Vec<usize>>| {
            let run = choices.into_iter().map(|choice| (forecast(link, &choice), choice));
            run.max_by(|(a, _), (b, _)| lateness(link, a).total_cmp(&lateness(link, b)))
        };
        if link.devices.len() > 1
            && let Some((forecast, one)) = worst(devices.clone().map(|d| vec![d]).collect())
        {
            let first = one.first().copied().unwrap_or(0);
            dead.push((one, forecast));
            let two = devices.filter(|d| *d != first).map(|d| vec![first, d]).collect();
            dead.extend(worst(two).map(|(forecast, two)| (two, forecast)));
        }
        Report { link, good: forecast(link, &[]), dead }
    }

    fn text(&self, plan: &GatewayPlan) -> String {
        let mut out = String::new();
        let load = self.link.wanted_load();
        let bar = "#".repeat((load.min(1.0) * 40.0).round() as usize);
        let of = match self.link.lanes() {
            1 => "its time".into(),
            lanes => format!("the time of its {lanes} connections"),
        };
        let _ = writeln!(out, "link {}  {:.1} % of {of}  [{bar:<40}]", self.link.name, load * 100.0);
        let _ = writeln!(
            out,
            "  {:<20} {:<22} {:>9} {:>9} {:>7} {:>5}",
            "device", "block", "every", "takes", "load", "tags"
        );
        for (block, real) in self.link.blocks.iter().zip(&self.good.periods) {
            let device = self.link.devices.get(block.device).map_or("", |d| d.name.as_str());
            let share = block.cost.as_secs_f64() / block.period.as_secs_f64().max(1e-6) * 100.0;
            let _ = write!(
                out,
                "  {device:<20} {:<22} {:>9} {:>9} {share:>5.1} % {:>5}",
                block.label,
                ms(block.period),
                ms(block.cost),
                block.rules.len()
            );
            match real {
                Some(real) if *real > block.period.mul_f64(1.05) => {
                    let _ = writeln!(out, "  really every {}", ms(*real));
                }
                _ => out.push('\n'),
            }
        }
        for (period, real) in classes(self.link, &self.good) {
            let held = if real > period.mul_f64(1.05) { "NOT held" } else { "held" };
            let name = plan.classes.iter().find(|(_, p)| *p == period).map_or("", |(name, _)| name.as_str());
            let _ = writeln!(
                out,
                "  scan class {name} {}: {held}, the slowest block every {}",
                ms(period),
                ms(real)
            );
        }
        for (dead, forecast) in &self.dead {
            let names: Vec<_> =
                dead.iter().filter_map(|d| self.link.devices.get(*d)).map(|d| d.name.as_str()).collect();
            let slowest: Vec<_> = classes(self.link, forecast)
                .into_iter()
                .map(|(period, real)| format!("{} every {}", ms(period), ms(real)))
                .collect();
            let _ = writeln!(
                out,
                "  with {} dead ({}): {:.1} % of its time; {}",
                count(dead.len(), "device"),
                names.join(", "),
                forecast.load * 100.0,
                slowest.join(", ")
            );
        }
        let _ = writeln!(
            out,
            "  one second of the link, a letter a device:\n  |{}|",
            timeline(self.link, &self.good)
        );
        out
    }

    fn json(&self) -> serde_json::Value {
        let seconds = |d: Duration| d.as_secs_f64();
        let blocks: Vec<_> = self
            .link
            .blocks
            .iter()
            .zip(&self.good.periods)
            .map(|(block, real)| {
                serde_json::json!({
                    "device": self.link.devices.get(block.device).map(|d| &d.name),
                    "block": block.label,
                    "tags": block.rules.len(),
                    "period_seconds": seconds(block.period),
                    "real_period_seconds": real.map(seconds),
                    "read_seconds": seconds(block.cost),
                })
            })
            .collect();
        let dead: Vec<_> = self.dead.iter().map(|(dead, forecast)| serde_json::json!({
            "devices": dead.iter().filter_map(|d| self.link.devices.get(*d)).map(|d| &d.name).collect::<Vec<_>>(),
            "load": forecast.load,
            "classes": classes_json(self.link, forecast),
        })).collect();
        serde_json::json!({
            "link": self.link.name,
            "load": self.link.wanted_load(),
            "connections": self.link.lanes(),
            "blocks": blocks,
            "classes": classes_json(self.link, &self.good),
            "dead": dead,
        })
    }
}

/// Each period asked for, with that of its slowest block that is read at all.
fn classes(link: &LinkPlan, forecast: &Forecast) -> BTreeMap<Duration, Duration> {
    let mut classes = BTreeMap::new();
    for (block, real) in link.blocks.iter().zip(&forecast.periods) {
        if let Some(real) = real {
            let slowest = classes.entry(block.period).or_insert(*real);
            *slowest = (*slowest).max(*real);
        }
    }
    classes
}

fn classes_json(link: &LinkPlan, forecast: &Forecast) -> Vec<serde_json::Value> {
    let json = |(period, real): (Duration, Duration)| serde_json::json!({ "period_seconds": period.as_secs_f64(), "real_period_seconds": real.as_secs_f64() });
    classes(link, forecast).into_iter().map(json).collect()
}

/// How much later than asked for the blocks are read, in the mean.
fn lateness(link: &LinkPlan, forecast: &Forecast) -> f64 {
    let ratios: Vec<f64> = link
        .blocks
        .iter()
        .zip(&forecast.periods)
        .filter_map(|(block, real)| Some((*real)?.as_secs_f64() / block.period.as_secs_f64().max(1e-6)))
        .collect();
    ratios.iter().sum::<f64>() / (ratios.len().max(1) as f64) + forecast.load * 1e-3
}

/// One second of the link in cells of ten milliseconds.
fn timeline(link: &LinkPlan, forecast: &Forecast) -> String {
    let mut cells = vec!['.'; 100];
    for (block, start, took) in &forecast.second {
        let device = link.blocks.get(*block).map_or(0, |b| b.device);
        let letter = char::from(b'A' + u8::try_from(device % 26).unwrap_or(0));
        let (from, to) = (start.as_millis() as usize / 10, (*start + *took).as_millis() as usize / 10);
        cells.iter_mut().take(to + 1).skip(from).for_each(|cell| *cell = letter);
    }
    cells.into_iter().collect()
}

fn ms(period: Duration) -> String {
    let ms = period.as_secs_f64() * 1e3;
    if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{:.2} s", ms / 1e3) }
}
