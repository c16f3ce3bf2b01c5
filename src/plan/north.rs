//! Publishers, store, and what only one can have.

use std::collections::HashMap;

use super::draft::duplicate;
use super::{PublisherPlan, Resource, names, ranges};
use crate::config::Config;
use crate::model::Mistake;
use crate::publishers::{PublisherSpec, http, opcua, sparkplug};
use crate::store;

/// All publishers: Sparkplug in the order of the file, then OPC UA, then HTTP.
pub(super) fn publishers(
    config: &Config,
    incomplete: bool,
    mistakes: &mut Vec<Mistake>,
) -> Vec<PublisherPlan> {
    let mut plans = Vec::new();
    let mut seen = HashMap::from([("opcua".to_owned(), 0..0), ("http".to_owned(), 0..0)]);
    let mut add =
        |name: &str, spec: Result<PublisherSpec, Vec<Mistake>>, mistakes: &mut Vec<Mistake>| match spec {
            Ok(spec) => plans.push(PublisherPlan { name: name.to_owned(), spec }),
            Err(wrong) => mistakes.extend(wrong),
        };
    for table in &config.publish.sparkplug {
        let table = table.get_ref();
        names::check("publisher", &table.name, mistakes);
        duplicate("publisher", "duplicate-publisher", &table.name, &mut seen, mistakes);
        add(table.name.get_ref(), sparkplug::config::compile(table).map(PublisherSpec::Sparkplug), mistakes);
    }
    let mut left_out = |feature: &str, place: std::ops::Range<usize>| {
        mistakes.push(Mistake::new(
            "not-in-this-build",
            place,
            format!("this build of fieldgate has no `{feature}`"),
            format!("remove the table, or build with `--features {feature}`"),
        ));
    };
    if let Some(table) = config.publish.opcua.as_ref().filter(|_| !cfg!(feature = "opcua")) {
        left_out("opcua", table.span());
    }
    if let Some(table) = config.publish.http.as_ref().filter(|_| !cfg!(feature = "http")) {
        left_out("http", table.span());
    }
    if let Some(table) = &config.publish.opcua {
        let spec = opcua::config::compile(table.get_ref()).map_err(|mut wrong| {
            // A user whose table was left out for a mistake in it would have been somebody to log in.
            wrong.retain(|m| !(incomplete && m.code == "no-login"));
            for mistake in wrong.iter_mut().filter(|m| m.span.is_empty()) {
                mistake.span = table.span();
            }
            wrong
        });
        add("opcua", spec.map(PublisherSpec::OpcUa), mistakes);
    }
    if let Some(table) = &config.publish.http {
        add("http", http::config::compile(table.get_ref()).map(PublisherSpec::Http), mistakes);
    }
    plans
}

/// The store's options.
pub(super) fn store(config: &Config, mistakes: &mut Vec<Mistake>) -> store::Options {
    let table = &config.store;
    let mut options = store::Options {
        path: table.path.as_ref().map(|p| p.get_ref().clone()),
        durability: table.durability,
        replay: table.replay,
        ..store::Options::default()
    };
    if let Some(path) = table.path.as_ref().filter(|p| p.get_ref().as_os_str().is_empty()) {
        mistakes.push(Mistake::new(
            "no-path",
            path.span(),
            "the store's path is empty",
            "write a folder, as `/var/lib/fieldgate`",
        ));
    }
    let mut period = |key, value: &Option<_>, target: &mut std::time::Duration, most: u64| {
        if let Some(value) = value {
            let allowed = std::time::Duration::from_millis(1)..=std::time::Duration::from_secs(most);
            *target = ranges::period_within(key, value, allowed, mistakes);
        }
    };
    period("spill-after", &table.spill_after, &mut options.spill_after, 86_400);
    period("commit", &table.commit, &mut options.commit, 60);
    period("max-age", &table.max_age, &mut options.max_age, 3660 * 86_400);
    let mut size =
        |key: &str, value: &Option<toml::Spanned<crate::model::Size>>, target: &mut u64, least: u64| {
            let Some(value) = value else { return };
            *target = value.get_ref().0;
            if *target < least {
                mistakes.push(Mistake::new(
                    "out-of-range",
                    value.span(),
                    format!("`{key}` is too small to work with"),
                    format!("write {} MiB or more", least >> 20),
                ));
            }
        };
    size("memory", &table.memory, &mut options.memory, 1 << 20);
    size("max-bytes", &table.max_bytes, &mut options.max_bytes, 16 << 20);
    if table.ballast.as_ref().is_some_and(|ballast| ballast.get_ref().0 == 0) {
        options.ballast = 0;
    } else {
        size("ballast", &table.ballast, &mut options.ballast, 1 << 20);
    }
    if let Some(rate) = &table.history_rate {
        options.history_rate = ranges::number("history-rate", rate, 1..=10_000_000, mistakes);
    }
    options
}

/// What only one can have, with a mistake for each that two want.
pub(super) fn resources(
    config: &Config,
    publishers: &[PublisherPlan],
    store: &store::Options,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Resource> {
    let mut wanted = Vec::new();
    for link in config.link.modbus_rtu.iter().chain(&config.link.modbus_ascii) {
        let port = &link.get_ref().port;
        wanted.push((Resource::SerialPort(port.get_ref().clone()), port.span(), "serial port"));
    }
    for (address, span) in super::doors::listeners(config) {
        wanted.push((Resource::ListenPort(address), span, "listening port"));
    }
    let listen = &config.publish;
    for publisher in publishers {
        let (address, place) = match &publisher.spec {
            PublisherSpec::OpcUa(spec) => (
                spec.listen,
                listen.opcua.as_ref().map(|t| t.get_ref().listen.as_ref().map_or(t.span(), |l| l.span())),
            ),
            PublisherSpec::Http(spec) => (
                spec.listen,
                listen.http.as_ref().map(|t| t.get_ref().listen.as_ref().map_or(t.span(), |l| l.span())),
            ),
            PublisherSpec::Sparkplug(_) => continue,
        };
        wanted.push((Resource::ListenPort(address), place.unwrap_or_default(), "listening port"));
    }
    if let (Some(path), Some(place)) = (&store.path, &config.store.path) {
        wanted.push((Resource::Folder(path.clone()), place.span(), "folder"));
    }
    for (at, (resource, span, what)) in wanted.iter().enumerate() {
        if wanted.iter().take(at).any(|(other, ..)| resource.conflicts(other)) {
            mistakes.push(Mistake::new(
                "resource-conflict",
                span.clone(),
                format!("this {what} is used by another table, too"),
                "give each its own; all devices of one bus belong under one link",
            ));
        }
    }
    wanted.into_iter().map(|(resource, ..)| resource).collect()
}
