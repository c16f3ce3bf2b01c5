//! Publishers, store, and what only one can have.

use std::collections::HashMap;
use std::time::Duration;

use super::draft::duplicate;
use super::{PublisherPlan, Resource, names, ranges};
use crate::config::Config;
use crate::model::{Directory, Mistake, Size, Spanned};
use crate::publishers::{PublisherSpec, http, mqtt, opcua, sparkplug};
use crate::store::options::OutboxTable;
use crate::store::{self, ReaderRules, WhenFull};

/// All publishers: Sparkplug and plain MQTT in the order of the file, then OPC UA, then HTTP.
pub(super) fn publishers(
    config: &Config,
    store: &store::Options,
    mistakes: &mut Vec<Mistake>,
) -> Vec<PublisherPlan> {
    let mut plans = Vec::new();
    let mut seen = HashMap::from([("opcua".to_owned(), 0..0), ("http".to_owned(), 0..0)]);
    let mut add = |name: &str,
                   outbox: ReaderRules,
                   spec: Result<PublisherSpec, Vec<Mistake>>,
                   mistakes: &mut Vec<Mistake>| match spec {
        Ok(spec) => plans.push(PublisherPlan { name: name.to_owned(), spec, outbox }),
        Err(wrong) => mistakes.extend(wrong),
    };
    // They keep nothing that waits: only a durable publisher has an `outbox`.
    let plain = store.reader_rules();
    for table in &config.publish.sparkplug {
        let table = table.get_ref();
        names::check("publisher", &table.name, mistakes);
        duplicate("publisher", "duplicate-publisher", &table.name, &mut seen, mistakes);
        let spec = sparkplug::config::compile(table).map(PublisherSpec::Sparkplug);
        let outbox = outbox(&table.outbox, store, mistakes);
        add(table.name.get_ref(), outbox, spec, mistakes);
    }
    for table in &config.publish.mqtt {
        let table = table.get_ref();
        names::check("publisher", &table.name, mistakes);
        duplicate("publisher", "duplicate-publisher", &table.name, &mut seen, mistakes);
        let spec = mqtt::config::compile(table).map_err(|mut wrong| {
            // What follows from the defaults has no place of its own.
            for mistake in wrong.iter_mut().filter(|m| m.span.is_empty()) {
                mistake.span = table.name.span();
            }
            wrong
        });
        let outbox = outbox(&table.outbox, store, mistakes);
        add(table.name.get_ref(), outbox, spec.map(PublisherSpec::Mqtt), mistakes);
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
            for mistake in wrong.iter_mut().filter(|m| m.span.is_empty()) {
                mistake.span = table.span();
            }
            wrong
        });
        add("opcua", plain, spec.map(PublisherSpec::OpcUa), mistakes);
    }
    if let Some(table) = &config.publish.http {
        add("http", plain, http::config::compile(table.get_ref()).map(PublisherSpec::Http), mistakes);
    }
    plans
}

/// A publisher's own rules over the store's.
fn outbox(table: &OutboxTable, store: &store::Options, mistakes: &mut Vec<Mistake>) -> ReaderRules {
    let mut rules = store.reader_rules();
    if let Some(durability) = &table.durability {
        rules.durability = *durability.get_ref();
        if store.path.is_none() {
            mistakes.push(Mistake::new(
                "no-path",
                durability.span(),
                "`durability` has no effect: the store has no folder to write to",
                "add `path` to `[store]`, or leave `durability` out",
            ));
        }
    }
    let within = |least, most| Duration::from_millis(least)..=most;
    if let Some(value) = &table.spill_after {
        rules.spill_after = ranges::period_within("spill-after", value, within(1, DAY), mistakes);
    }
    if let Some(value) = &table.max_age {
        // The store lets go what is older than its own bound, whoever waits for it.
        rules.max_age = ranges::period_within("max-age", value, within(1, store.max_age), mistakes);
    }
    if let Some(value) = &table.max_bytes {
        rules.max_bytes = Some(size("max-bytes", value, 1 << 20, mistakes));
        let most = store.path.as_ref().map_or(store.memory, |_| store.memory + store.max_bytes);
        if value.get_ref().0 > most {
            mistakes.push(Mistake::new(
                "out-of-range",
                value.span(),
                format!("`max-bytes` is more than the whole store may hold, {} MiB", most >> 20),
                "write less, or raise `max-bytes` of `[store]`",
            ));
        }
    }
    if let Some(when_full) = &table.when_full {
        rules.when_full = *when_full.get_ref();
        needs_folder(when_full, store, mistakes);
    }
    rules.replay = table.replay.unwrap_or(rules.replay);
    if let Some(rate) = &table.history_rate {
        rules.history_rate = ranges::number("history-rate", rate, 1..=10_000_000, mistakes);
    }
    if let Some(value) = &table.budget {
        rules.budget = Some(size("budget", value, 64 << 10, mistakes));
    }
    rules
}

const DAY: Duration = Duration::from_secs(86_400);

/// A size that is not below what works.
fn size(key: &str, value: &Spanned<Size>, least: u64, mistakes: &mut Vec<Mistake>) -> u64 {
    let size = value.get_ref().0;
    if size < least {
        mistakes.push(Mistake::new(
            "out-of-range",
            value.span(),
            format!("`{key}` is too small to work with"),
            match least >> 20 {
                0 => format!("write {} KiB or more", least >> 10),
                mib => format!("write {mib} MiB or more"),
            },
        ));
    }
    size
}

/// What is thinned is thinned on the disk.
fn needs_folder(when_full: &Spanned<WhenFull>, store: &store::Options, mistakes: &mut Vec<Mistake>) {
    if *when_full.get_ref() == WhenFull::Downsample && store.path.is_none() {
        mistakes.push(Mistake::new(
            "no-path",
            when_full.span(),
            "`when-full` is \"downsample\", but the store has no folder: what is in memory is not thinned",
            "add `path` to `[store]`, or write \"drop-oldest\" or \"drop-newest\"",
        ));
    }
}

/// Topics of plain MQTT that two have, now that the tags are known.
pub(super) fn topics(
    config: &Config,
    publishers: &[PublisherPlan],
    directory: &Directory,
    mistakes: &mut Vec<Mistake>,
) {
    for publisher in publishers {
        let PublisherSpec::Mqtt(spec) = &publisher.spec else { continue };
        let tables = config.publish.mqtt.iter().map(Spanned::get_ref);
        let place = tables
            .filter(|table| *table.name.get_ref() == publisher.name)
            .map(|table| table.topic.as_ref().unwrap_or(&table.name).span())
            .next();
        mistakes.extend(mqtt::config::clashes(spec, directory, &place.unwrap_or_default()));
    }
}

/// The store's options.
pub(super) fn store(config: &Config, mistakes: &mut Vec<Mistake>) -> store::Options {
    let table = &config.store;
    let mut options = store::Options {
        path: table.path.as_ref().map(|p| p.get_ref().clone()),
        durability: table.durability,
        replay: table.replay,
        when_full: table.when_full.as_ref().map_or(WhenFull::default(), |w| *w.get_ref()),
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
    if let Some(when_full) = &table.when_full {
        needs_folder(when_full, &options, mistakes);
    }
    let mut period = |key, value: &Option<_>, target: &mut Duration, least: Duration, most: Duration| {
        if let Some(value) = value {
            *target = ranges::period_within(key, value, least..=most, mistakes);
        }
    };
    let short = Duration::from_millis(1);
    period("spill-after", &table.spill_after, &mut options.spill_after, short, DAY);
    period("commit", &table.commit, &mut options.commit, short, Duration::from_secs(60));
    period("max-age", &table.max_age, &mut options.max_age, short, DAY * 3660);
    period("downsample", &table.downsample, &mut options.downsample, Duration::from_secs(1), DAY);
    if let Some(value) = &table.memory {
        options.memory = size("memory", value, 1 << 20, mistakes);
    }
    if let Some(value) = &table.max_bytes {
        options.max_bytes = size("max-bytes", value, 16 << 20, mistakes);
    }
    match &table.ballast {
        Some(ballast) if ballast.get_ref().0 == 0 => options.ballast = 0,
        Some(ballast) => options.ballast = size("ballast", ballast, 1 << 20, mistakes),
        None => {}
    }
    if let Some(rate) = &table.history_rate {
        options.history_rate = ranges::number("history-rate", rate, 1..=10_000_000, mistakes);
    }
    options.history = table.history.as_ref().map(|h| history(h, options.path.is_some(), mistakes));
    options
}

/// `[store.history]`
fn history(
    table: &crate::model::Spanned<crate::config::History>,
    has_path: bool,
    mistakes: &mut Vec<Mistake>,
) -> store::History {
    if !has_path {
        mistakes.push(Mistake::new(
            "no-path",
            table.span(),
            "history needs a folder, and the store has none",
            "write `path` in [store], as `path = \"/var/lib/fieldgate\"`",
        ));
    }
    let table = table.get_ref();
    let allowed = std::time::Duration::from_secs(60)..=std::time::Duration::from_secs(3660 * 86_400);
    let keep = ranges::period_within("keep", &table.keep, allowed, mistakes);
    let max_bytes = table.max_bytes.as_ref().map_or(512 << 20, |size| size.get_ref().0);
    if let Some(size) = table.max_bytes.as_ref().filter(|_| max_bytes < 16 << 20) {
        mistakes.push(Mistake::new(
            "out-of-range",
            size.span(),
            "`max-bytes` is too small to work with",
            "write 16 MiB or more",
        ));
    }
    store::History { keep, max_bytes }
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
            PublisherSpec::Sparkplug(_) | PublisherSpec::Mqtt(_) => continue,
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
