//! `/metrics`: the counters in the OpenMetrics text format, read at the moment of the scrape.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::telemetry::{DeviceStats, LinkStats, LossReason, OutboxCounts, PublisherStats, Telemetry};

/// What `/metrics` is served as.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics as text.
pub(super) fn text(telemetry: &Arc<Telemetry>) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Counters(telemetry.clone())));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Counters(Arc<Telemetry>);

/// One number of a kind of thing: its name, what it means, how it is read. A `Count` gets `_total`
/// behind its name, as OpenMetrics asks.
struct Metric<S> {
    name: &'static str,
    help: &'static str,
    read: Read<S>,
}

enum Read<S> {
    Count(fn(&S) -> u64),
    /// A count in other units than the counter's own.
    Sum(fn(&S) -> f64),
    Now(fn(&S) -> f64),
}

macro_rules! metrics {
    ($name:ident: $stats:ty, $( $read:ident $metric:literal $help:literal $how:expr; )*) => {
        const $name: &[Metric<$stats>] =
            &[$( Metric { name: $metric, help: $help, read: Read::$read($how) } ),*];
    };
}

metrics! { LINK: LinkStats,
    Now "fieldgate_link_state" "0 stopped, 1 connecting, 2 up, 3 down." |l| f64::from(l.state.get() as u8);
    Now "fieldgate_link_load_ratio" "Share of the time with a transaction under way, and the silence that each needs, 0 to 1; of all connections of the link together." |l| l.load_permille.get() as f64 / 1000.0;
    Now "fieldgate_link_planned_load_ratio" "Share of the time that the plan expects; above 1 not every scan class can be held." |l| l.planned_permille.get() as f64 / 1000.0;
    Sum "fieldgate_link_busy_seconds" "Time with a transaction under way, and the silence that each needs." |l| l.busy_us.get() as f64 / 1e6;
    Count "fieldgate_link_connects" "Times that the port or socket was opened." |l| l.connects.get();
    Count "fieldgate_link_requests" "Requests sent." |l| l.requests.get();
    Count "fieldgate_link_answers" "Valid answers." |l| l.answers.get();
    Count "fieldgate_link_timeouts" "Requests without an answer in time." |l| l.timeouts.get();
    Count "fieldgate_link_garbled" "Answers that failed their check." |l| l.garbled.get();
    Count "fieldgate_link_refused" "Exception answers." |l| l.refused.get();
    Count "fieldgate_link_echoes" "Own requests heard again from the adapter." |l| l.echoes.get();
    Count "fieldgate_link_foreign" "Frames of another master, and of devices to it." |l| l.foreign.get();
    Count "fieldgate_link_noise_bytes" "Bytes that are no frame." |l| l.noise.get();
    Count "fieldgate_link_late" "Answers that came too late and were dropped." |l| l.late.get();
    Count "fieldgate_link_overruns" "Polls that started more than one period late." |l| l.overruns.get();
    Count "fieldgate_link_samples" "Samples handed to the store." |l| l.samples.get();
    Count "fieldgate_link_writes" "Writes done." |l| l.writes.get();
    Count "fieldgate_link_restarts" "Restarts of the link's task." |l| l.restarts.get();
    Count "fieldgate_link_hangs" "Times that the link's task made no progress, and was ended and started again." |l| l.hangs.get();
}

metrics! { DEVICE: DeviceStats,
    Now "fieldgate_device_state" "0 unknown, 1 alive, 2 dead." |d| d.state.get() as f64;
    Now "fieldgate_device_last_answer_timestamp_seconds" "When the last valid answer came, in seconds since 1970; 0 before the first." |d| d.last_answer.get() as f64 / 1e6;
    Count "fieldgate_device_requests" "Requests sent." |d| d.requests.get();
    Count "fieldgate_device_faults" "Requests that gave nothing." |d| d.faults.get();
    Count "fieldgate_device_deaths" "Times that the device stopped answering." |d| d.deaths.get();
}

metrics! { PUBLISHER: PublisherStats,
    Now "fieldgate_publisher_state" "0 stopped, 1 connecting, 2 up, 3 down." |p| f64::from(p.state.get() as u8);
    Now "fieldgate_publisher_pending_samples" "Samples not delivered yet." |p| p.pending.get() as f64;
    Now "fieldgate_publisher_pending_age_seconds" "Age of the oldest sample not delivered yet." |p| p.pending_age_ms.get() as f64 / 1000.0;
    Now "fieldgate_publisher_clients" "Clients connected." |p| p.clients.get() as f64;
    Count "fieldgate_publisher_messages" "Messages written, value changes pushed, requests answered." |p| p.messages.get();
    Count "fieldgate_publisher_delivered_samples" "Samples delivered." |p| p.delivered.get();
    Count "fieldgate_publisher_history_samples" "Samples delivered as history." |p| p.history.get();
    Count "fieldgate_publisher_dropped_samples" "Samples lost, for any reason." |p| p.dropped.get();
    Count "fieldgate_publisher_births" "Births of the node and of devices." |p| p.births.get();
    Count "fieldgate_publisher_deaths" "Deaths of devices said to the north." |p| p.deaths.get();
    Count "fieldgate_publisher_connects" "Connections made." |p| p.connects.get();
    Count "fieldgate_publisher_commands" "Writes asked for by the north." |p| p.commands.get();
    Count "fieldgate_publisher_refused" "Writes and commands refused." |p| p.refused.get();
    Count "fieldgate_publisher_sent_bytes" "Bytes sent north, without those of TCP and TLS." |p| p.sent_bytes.get();
    Now "fieldgate_publisher_budget_left_bytes" "Bytes of its budget that may go now; -1: it has none." |p| p.budget_left.get() as f64;
    Now "fieldgate_publisher_budget_short" "What waits for the budget: 0 nothing, 1 history, 2 diagnostic values too, 3 normal ones too." |p| p.budget_short.get() as f64;
    Now "fieldgate_publisher_certificate_ends_timestamp_seconds" "When its own certificate ends, in seconds since 1970; 0: it has none." |p| p.certificate.ends.get() as f64;
    Now "fieldgate_publisher_certificate_warning" "0 none, 1 its own certificate ends within 30 days, 2 within 7, 3 within 1 or has ended." |p| p.certificate.warning.get() as f64;
    Now "fieldgate_publisher_trusted_ends_timestamp_seconds" "When the first of the certificates and lists that it trusts ends; 0: none." |p| p.trusted.ends.get() as f64;
    Now "fieldgate_publisher_trusted_warning" "The same levels of that." |p| p.trusted.warning.get() as f64;
    Count "fieldgate_publisher_certificates_refused" "Certificates of others that were refused." |p| p.certificates_refused.get();
    Count "fieldgate_publisher_restarts" "Restarts of the publisher's task." |p| p.restarts.get();
}

// Read together once a second, so that accepted = delivered + pending + dropped.
metrics! { OUTBOX: (String, OutboxCounts),
    Count "fieldgate_outbox_accepted_samples" "Samples accepted for the publisher, and at the start taken over from an earlier run." |o| o.1.accepted;
    Count "fieldgate_outbox_delivered_samples" "Samples settled as delivered." |o| o.1.delivered;
    Now "fieldgate_outbox_pending_samples" "Samples that wait." |o| o.1.pending as f64;
    Now "fieldgate_outbox_imbalance_samples" "Accepted less delivered, pending and dropped, all read at one moment; always 0." |o| o.1.imbalance() as f64;
    Now "fieldgate_outbox_last_loss_from_timestamp_seconds" "Time of the oldest sample of the last loss; 0 without one." |o| o.1.last.map_or(0.0, |l| l.from.0 as f64 / 1e6);
    Now "fieldgate_outbox_last_loss_to_timestamp_seconds" "Time of its newest sample." |o| o.1.last.map_or(0.0, |l| l.to.0 as f64 / 1e6);
    Now "fieldgate_outbox_last_loss_tags" "Of how many tags; where only blocks went, at least." |o| o.1.last.map_or(0.0, |l| l.tags as f64);
}

metrics! { LOST: (String, LossReason, u64),
    Count "fieldgate_outbox_dropped_samples" "Samples lost, by reason." |l| l.2;
}

metrics! { GATEWAY: Telemetry,
    Now "fieldgate_start_time_seconds" "When the gateway started, in seconds since 1970." |t| t.started().0 as f64 / 1e6;
    Count "fieldgate_store_accepted_samples" "Samples accepted." |t| t.store.accepted.get();
    Count "fieldgate_store_spooled_samples" "Samples written to disk." |t| t.store.spooled.get();
    Count "fieldgate_store_cursor_writes" "Times that a cursor was written to disk; a kill brings back what was settled since the last one." |t| t.store.cursors.get();
    Now "fieldgate_store_spool_bytes" "Undelivered samples on disk." |t| t.store.spool_bytes.get() as f64;
    Now "fieldgate_store_spool_segments" "Segments on disk." |t| t.store.spool_segments.get() as f64;
    Now "fieldgate_store_memory_bytes" "Undelivered samples in memory." |t| t.store.memory_bytes.get() as f64;
    Now "fieldgate_store_durable" "1: flushes were proven to reach the disk." |t| t.store.durable.get() as f64;
    Now "fieldgate_store_ballast_bytes" "Bytes kept back for when the disk is full." |t| t.store.ballast_bytes.get() as f64;
    Now "fieldgate_store_disk_full" "1: the disk was found full and has no room again yet." |t| t.store.disk_full.get() as f64;
    Count "fieldgate_store_quarantined_segments" "Segments and files set aside because they were damaged." |t| t.store.quarantined.get();
    Count "fieldgate_store_damaged_blocks" "Blocks that failed their check and were skipped." |t| t.store.damaged.get();
    Count "fieldgate_store_disk_errors" "Errors of the disk." |t| t.store.disk_errors.get();
    Count "fieldgate_store_restamped_samples" "Samples whose time was put right after the first synchronisation." |t| t.store.restamped.get();
    Now "fieldgate_clock_synchronised" "1: the operating system's clock is synchronised." |t| t.clock.synchronised.get() as f64;
    Count "fieldgate_clock_steps" "Times that the wall clock was stepped." |t| t.clock.steps.get();
    Now "fieldgate_store_history_bytes" "Delivered samples on disk, kept to be read back." |t| t.store.history_bytes.get() as f64;
    Now "fieldgate_store_history_oldest_timestamp_seconds" "The oldest sample that can be read back, in seconds since 1970; 0: none." |t| t.store.history_oldest.get() as f64 / 1e6;
    Count "fieldgate_store_history_lost_samples" "Samples that history never got, since memory was short while the disk did not work." |t| u64::try_from(t.store.history_lost.get()).unwrap_or(0);
}

impl Collector for Counters {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), Error> {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        to.encode_descriptor("fieldgate_build", "The program.", None, MetricType::Info)?
            .encode_info(&build)?;
        family(&mut to, GATEWAY, std::slice::from_ref(&self.0), |_| [])?;
        family(&mut to, LINK, &self.0.links(), |l| [("link", l.name.as_str())])?;
        family(&mut to, DEVICE, &self.0.devices(), |d| {
            [("device", d.name.as_str()), ("link", d.link.as_str())]
        })?;
        family(&mut to, PUBLISHER, &self.0.publishers(), |p| {
            [("publisher", p.name.as_str()), ("kind", p.kind)]
        })?;
        let outboxes =
            self.0.publishers().iter().map(|p| Arc::new((p.name.clone(), p.outbox()))).collect::<Vec<_>>();
        family(&mut to, OUTBOX, &outboxes, |o| [("publisher", o.0.as_str())])?;
        let lost = outboxes.iter().flat_map(|o| {
            LossReason::ALL.map(|reason| Arc::new((o.0.clone(), reason, o.1.dropped_by(reason))))
        });
        family(&mut to, LOST, &lost.collect::<Vec<_>>(), |l| {
            [("publisher", l.0.as_str()), ("reason", l.1.name())]
        })
    }
}

/// Each metric once with its description, then one line for each of `things`.
fn family<S, const N: usize>(
    to: &mut DescriptorEncoder<'_>,
    metrics: &[Metric<S>],
    things: &[Arc<S>],
    labels: impl for<'a> Fn(&'a S) -> [(&'static str, &'a str); N],
) -> Result<(), Error> {
    for metric in metrics {
        let kind = match metric.read {
            Read::Count(_) | Read::Sum(_) => MetricType::Counter,
            Read::Now(_) => MetricType::Gauge,
        };
        let write = |thing: &S, one: MetricEncoder<'_>| match metric.read {
            Read::Count(read) => ConstCounter::new(read(thing)).encode(one),
            Read::Sum(read) => ConstCounter::new(read(thing)).encode(one),
            Read::Now(read) => ConstGauge::new(read(thing)).encode(one),
        };
        let mut all = to.encode_descriptor(metric.name, metric.help, None, kind)?;
        match things {
            // Without labels there is one thing, and no empty braces behind the name.
            [only] if N == 0 => write(only, all)?,
            things => {
                for thing in things {
                    write(thing, all.encode_family(&labels(thing))?)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_count_ends_in_total_and_carries_its_labels() {
        let telemetry = Telemetry::new(Timestamp(1_700_000_000_500_000));
        telemetry.link("bus \"a\"").timeouts.add(3);
        telemetry.link("bus \"a\"").busy_us.add(1_500_000);
        telemetry.publisher("cloud", "sparkplug").pending_age_ms.set(1500);
        *telemetry.publisher("cloud", "sparkplug").outbox.lock().unwrap() = {
            let mut counts = OutboxCounts { accepted: 9, delivered: 4, pending: 2, ..Default::default() };
            counts.drop_by(LossReason::Thinned, 3);
            counts
        };
        let text = text(&telemetry).unwrap();
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        has("fieldgate_link_timeouts_total{link=\"bus \\\"a\\\"\"} 3");
        has("fieldgate_link_busy_seconds_total{link=\"bus \\\"a\\\"\"} 1.5");
        has("fieldgate_publisher_pending_age_seconds{publisher=\"cloud\",kind=\"sparkplug\"} 1.5");
        has("fieldgate_start_time_seconds 1700000000.5");
        has("fieldgate_outbox_accepted_samples_total{publisher=\"cloud\"} 9");
        has("fieldgate_outbox_dropped_samples_total{publisher=\"cloud\",reason=\"downsample\"} 3");
        has("fieldgate_outbox_dropped_samples_total{publisher=\"cloud\",reason=\"memory\"} 0");
        has("fieldgate_outbox_imbalance_samples{publisher=\"cloud\"} 0.0");
        has("# TYPE fieldgate_link_state gauge");
        assert!(text.ends_with("# EOF\n"));
    }

    /// The manual's table, from what `/metrics` itself says with one thing of each kind.
    fn reference() -> String {
        let telemetry = Telemetry::new(Timestamp(0));
        telemetry.link("LINK");
        telemetry.device("DEVICE", "LINK");
        telemetry.publisher("NAME", "KIND");
        let text = text(&telemetry).unwrap();
        let mut out = String::from(
            "# Metrics\n\n<!-- Made from src/publishers/http/metrics.rs: FIELDGATE_WRITE_DOCS=1 cargo test reference -->\n\n\
             What `/metrics` serves ([http.md](../http.md)).\n\n\
             | name | type | labels | unit | meaning |\n|---|---|---|---|---|\n",
        );
        let mut help = std::collections::HashMap::new();
        for line in text.lines() {
            if let Some((name, meaning)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
                help.insert(name, meaning);
            }
        }
        for line in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
            let (base, kind) = line.split_once(' ').unwrap();
            let name = match kind {
                "counter" => format!("{base}_total"),
                "info" => format!("{base}_info"),
                _ => base.to_owned(),
            };
            let sample = text.lines().find(|l| l.split(['{', ' ']).next() == Some(&name)).unwrap();
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
            let labels: Vec<_> =
                labels.split(',').filter_map(|l| l.split_once('=')).map(|(l, _)| format!("`{l}`")).collect();
            let unit = ["seconds", "bytes", "ratio", "samples", "segments", "blocks"]
                .into_iter()
                .find(|unit| base.ends_with(&format!("_{unit}")))
                .unwrap_or("");
            let meaning = help.get(base).unwrap().trim_end_matches('.');
            out += &format!("| `{name}` | {kind} | {} | {unit} | {meaning} |\n", labels.join(", "));
        }
        out
    }

    #[test]
    fn the_reference_of_metrics_is_what_the_code_says() {
        crate::reference::says("metrics.md", &reference());
    }

    #[test]
    fn every_metric_of_the_alert_rules_and_the_dashboard_is_one_of_the_reference() {
        let known = reference();
        let files = [
            ("prometheus/alerts.yml", include_str!("../../../config/prometheus/alerts.yml")),
            ("grafana/fieldgate.json", include_str!("../../../config/grafana/fieldgate.json")),
        ];
        for (file, text) in files {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let names: Vec<_> = words.filter(|word| word.starts_with("fieldgate_")).collect();
            assert!(names.len() > 5, "{file}: {names:?}");
            for name in names {
                assert!(known.contains(&format!("`{name}`")), "config/{file}: no metric {name}");
            }
        }
        let dashboard: serde_json::Value = serde_json::from_str(files[1].1).unwrap();
        assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 5));
    }
}
