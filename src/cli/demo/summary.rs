//! The demo's summary: counters to a few calm lines.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::{Connection, PublisherStats, Telemetry};

/// Prints what happened since the last time.
pub(super) struct Summary {
    telemetry: Arc<Telemetry>,
    started: Instant,
    last: Instant,
    samples: u64,
    polls: u64,
}

impl Summary {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Summary {
        let now = Instant::now();
        Summary { telemetry, started: now, last: now, samples: 0, polls: 0 }
    }

    /// The next few lines.
    pub(super) fn next(&mut self) -> String {
        let now = Instant::now();
        let since = now.duration_since(self.last).as_secs_f64().max(0.001);
        let (polls, samples) = self.read();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / since;
        let first = format!(
            "{:>6}  field   {:.0} polls/s   {:.0} samples/s   {} samples   {}",
            clock(now.duration_since(self.started)),
            rate(polls, self.polls),
            rate(samples, self.samples),
            thousands(samples),
            self.devices(),
        );
        (self.last, self.samples, self.polls) = (now, samples, polls);
        let spool = self.telemetry.store.spool_bytes.get();
        let waiting: i64 = self.telemetry.publishers().iter().map(|p| p.pending.get()).sum();
        let north: Vec<_> = self.telemetry.publishers().iter().map(|p| publisher(p)).collect();
        format!(
            "{first}\n        load    {}\n        north   {}\n        outbox  {} waiting   spool {}\n",
            self.loads(),
            north.join("   "),
            count(waiting),
            bytes(spool),
        )
    }

    /// The line of the end.
    pub(super) fn last(&self) -> String {
        let publishers = self.telemetry.publishers();
        let lost: u64 = publishers.iter().map(|p| p.dropped.get()).sum();
        format!(
            "ended after {}: {} samples read, {} delivered by MQTT, {} lost",
            clock(self.started.elapsed()),
            thousands(self.read().1),
            thousands(
                publishers
                    .iter()
                    .filter(|p| matches!(p.kind, "sparkplug" | "mqtt"))
                    .map(|p| p.delivered.get())
                    .sum()
            ),
            thousands(lost),
        )
    }

    /// Polls answered and samples made of them, those of the gateway's own counters with them: they go
    /// the same way.
    fn read(&self) -> (u64, u64) {
        let links = self.telemetry.links();
        links.iter().fold((0, 0), |(polls, samples), l| (polls + l.answers.get(), samples + l.samples.get()))
    }

    /// The gateway's own device is not of the field.
    fn devices(&self) -> String {
        let devices = self.telemetry.devices();
        let field: Vec<_> = devices.iter().filter(|d| d.name != SYSTEM).collect();
        let alive = field.iter().filter(|d| d.state.get() == 1).count();
        let silent: Vec<_> = field.iter().filter(|d| d.state.get() == 2).map(|d| d.name.as_str()).collect();
        let silent = match silent.as_slice() {
            [] => String::new(),
            names => format!(", silent: {}", names.join(", ")),
        };
        format!("{alive} of {} devices alive{silent}", field.len())
    }

    fn loads(&self) -> String {
        let links = self.telemetry.links();
        let field = links.iter().filter(|l| l.name != SYSTEM);
        let load = |link: &Arc<crate::telemetry::LinkStats>| match link.state.get() {
            Connection::Up => format!("{} {:>2} %", link.name, (link.load_permille.get() + 5) / 10),
            other => format!("{} {}", link.name, other.name()),
        };
        field.map(load).collect::<Vec<_>>().join("   ")
    }
}

const SYSTEM: &str = "system";

fn publisher(stats: &PublisherStats) -> String {
    let state = stats.state.get().name();
    match stats.kind {
        "sparkplug" => format!(
            "MQTT {state}, {} births, {} deaths, {} delivered",
            stats.births.get(),
            stats.deaths.get(),
            thousands(stats.delivered.get())
        ),
        "mqtt" => format!("MQTT {state}, {} delivered", thousands(stats.delivered.get())),
        "opcua" => format!("OPC UA {state}, {} clients", stats.clients.get()),
        _ => format!("page {state}"),
    }
}

/// `75 s`, `12:05`, `1:02:03`.
fn clock(time: Duration) -> String {
    let seconds = (time.as_millis() + 500) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0 | 1, _) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// `1 234 567`
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

fn count(n: i64) -> String {
    thousands(u64::try_from(n).unwrap_or(0))
}

fn bytes(n: i64) -> String {
    match n {
        ..1024 => format!("{} B", n.max(0)),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.1} MiB", n as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1 000", "1 234 567"]);
        assert_eq!(
            [5, 119, 120, 3723].map(|s| clock(Duration::from_secs(s))),
            ["5 s", "119 s", "2:00", "1:02:03"]
        );
        assert_eq!([-1, 1023, 2048, 3 << 20].map(bytes), ["0 B", "1023 B", "2.0 KiB", "3.0 MiB"]);
    }

    #[test]
    fn a_silent_device_is_named_and_the_gateway_itself_is_no_device() {
        let telemetry = Telemetry::new(crate::model::Timestamp(0));
        telemetry.device("ph", "bus").state.set(1);
        telemetry.device("turbidity", "bus").state.set(2);
        telemetry.device("system", "system").state.set(1);
        telemetry.link("bus").load_permille.set(384);
        telemetry.link("bus").state.set(Connection::Up);
        telemetry.publisher("scada", "sparkplug").pending.set(1200);
        let text = Summary::new(telemetry).next();
        for part in
            ["1 of 2 devices alive, silent: turbidity", "bus 38 %", "MQTT stopped, 0 births", "1 200 waiting"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
