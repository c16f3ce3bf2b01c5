//! The task of one link: a desk that gives out what is due, and the lanes that do it.
//!
//! All of them are one task. What is waited for by the desk may come in any order; a transaction on the wire is
//! always finished, also where the link is stopped.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hub::{Hub, Next};
use super::lane::Lane;
use super::plan::LinkPlan;
use crate::command::{Refusal, Write};
use crate::drivers::Link;
use crate::model::{Clock, Raw};
use crate::store::Store;
use crate::telemetry::{Connection, LinkStats, Telemetry};

/// What a link's task is given.
#[derive(Debug)]
pub struct Context {
    /// Where samples go.
    pub store: Arc<Store>,
    /// All counters.
    pub telemetry: Arc<Telemetry>,
    /// Time stamps.
    pub clock: Clock,
    /// Writes from the gate; shared, so that it outlives a task that fell.
    pub inbox: Arc<Mutex<mpsc::Receiver<Write>>>,
    /// Cancelled when the link shall be closed.
    pub stop: CancellationToken,
}

/// Polls one link until it is stopped, by the newest plan there is: a new one is taken between two transactions,
/// over the connections that are open where they still lead to the same place.
pub async fn run(mut plans: watch::Receiver<Arc<LinkPlan>>, cx: Context) {
    let mut inbox = cx.inbox.clone().lock_owned().await;
    // What was asked of a task that fell is not written by the next one: it is too late by now.
    while let Ok(write) = inbox.try_recv() {
        let _ = write.reply.send(Err(Refusal::LinkDown));
    }
    let plan = plans.borrow_and_update().clone();
    let stats = cx.telemetry.link(&plan.name);
    stats.state.set(Connection::Connecting);
    let (mut links, longest_pause) = open(&plan, &cx);
    let mut hub = Hub::new(plan, &cx, longest_pause);
    loop {
        stats.planned_permille.set((hub.plan.wanted_load() * 1000.0).round() as i64);
        let shared = Shared {
            jobs: links.iter().map(|_| Notify::new()).collect(),
            changed: Notify::new(),
            stop: cx.stop.clone(),
            still: AtomicBool::new(false),
            hub: StdMutex::new(hub),
        };
        let lane = |(at, link)| Lane { at, link, raw: Raw::default(), silent: None, shared: &shared }.run();
        let lanes: FuturesUnordered<_> = links.into_iter().enumerate().map(lane).collect();
        let (next, mut done) =
            tokio::join!(desk(&shared, &mut inbox, &stats, &mut plans), lanes.collect::<Vec<_>>());
        let Some(plan) = next else { break };
        done.sort_by_key(|(at, _)| *at);
        links = done.into_iter().map(|(_, link)| link).collect();
        let before = shared.hub.into_inner().unwrap_or_else(PoisonError::into_inner);
        hub = match reload(&mut links, &plan) {
            true => before.follow(plan, &cx, links.first_mut()),
            false => {
                // Another host or port: whoever is behind it, nothing is known of it.
                before.leave();
                let (others, longest_pause) = open(&plan, &cx);
                links = others;
                stats.state.set(Connection::Connecting);
                Hub::new(plan, &cx, longest_pause)
            }
        };
    }
    stats.state.set(Connection::Stopped);
}

/// The connections of a link, not open yet, and the longest pause between two tries to open them.
fn open(plan: &LinkPlan, cx: &Context) -> (Vec<Link>, Duration) {
    let mut first = Link::new(&plan.spec, &cx.telemetry);
    first.load(&plan.spec);
    for device in 0..plan.devices.len() {
        recall(&mut first, plan, device, &cx.store);
    }
    let longest_pause = first.longest_pause();
    let others: Vec<Link> = (1..plan.connections).filter_map(|_| first.sibling(false)).collect();
    let mut links: Vec<Link> = Vec::new();
    for link in std::iter::once(first).chain(others) {
        // The lanes over one connection stand side by side.
        let siblings: Vec<_> = (1..plan.pipeline).filter_map(|_| link.sibling(true)).collect();
        links.push(link);
        links.extend(siblings);
    }
    (links, longest_pause)
}

/// Gives the new plan to connections that stay; false where they cannot.
fn reload(links: &mut [Link], plan: &LinkPlan) -> bool {
    let mut stay = links.len() == plan.lanes();
    for link in links {
        stay &= link.load(&plan.spec);
    }
    stay
}

/// What an earlier run learned of a device.
pub(super) fn recall(link: &mut Link, plan: &LinkPlan, device: usize, store: &Store) {
    if let Some(text) = plan.learned_as(device).and_then(|name| store.recall(&name)) {
        link.recall(device, &text);
    }
}

/// What desk and lanes have in common.
pub(super) struct Shared {
    hub: StdMutex<Hub>,
    /// One a lane: it was given a job.
    jobs: Vec<Notify>,
    /// A lane is done with its job.
    changed: Notify,
    pub(super) stop: CancellationToken,
    /// There is another plan: nothing new is begun.
    still: AtomicBool,
}

impl Shared {
    /// Whether nothing new is to be begun.
    pub(super) fn stands_still(&self) -> bool {
        self.still.load(Relaxed)
    }

    pub(super) fn hub(&self) -> MutexGuard<'_, Hub> {
        // Whoever fell took the whole task along.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seen by the supervisor: a link that does not come on is started again.
    fn beat(&self, stats: &LinkStats) {
        if self.hub().comes_on(Instant::now()) {
            stats.beats.bump();
        }
    }

    /// Returns when the lane has a job, or the link is stopped.
    pub(super) async fn wait_for_job(&self, lane: usize) {
        if let Some(job) = self.jobs.get(lane) {
            job.notified().await;
        }
    }

    /// The lane did its job.
    pub(super) fn done(&self, lane: usize) {
        self.hub().done(lane);
        self.changed.notify_one();
    }

    fn wake(&self, lane: usize) {
        if let Some(job) = self.jobs.get(lane) {
            job.notify_one();
        }
    }
}

/// Gives to the lanes what is due, and waits; ends with the next plan, or with none where the link is stopped.
async fn desk(
    shared: &Shared,
    inbox: &mut mpsc::Receiver<Write>,
    stats: &LinkStats,
    plans: &mut watch::Receiver<Arc<LinkPlan>>,
) -> Option<Arc<LinkPlan>> {
    let mut next = None;
    // Who gives plans may be gone: then there is none any more.
    while !shared.stop.is_cancelled() && next.is_none() {
        if plans.has_changed().unwrap_or(false) {
            next = Some(plans.borrow_and_update().clone());
            break;
        }
        shared.beat(stats);
        let (until, takes_writes) = {
            let mut hub = shared.hub();
            hub.load.show(stats);
            while hub.takes_writes()
                && let Ok(write) = inbox.try_recv()
            {
                hub.ask(write);
            }
            let until = loop {
                match hub.assign(Instant::now()) {
                    Next::Wake(lane) => shared.wake(lane),
                    Next::Wait(until) => break until,
                }
            };
            let alarms = hub.settle_alarms().map(|wait| Instant::now() + wait);
            ([until, alarms].into_iter().flatten().min(), hub.takes_writes())
        };
        // Wakes at least once a second, so that the load shown is fresh.
        let second = Instant::now() + Duration::from_secs(1);
        let until = until.map_or(second, |until| until.min(second));
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = shared.changed.notified() => {}
            write = inbox.recv(), if takes_writes => match write {
                Some(write) => shared.hub().ask(write),
                // The gate is gone only when the whole gateway stops.
                None => shared.stop.cancelled().await,
            },
            Ok(()) = plans.changed() => next = Some(plans.borrow_and_update().clone()),
            () = tokio::time::sleep_until(until) => {}
        }
    }
    match &next {
        Some(_) => shared.still.store(true, Relaxed),
        None => shared.hub().refuse_writes(),
    }
    (0..shared.jobs.len()).for_each(|lane| shared.wake(lane));
    // What is under way is waited for, which is no standstill.
    while next.is_some() && shared.hub().is_busy() {
        shared.beat(stats);
        let second = tokio::time::sleep(Duration::from_secs(1));
        tokio::select! {
            () = shared.changed.notified() => {}
            () = second => {}
        }
    }
    next
}
