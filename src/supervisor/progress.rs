//! Sees to it that links come on: one that hangs is ended first, and where that does not help the watchdog of the
//! service manager is fed no more.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::notify;
use crate::telemetry::{Connection, Counter, LinkStats, Telemetry};

/// A link beats once a second; without a beat for so long it hangs. Where there is a watchdog it is a third of its time.
const SILENCE: Duration = Duration::from_secs(10);
/// Less would be no silence.
const LEAST_SILENCE: Duration = Duration::from_secs(2);
/// How often the links are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// `systemctl status` need not follow every blink.
const STATUS_PAUSE: Duration = Duration::from_secs(5);

/// All links that must come on.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Vec<Weak<Watched>>>);

/// One link, for as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Watched {
    name: String,
    stats: Arc<LinkStats>,
    /// Its task runs; not so in the pause before it is started again.
    runs: AtomicBool,
    /// Times that it was started.
    starts: Counter,
    end: Notify,
    pulse: Mutex<Pulse>,
}

impl Watched {
    /// Runs the link's task to its end; `None` where it hung and was dropped.
    pub(super) async fn run<T>(&self, task: impl Future<Output = T>) -> Option<T> {
        // It was told to end, and ended by itself meanwhile: not this one.
        let _ = self.end.notified().now_or_never();
        self.starts.bump();
        self.runs.store(true, SeqCst);
        let end = tokio::select! {
            end = task => Some(end),
            () = self.end.notified() => None,
        };
        self.runs.store(false, SeqCst);
        end
    }
}

impl Watch {
    /// A link more.
    pub(super) fn add(&self, name: &str, stats: &Arc<LinkStats>) -> Arc<Watched> {
        let watched = Arc::new(Watched {
            name: name.to_owned(),
            stats: stats.clone(),
            runs: AtomicBool::new(false),
            starts: Counter::default(),
            end: Notify::new(),
            pulse: Mutex::new(Pulse::new((0, 0), Instant::now())),
        });
        lock(&self.0).push(Arc::downgrade(&watched));
        watched
    }

    /// Looks at the links until it is told to stop. What it does it does on a task of this runtime: where no thread
    /// is left for it, the watchdog is not fed either.
    pub(super) async fn run(self: Arc<Self>, telemetry: Arc<Telemetry>, stop: CancellationToken) {
        let within = notify::watchdog();
        let silence = within.map_or(SILENCE, |within| (within / 3).max(LEAST_SILENCE));
        let mut every =
            interval(within.map_or(LOOK, |within| (within / 4).clamp(Duration::from_millis(10), LOOK)));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = (String::new(), None::<Instant>);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            let stuck = self.look(silence, Instant::now());
            let feed = within.is_some() && stuck.is_empty();
            let status = match stuck.as_slice() {
                [] => summary(&telemetry),
                stuck => format!("hangs and cannot be ended: {}", stuck.join(", ")),
            };
            let at_once = !stuck.is_empty() || told.1.is_none_or(|at| at.elapsed() >= STATUS_PAUSE);
            let news = told.0 != status && at_once;
            if news {
                told = (status.clone(), Some(Instant::now()));
            }
            if feed || news {
                // A service manager that does not read holds up no task.
                let tell = move || {
                    if feed {
                        notify::alive();
                    }
                    if news {
                        notify::status(&status);
                    }
                };
                let _ = tokio::task::spawn_blocking(tell).await;
            }
        }
    }

    /// Ends the links that hang; gives those that did not end.
    fn look(&self, silence: Duration, now: Instant) -> Vec<String> {
        let links: Vec<_> = {
            let mut links = lock(&self.0);
            links.retain(|link| link.strong_count() > 0);
            links.iter().filter_map(Weak::upgrade).collect()
        };
        let mut stuck = Vec::new();
        for link in &links {
            let seen = (link.starts.get(), link.stats.beats.get());
            let verdict = lock(&link.pulse).look(seen, link.runs.load(SeqCst), silence, now);
            match verdict {
                Verdict::Fine => {}
                Verdict::End => {
                    tracing::error!(
                        link = link.name,
                        silent_s = silence.as_secs(),
                        "the link makes no progress; it is ended and started again"
                    );
                    link.stats.hangs.bump();
                    link.end.notify_one();
                }
                Verdict::Stuck { first } => {
                    if first {
                        tracing::error!(
                            link = link.name,
                            "the link cannot be ended; the watchdog is fed no more, so that the service manager \
                             starts the gateway again"
                        );
                    }
                    stuck.push(link.name.clone());
                }
            }
        }
        stuck
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// What is made of a link's beats. Pure.
#[derive(Debug)]
struct Pulse {
    seen: (u64, u64),
    since: Instant,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Beats,
    Told,
    Stuck,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// It hangs: to be told once.
    End,
    /// It was told and is still there.
    Stuck {
        first: bool,
    },
}

impl Pulse {
    fn new(seen: (u64, u64), now: Instant) -> Pulse {
        Pulse { seen, since: now, state: State::Beats }
    }

    /// `seen`: its starts and its beats; `runs`: not in a pause. What was told to end has half the silence to do so:
    /// one that holds its thread cannot be ended at all.
    fn look(&mut self, seen: (u64, u64), runs: bool, silence: Duration, now: Instant) -> Verdict {
        if !runs || seen != self.seen {
            *self = Pulse::new(seen, now);
            return Verdict::Fine;
        }
        let silent = now.saturating_duration_since(self.since);
        match self.state {
            State::Beats if silent >= silence => {
                self.state = State::Told;
                Verdict::End
            }
            State::Told if silent >= silence + silence / 2 => {
                self.state = State::Stuck;
                Verdict::Stuck { first: true }
            }
            State::Stuck => Verdict::Stuck { first: false },
            State::Beats | State::Told => Verdict::Fine,
        }
    }
}

/// The name of the link to the gateway's own counters, which no other may have.
const SYSTEM: &str = "system";

/// A line for `systemctl status`.
fn summary(telemetry: &Telemetry) -> String {
    let (mut links, publishers) = (telemetry.links(), telemetry.publishers());
    // Its own counters are no field.
    links.retain(|link| link.name != SYSTEM);
    let up = |state: Connection| usize::from(state == Connection::Up);
    let links_up: usize = links.iter().map(|link| up(link.state.get())).sum();
    let publishers_up: usize = publishers.iter().map(|publisher| up(publisher.state.get())).sum();
    format!("{links_up} of {} links up, {publishers_up} of {} publishers up", links.len(), publishers.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_link_that_beats_is_fine_however_long() {
        let start = Instant::now();
        let mut pulse = Pulse::new((1, 0), start);
        for second in 1..1000 {
            assert_eq!(pulse.look((1, second), true, SILENCE, at(start, second)), Verdict::Fine);
        }
    }

    #[test]
    fn one_that_hangs_is_told_once_and_is_stuck_where_it_does_not_end() {
        let start = Instant::now();
        let mut pulse = Pulse::new((1, 7), start);
        assert_eq!(pulse.look((1, 7), true, SILENCE, at(start, 9)), Verdict::Fine);
        assert_eq!(pulse.look((1, 7), true, SILENCE, at(start, 10)), Verdict::End);
        assert_eq!(pulse.look((1, 7), true, SILENCE, at(start, 14)), Verdict::Fine);
        assert_eq!(pulse.look((1, 7), true, SILENCE, at(start, 15)), Verdict::Stuck { first: true });
        assert_eq!(pulse.look((1, 7), true, SILENCE, at(start, 16)), Verdict::Stuck { first: false });
        // What held it let go after all.
        assert_eq!(pulse.look((1, 8), true, SILENCE, at(start, 17)), Verdict::Fine);
    }

    #[test]
    fn a_pause_before_a_start_is_no_silence_and_a_start_counts_anew() {
        let start = Instant::now();
        let mut pulse = Pulse::new((1, 7), start);
        assert_eq!(pulse.look((1, 7), true, SILENCE, at(start, 10)), Verdict::End);
        assert_eq!(pulse.look((1, 7), false, SILENCE, at(start, 11)), Verdict::Fine);
        assert_eq!(pulse.look((1, 7), false, SILENCE, at(start, 60)), Verdict::Fine);
        assert_eq!(pulse.look((2, 7), true, SILENCE, at(start, 61)), Verdict::Fine);
        assert_eq!(pulse.look((2, 7), true, SILENCE, at(start, 70)), Verdict::Fine);
        assert_eq!(pulse.look((2, 7), true, SILENCE, at(start, 71)), Verdict::End);
    }
}
