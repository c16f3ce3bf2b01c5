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
            pulse: Mutex::default(),
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
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            // Where nothing at all had its turn, as under another program's load, that is no link's silence.
            let passed = looked.elapsed().min(LOOK * 2);
            looked = Instant::now();
            let stuck = self.look(silence, passed);
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

    /// Ends the links that hang; gives those that did not end. `passed`: since the last look.
    fn look(&self, silence: Duration, passed: Duration) -> Vec<String> {
        let links: Vec<_> = {
            let mut links = lock(&self.0);
            links.retain(|link| link.strong_count() > 0);
            links.iter().filter_map(Weak::upgrade).collect()
        };
        let mut stuck = Vec::new();
        for link in &links {
            let seen = (link.starts.get(), link.stats.beats.get());
            let verdict = lock(&link.pulse).look(seen, link.runs.load(SeqCst), silence, passed);
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
#[derive(Debug, Default)]
struct Pulse {
    /// Its starts and its beats.
    seen: (u64, u64),
    /// For how long they have been these.
    silent: Duration,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
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
    /// `seen`: its starts and its beats; `runs`: not in a pause. What was told to end has half the silence to do so:
    /// one that holds its thread cannot be ended at all.
    fn look(&mut self, seen: (u64, u64), runs: bool, silence: Duration, passed: Duration) -> Verdict {
        if !runs || seen != self.seen {
            *self = Pulse { seen, ..Pulse::default() };
            return Verdict::Fine;
        }
        self.silent += passed;
        match self.state {
            State::Beats if self.silent >= silence => {
                self.state = State::Told;
                Verdict::End
            }
            State::Told if self.silent >= silence + silence / 2 => {
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

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_link_that_beats_is_fine_however_long() {
        let mut pulse = Pulse::default();
        for beats in 1..1000 {
            assert_eq!(pulse.look((1, beats), true, SILENCE, SECOND), Verdict::Fine);
        }
    }

    #[test]
    fn one_that_hangs_is_told_once_and_is_stuck_where_it_does_not_end() {
        let mut pulse = Pulse::default();
        let mut look = |beats| pulse.look((1, beats), true, SILENCE, SECOND);
        assert_eq!(look(7), Verdict::Fine);
        (0..9).for_each(|_| assert_eq!(look(7), Verdict::Fine));
        assert_eq!(look(7), Verdict::End);
        (0..4).for_each(|_| assert_eq!(look(7), Verdict::Fine));
        assert_eq!(look(7), Verdict::Stuck { first: true });
        assert_eq!(look(7), Verdict::Stuck { first: false });
        // What held it let go after all.
        assert_eq!(look(8), Verdict::Fine);
    }

    #[test]
    fn a_pause_before_a_start_is_no_silence_and_a_start_counts_anew() {
        let mut pulse = Pulse::default();
        let mut look = |starts, runs| pulse.look((starts, 7), runs, SILENCE, SECOND);
        (0..10).for_each(|_| assert_eq!(look(1, true), Verdict::Fine));
        assert_eq!(look(1, true), Verdict::End);
        (0..60).for_each(|_| assert_eq!(look(1, false), Verdict::Fine));
        (0..10).for_each(|_| assert_eq!(look(2, true), Verdict::Fine));
        assert_eq!(look(2, true), Verdict::End);
    }
}
