//! Starts the children of a plan, starts them again when they fall, stops them in order.

mod watch;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::watch::{Watch, Watched};
use crate::command::{Gate, WriteRule};
use crate::model::{Bad, Batch, Clock, DeviceState, Directory, Followed, Sample, TagId};
use crate::plan::{GatewayPlan, PublisherPlan};
use crate::poll::{self, LinkPlan};
use crate::publishers;
use crate::publishers::publisher::Context;
use crate::store::{self, Store};
use crate::telemetry::{Connection, Counter, Telemetry};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    directory: Arc<Directory>,
    store: Arc<Store>,
    telemetry: Arc<Telemetry>,
    gate: Gate,
    links: Children,
    publishers: Children,
    chores: Children,
    watch: Arc<Watch>,
}

/// Tasks that are stopped together.
#[derive(Debug, Default)]
struct Children {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Children {
    /// Asks all to end and waits; who does not end in time is ended.
    async fn end(&mut self, within: Duration, what: &'static str) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "{what} did not end in time");
            self.tasks.abort_all();
            // One that holds its thread never ends, and holds up nobody else's end.
            let all = async { while self.tasks.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(Duration::from_millis(100), all).await;
            self.tasks.detach_all();
        }
    }
}

impl Gateway {
    /// Writes that may wait for a link.
    const MAILBOX: usize = 64;
    /// How long each part of a clean stop may take; together below five seconds.
    const STOP_LINKS: Duration = Duration::from_millis(1500);
    const STOP_PUBLISHERS: Duration = Duration::from_millis(1500);
    const DRAIN: Duration = Duration::from_millis(1500);

    /// Starts all links and publishers. A child that cannot get its port tries again by itself.
    pub async fn start(plan: GatewayPlan, clock: Clock) -> Gateway {
        let telemetry = Telemetry::new(clock.now());
        // Before the first sample, so that it carries what is known of the clock.
        let trusted = plan.trusts_clock;
        follow(&clock, trusted, &telemetry);
        let stats = telemetry.store.clone();
        let folder = plan.store.path.clone().unwrap_or_else(|| PathBuf::from("."));
        let store = {
            let (options, directory, clock) = (plan.store.clone(), plan.directory.clone(), clock.clone());
            // Opening the spool reads and writes files.
            let open = move || Store::open(options, directory, clock, stats);
            match tokio::task::spawn_blocking(open).await {
                Ok(store) => store,
                Err(error) => {
                    tracing::error!(%error, "the store cannot be opened: samples are kept in memory only");
                    Store::in_memory()
                }
            }
        };
        let mut gateway = Gateway {
            directory: plan.directory.clone(),
            store,
            telemetry,
            gate: Gate::default(),
            links: Children::default(),
            publishers: Children::default(),
            chores: Children::default(),
            watch: Arc::default(),
        };
        // Counters in the order of the file, before the first child reads them.
        for link in &plan.links {
            gateway.telemetry.link(&link.name);
            link.devices.iter().for_each(|d| drop(gateway.telemetry.device(&d.name, &link.name)));
        }
        // Publishers first: their readers are there when the first sample is.
        for publisher in plan.publishers {
            gateway.start_publisher(publisher, &folder, &clock);
        }
        let (mut rules, mut alarms) = (HashMap::new(), HashMap::new());
        let acked: HashSet<TagId> = gateway.directory.alarms().iter().map(|alarm| alarm.acked).collect();
        for link in plan.links {
            let (mailbox, inbox) = mpsc::channel(Self::MAILBOX);
            for tag in link.devices.iter().flat_map(|d| &d.tags) {
                if let Some(tag) = gateway.directory.tag(*tag) {
                    let rule = write_rule(tag, mailbox.clone());
                    if acked.contains(&tag.id) {
                        alarms.insert(tag.id, rule.clone());
                    }
                    rules.insert(tag.id, rule);
                }
            }
            gateway.start_link(link, inbox, &clock);
        }
        gateway.gate.load(rules);
        gateway.gate.load_alarms(alarms);
        gateway.start_chores(clock, trusted);
        gateway
    }

    /// All counters.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Image and outbox.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// All devices and tags.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// The way to write a tag.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Links first, so that nothing new comes; then publishers, which say good-bye; then what is left
    /// in memory goes to the spool. Ends within five seconds.
    pub async fn stop(mut self) {
        self.links.end(Self::STOP_LINKS, "links").await;
        self.publishers.end(Self::STOP_PUBLISHERS, "publishers").await;
        self.chores.end(Duration::from_millis(200), "chores").await;
        self.store.drain(Self::DRAIN).await;
    }

    fn start_link(&mut self, plan: LinkPlan, inbox: mpsc::Receiver<crate::command::Write>, clock: &Clock) {
        let stats = self.telemetry.link(&plan.name);
        let (store, telemetry, clock) = (self.store.clone(), self.telemetry.clone(), clock.clone());
        let stop = self.links.stop.clone();
        let inbox = Arc::new(Mutex::new(inbox));
        let watched = self.watch.add(&plan.name, &stats);
        self.links.tasks.spawn(async move {
            let start = || {
                let cx = poll::Context {
                    store: store.clone(),
                    telemetry: telemetry.clone(),
                    clock: clock.clone(),
                    inbox: inbox.clone(),
                    stop: stop.clone(),
                };
                poll::run(plan.clone(), cx)
            };
            let fallen = |why: &str| {
                stats.state.down(why);
                orphan(&plan, &store, &clock);
            };
            keep_running(&plan.name, &stop, &stats.restarts, Some(&watched), start, fallen).await;
            stats.state.set(Connection::Stopped);
        });
    }

    fn start_publisher(&mut self, plan: PublisherPlan, folder: &std::path::Path, clock: &Clock) {
        let PublisherPlan { name, spec, outbox } = plan;
        let stats = self.telemetry.publisher(&name, spec.kind());
        let stop = self.publishers.stop.clone();
        let cx = Context {
            folder: folder.join("publishers").join(&name),
            name,
            directory: self.directory.clone(),
            store: self.store.clone(),
            gate: self.gate.clone(),
            telemetry: self.telemetry.clone(),
            stats: stats.clone(),
            outbox,
            clock: clock.clone(),
            stop: stop.clone(),
        };
        self.publishers.tasks.spawn(async move {
            let start = || {
                let (spec, cx) = (spec.clone(), cx.clone());
                async move {
                    if let Err(error) = publishers::run(spec, cx).await {
                        tracing::error!(%error, "publisher gave up");
                    }
                }
            };
            let fallen = |why: &str| {
                stats.state.down(why);
            };
            keep_running(&cx.name, &stop, &stats.restarts, None, start, fallen).await;
            stats.state.set(Connection::Stopped);
        });
    }

    /// What nobody else does: follows the wall clock, shows how much waits in the outbox.
    fn start_chores(&mut self, clock: Clock, trusted: bool) {
        self.chores.tasks.spawn(self.watch.clone().run(self.telemetry.clone(), self.chores.stop.clone()));
        let (store, telemetry, stop) = (self.store.clone(), self.telemetry.clone(), self.chores.stop.clone());
        self.chores.tasks.spawn(async move {
            let mut every = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = every.tick() => {}
                }
                follow(&clock, trusted, &telemetry);
                let now = clock.now();
                for reader in store.readers() {
                    let Some(stats) = telemetry.publishers().into_iter().find(|p| p.name == reader.name)
                    else {
                        continue;
                    };
                    stats.pending.set(i64::try_from(reader.pending).unwrap_or(i64::MAX));
                    let age = reader.oldest.map_or(0, |oldest| (now.0 - oldest.0).max(0) / 1000);
                    stats.pending_age_ms.set(age);
                    let left = reader.budget_left.map(|left| i64::try_from(left).unwrap_or(i64::MAX));
                    stats.budget_left.set(left.unwrap_or(-1));
                    stats.budget_short.set(reader.budget_short.into());
                    stats.dropped.add(reader.dropped.saturating_sub(stats.dropped.get()));
                    *stats.outbox.lock().unwrap_or_else(|e| e.into_inner()) = reader.counts;
                }
            }
        });
    }
}

/// Looks at the wall clock, and says what became of it.
fn follow(clock: &Clock, trusted: bool, telemetry: &Telemetry) {
    let was = telemetry.clock.synchronised.get();
    let followed = clock.follow(trusted || store::clock_is_synchronised());
    let is = i64::from(clock.is_synchronised());
    telemetry.clock.synchronised.set(is);
    if followed != Followed::Steady {
        telemetry.put_right(clock.now());
    }
    match followed {
        Followed::Steady if was > is => {
            tracing::warn!("the clock is no longer synchronised; samples say so from here on");
        }
        Followed::Steady => {}
        Followed::Synchronised(step) => {
            if step.unsigned_abs() >= Clock::STEP.as_micros() as u64 {
                telemetry.clock.steps.bump();
            }
            tracing::info!(
                step_ms = step / 1000,
                "the clock is synchronised; earlier time stamps are put right"
            );
        }
        Followed::Stepped(step) => {
            telemetry.clock.steps.bump();
            tracing::warn!(
                step_ms = step / 1000,
                "the wall clock was stepped; after a step back time stamps go on at half the pace, marked, until it is there"
            );
        }
    }
}

fn write_rule(tag: &crate::model::Tag, mailbox: mpsc::Sender<crate::command::Write>) -> WriteRule {
    WriteRule {
        path: tag.path.clone(),
        kind: tag.kind,
        access: tag.access,
        low: tag.low,
        high: tag.high,
        mailbox,
    }
}

/// The link's task fell: its tags are not polled until it runs again, so nobody may take them for good.
fn orphan(plan: &LinkPlan, store: &Store, clock: &Clock) {
    let (at, stamp) = clock.stamp();
    for device in &plan.devices {
        let bad = |tag: &TagId| Sample { stamp, ..Sample::bad(*tag, Bad::Stopped, at) };
        let samples = device.tags.iter().map(bad).collect();
        store.accept(Batch { device: device.id, state: DeviceState::Dead, samples });
    }
}

/// Runs a child until it is told to stop; when it falls (by a panic) or gives up, it is started again
/// after a pause that grows from half a second to a minute, and is short again after five good minutes.
async fn keep_running<F: Future<Output = ()>>(
    name: &str,
    stop: &CancellationToken,
    restarts: &Counter,
    watched: Option<&Watched>,
    start: impl Fn() -> F,
    fallen: impl Fn(&str),
) {
    let shortest = Duration::from_millis(500);
    let mut pause = shortest;
    loop {
        let started = Instant::now();
        let run = AssertUnwindSafe(start()).catch_unwind();
        let end = match watched {
            // Where it hangs it is dropped here, with its port or socket.
            Some(watched) => watched.run(run).await,
            None => Some(run.await),
        };
        if stop.is_cancelled() {
            return;
        }
        if started.elapsed() > Duration::from_secs(300) {
            pause = shortest;
        }
        let why = match end {
            Some(Ok(())) => "ended by itself",
            Some(Err(_)) => "fell by a panic",
            None => "made no progress and was ended",
        };
        tracing::error!(child = name, next_try = ?pause, "{why}; started again");
        fallen(why);
        restarts.bump();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}
