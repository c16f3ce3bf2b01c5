//! Starts the children of a plan, starts them again when they fall, brings them from one plan to the next, and stops
//! them in order.

mod children;
mod nudge;
mod progress;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};

use self::children::{Children, keep_running};
use self::nudge::Nudge;
use self::progress::Watch;
use crate::command::{Gate, Write, WriteRule};
use crate::model::{Bad, Batch, Clock, DeviceState, Directory, Followed, Sample, TagId};
use crate::plan::diff::{Change, diff};
use crate::plan::{GatewayPlan, PublisherPlan};
use crate::poll::{self, LinkPlan};
use crate::publishers;
use crate::publishers::publisher::{Context, Directories};
use crate::store::{self, Store};
use crate::telemetry::{Connection, Telemetry};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// What runs.
    plan: GatewayPlan,
    /// Where publishers keep their own.
    folder: PathBuf,
    clock: Clock,
    directory: watch::Sender<Arc<Directory>>,
    /// What publishers are given of it.
    directories: Directories,
    store: Arc<Store>,
    telemetry: Arc<Telemetry>,
    gate: Gate,
    /// The ways to each link.
    lines: HashMap<String, Line>,
    /// Plans that a link may still go by, though it has another.
    former: Former,
    links: Children,
    publishers: Children,
    chores: Children,
    watch: Arc<Watch>,
    _nudge: Nudge,
}

/// The ways to a link's task.
#[derive(Debug)]
struct Line {
    plans: watch::Sender<Arc<LinkPlan>>,
    mailbox: mpsc::Sender<Write>,
    /// Shared, so that it outlives a task that fell.
    inbox: Arc<Mutex<mpsc::Receiver<Write>>>,
}

impl Line {
    fn new(plan: &LinkPlan) -> Line {
        let (mailbox, inbox) = mpsc::channel(Gateway::MAILBOX);
        let plans = watch::channel(Arc::new(plan.clone())).0;
        Line { plans, mailbox, inbox: Arc::new(Mutex::new(inbox)) }
    }
}

/// Plans that have another in their place; whoever still goes by one keeps it.
#[derive(Debug, Clone, Default)]
struct Former(Arc<StdMutex<Vec<Weak<LinkPlan>>>>);

impl Former {
    fn list(&self) -> MutexGuard<'_, Vec<Weak<LinkPlan>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the store as soon as nobody goes by any of them.
    fn tell(&self, store: &Store) {
        let mut list = self.list();
        if !list.is_empty() && list.iter().all(|plan| plan.strong_count() == 0) {
            list.clear();
            store.followed();
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
        let (directory, directories) = Directories::following(plan.directory.clone());
        let mut gateway = Gateway {
            folder: plan.store.path.clone().unwrap_or_else(|| PathBuf::from(".")),
            clock,
            directory,
            directories,
            store,
            telemetry,
            gate: Gate::default(),
            lines: HashMap::new(),
            former: Former::default(),
            links: Children::default(),
            publishers: Children::default(),
            chores: Children::default(),
            watch: Arc::default(),
            plan,
            _nudge: Nudge::start(),
        };
        gateway.arrange();
        gateway.open_gate();
        let (links, publishers) = (gateway.plan.links.clone(), gateway.plan.publishers.clone());
        // Publishers first: their readers are there when the first sample is.
        publishers.into_iter().for_each(|publisher| gateway.start_publisher(publisher));
        links.into_iter().for_each(|link| gateway.start_link(link));
        gateway.start_chores(trusted);
        gateway
    }

    /// Goes on by another plan, of the same node, store and clock: what is the same in both is not touched. Gives what
    /// was done.
    pub async fn apply(&mut self, plan: GatewayPlan) -> Vec<Change> {
        let changes = diff(&self.plan, &plan);
        let stops = |kind: fn(&Change) -> Option<&String>| -> HashSet<String> {
            changes.iter().filter_map(kind).cloned().collect()
        };
        let links = stops(|change| if let Change::StopLink(name) = change { Some(name) } else { None });
        self.links.end(|name| links.contains(name), Self::STOP_LINKS, "a link").await;
        let gone = stops(|change| if let Change::StopPublisher(name) = change { Some(name) } else { None });
        self.publishers.end(|name| gone.contains(name), Self::STOP_PUBLISHERS, "a publisher").await;
        for name in gone.iter().filter(|name| !plan.publishers.iter().any(|p| p.name == **name)) {
            self.store.retire(name);
        }
        self.lines.retain(|name, _| !links.contains(name));
        self.plan = plan;
        self.arrange();
        // First those who keep and tell, then those who bring: nothing new comes before it is known, and nothing
        // of what is gone stays.
        self.store.follow(self.plan.directory.clone());
        self.directory.send_replace(self.plan.directory.clone());
        self.open_gate();
        for change in &changes {
            if let Change::StartPublisher(publisher) = change {
                self.start_publisher(publisher.clone());
            }
        }
        for change in &changes {
            match change {
                Change::StartLink(link) => self.start_link(link.clone()),
                Change::Replan(link) => {
                    if let Some(line) = self.lines.get(&link.name) {
                        let before = line.plans.send_replace(Arc::new(link.clone()));
                        self.former.list().push(Arc::downgrade(&before));
                    }
                }
                _ => {}
            }
        }
        if self.former.list().is_empty() {
            self.store.followed();
        }
        changes
    }

    /// What runs.
    pub fn plan(&self) -> &GatewayPlan {
        &self.plan
    }

    /// Counters in the order of the file, before a child reads them.
    fn arrange(&self) {
        let GatewayPlan { links, publishers, .. } = &self.plan;
        let devices = links.iter().flat_map(|l| l.devices.iter().map(|d| (d.name.as_str(), l.name.as_str())));
        self.telemetry.arrange(
            links.iter().map(|l| l.name.as_str()),
            devices,
            publishers.iter().map(|p| (p.name.as_str(), p.spec.kind())),
        );
    }

    /// Who may write what, and the mailbox of each link, made where there is none.
    fn open_gate(&mut self) {
        let directory = &self.plan.directory;
        let (mut rules, mut alarms) = (HashMap::new(), HashMap::new());
        let acked: HashSet<TagId> = directory.alarms().iter().map(|alarm| alarm.acked).collect();
        for link in &self.plan.links {
            let line = self.lines.entry(link.name.clone()).or_insert_with(|| Line::new(link));
            for tag in link.devices.iter().flat_map(|d| &d.tags).filter_map(|tag| directory.tag(*tag)) {
                let rule = write_rule(tag, line.mailbox.clone());
                if acked.contains(&tag.id) {
                    alarms.insert(tag.id, rule.clone());
                }
                rules.insert(tag.id, rule);
            }
        }
        self.gate.load(rules);
        self.gate.load_alarms(alarms);
    }

    /// The gateway's own time.
    pub fn now(&self) -> crate::model::Timestamp {
        self.clock.now()
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
        &self.plan.directory
    }

    /// The way to write a tag.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Links first, so that nothing new comes; then publishers, which say good-bye; then what is left
    /// in memory goes to the spool. Ends within five seconds.
    pub async fn stop(mut self) {
        self.links.end_all(Self::STOP_LINKS, "a link").await;
        self.publishers.end_all(Self::STOP_PUBLISHERS, "a publisher").await;
        self.chores.end_all(Duration::from_millis(200), "a chore").await;
        self.store.drain(Self::DRAIN).await;
    }

    fn start_link(&mut self, plan: LinkPlan) {
        let Some(line) = self.lines.get(&plan.name) else { return };
        let (plans, inbox) = (line.plans.clone(), line.inbox.clone());
        let stats = self.telemetry.link(&plan.name);
        let (store, telemetry, clock) = (self.store.clone(), self.telemetry.clone(), self.clock.clone());
        let watched = self.watch.add(&plan.name, &stats);
        self.links.start(&plan.name.clone(), |stop| async move {
            let start = || {
                let cx = poll::Context {
                    store: store.clone(),
                    telemetry: telemetry.clone(),
                    clock: clock.clone(),
                    inbox: inbox.clone(),
                    stop: stop.clone(),
                };
                poll::run(plans.subscribe(), cx)
            };
            let fallen = |why: &str| {
                stats.state.down(why);
                orphan(&plans.borrow(), &store, &clock);
            };
            keep_running(&plan.name, &stop, &stats.restarts, Some(&watched), start, fallen).await;
            stats.state.set(Connection::Stopped);
        });
    }

    fn start_publisher(&mut self, plan: PublisherPlan) {
        let PublisherPlan { name, spec, outbox } = plan;
        let stats = self.telemetry.publisher(&name, spec.kind());
        let cx = |stop| Context {
            folder: self.folder.join("publishers").join(&name),
            name: name.clone(),
            directory: self.directories.clone(),
            store: self.store.clone(),
            gate: self.gate.clone(),
            telemetry: self.telemetry.clone(),
            stats: stats.clone(),
            outbox,
            clock: self.clock.clone(),
            stop,
        };
        self.publishers.start(&name, |stop| {
            let cx = cx(stop.clone());
            async move {
                let start = || {
                    let (spec, cx) = (spec.clone(), cx.clone());
                    async move {
                        if let Err(error) = publishers::run(spec, cx).await {
                            tracing::error!(%error, "publisher gave up");
                        }
                    }
                };
                let fallen = |why: &str| {
                    cx.stats.state.down(why);
                };
                keep_running(&cx.name, &stop, &cx.stats.restarts, None, start, fallen).await;
                cx.stats.state.set(Connection::Stopped);
            }
        });
    }

    /// What nobody else does: follows the wall clock, shows how much waits in the outbox, sees a change of plans out.
    fn start_chores(&mut self, trusted: bool) {
        let (store, telemetry, clock) = (self.store.clone(), self.telemetry.clone(), self.clock.clone());
        let former = self.former.clone();
        let (watch, watched) = (self.watch.clone(), self.telemetry.clone());
        self.chores.start("watch", |stop| watch.run(watched, stop));
        self.chores.start("chores", |stop| async move {
            let mut every = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = every.tick() => {}
                }
                follow(&clock, trusted, &telemetry);
                former.tell(&store);
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
                    *stats.outbox.lock().unwrap_or_else(PoisonError::into_inner) = reader.counts;
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
