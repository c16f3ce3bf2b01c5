//! `fieldgate tags`: tag lists out of a configuration file as CSV, and into one as TOML.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::file::{compile, count};
use super::{FAILED, GOOD, WRONG};
use crate::config::tag_list::{self, Row};
use crate::config::{Config, Sources, closest};
use crate::plan::diagnostic::{Severity, render};

/// The command line of `tags`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    way: Way,
}

#[derive(Debug, Subcommand)]
enum Way {
    /// Print the tags of a configuration file as CSV, those of its profiles and lists included
    Export {
        /// The configuration file (TOML)
        config: PathBuf,
        /// Only this device
        #[arg(long)]
        device: Option<String>,
    },
    /// Print the tags of a CSV file as TOML, to paste below a [[device]] or as a profile
    Import {
        /// The tag list (CSV)
        list: PathBuf,
        /// Only the rows of this device
        #[arg(long)]
        device: Option<String>,
        /// Print a [profile.NAME] instead of [device.tag]
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
    },
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let text = match &arguments.way {
        Way::Export { config, device } => export(config, device.as_deref()),
        Way::Import { list, device, profile } => import(list, device.as_deref(), profile.as_deref()),
    };
    match text {
        // Who reads may stop early: `| head` is no failure of ours to shout about.
        Ok(text) => std::io::stdout().write_all(text.as_bytes()).map_or(FAILED, |()| GOOD),
        Err(error) => {
            eprintln!("{error}");
            WRONG
        }
    }
}

fn export(path: &Path, only: Option<&str>) -> Result<String, String> {
    let compiled = compile(path)?;
    let config = compiled.config.clone();
    let name = compiled.name.clone();
    let plan = compiled.into_plan();
    let (Some(config), Some(_)) = (config, plan) else {
        return Err(format!("{name}: no list of a wrong file"));
    };
    let known: Vec<&str> = config.device.iter().map(|d| d.get_ref().name.get_ref().as_str()).collect();
    known_device(only, &known, &name)?;
    let devices = config.device.iter().map(|d| d.get_ref());
    let listed = devices.filter(|d| only.is_none_or(|only| only == d.name.get_ref()));
    let alarms = listed.flat_map(|d| config.tags_of(d)).filter(|(_, tag)| tag.alarm.is_some()).count();
    if alarms > 0 {
        eprintln!("{name}: {} not in the list, which has no column for them", count(alarms, "alarm"));
    }
    Ok(list(&config, only))
}

/// The whole list.
fn list(config: &Config, only: Option<&str>) -> String {
    let mut lines = vec![tag_list::header()];
    for device in config.device.iter().map(|d| d.get_ref()) {
        let name = device.name.get_ref();
        if only.is_some_and(|only| only != name) {
            continue;
        }
        // What the device's own table says stays there; what its profile says goes with the tags.
        let profile = device.profile.as_ref().and_then(|profile| config.profile(profile.get_ref()));
        let order = if device.order.is_some() { None } else { profile.and_then(|profile| profile.order) };
        lines.extend(
            config
                .tags_of(device)
                .into_iter()
                .map(|(tag, table)| tag_list::row(name, tag.get_ref(), table, order)),
        );
    }
    lines.join("\n") + "\n"
}

fn import(path: &Path, only: Option<&str>, profile: Option<&str>) -> Result<String, String> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{name} is no UTF-8 text; save it as UTF-8"))?;
    let (rows, mistakes) = tag_list::read(&text, 0);
    if !mistakes.is_empty() {
        let colours = std::io::stderr().is_terminal();
        let words = render(&mistakes, Severity::Error, &Sources::new(&name, &text), colours);
        return Err(format!("{words}\n\n{name}: {}", count(mistakes.len(), "mistake")));
    }
    let known: Vec<&str> = rows.iter().filter_map(device_of).collect();
    known_device(only, &known, &name)?;
    let rows: Vec<&Row> = rows.iter().filter(|row| only.is_none_or(|only| row.is_for(only))).collect();
    toml(&rows, profile).map_err(|error| format!("{name}: {error}"))
}

fn device_of(row: &Row) -> Option<&str> {
    row.device.as_ref().map(|device| device.get_ref().as_str())
}

fn toml(rows: &[&Row], profile: Option<&str>) -> Result<String, String> {
    let mut devices: Vec<Option<&str>> = Vec::new();
    for row in rows {
        if !devices.contains(&device_of(row)) {
            devices.push(device_of(row));
        }
    }
    let lines = |rows: &mut dyn Iterator<Item = &&Row>| -> Vec<String> {
        rows.map(|row| tag_list::line(row.name.get_ref(), row.tag.get_ref())).collect()
    };
    if let Some(profile) = profile {
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name.get_ref().as_str()).collect();
        if names.len() < rows.len() {
            return Err("several devices have tags of one name: choose one with --device".to_owned());
        }
        let header = format!("[profile.{}.tag]", tag_list::key(profile));
        return Ok(header + "\n" + &lines(&mut rows.iter()).join("\n") + "\n");
    }
    let part = |device: &Option<&str>| {
        let mut own = rows.iter().filter(|row| device_of(row) == *device);
        let whose = device.map(|name| format!("# below the [[device]] {}\n", tag_list::key(name)));
        whose.unwrap_or_default() + "[device.tag]\n" + &lines(&mut own).join("\n") + "\n"
    };
    Ok(devices.iter().map(part).collect::<Vec<_>>().join("\n"))
}

fn known_device(only: Option<&str>, known: &[&str], file: &str) -> Result<(), String> {
    let Some(only) = only.filter(|only| !known.contains(only)) else { return Ok(()) };
    let near = closest(only, known.iter().copied());
    let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(format!("{file}: there is no device `{only}`{help}"))
}
