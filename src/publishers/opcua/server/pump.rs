//! From the store to the nodes: every sample once, in order, and never an old value for good.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use opcua::server::{ServerHandle, SubscriptionCache};
use opcua::types::{AttributeId, DataValue, DateTime, NodeId, NumericRange, VariableId, Variant};

use super::nodes::Manager;
use super::value;
use crate::model::{Bad, DeviceId, Identity, Quality, Sample, TagId, Timestamp};
use crate::publishers::opcua::status;
use crate::publishers::publisher::Context;
use crate::store::{Next, Reader, Seq, Settled};

/// Keeps the nodes at what the store has.
pub(super) struct Pump {
    cx: Context,
    handle: ServerHandle,
    manager: Arc<Manager>,
    subscriptions: Arc<SubscriptionCache>,
    places: HashMap<TagId, usize>,
    nodes: Vec<NodeId>,
    shown: Vec<Shown>,
    waiting: Vec<(usize, DataValue)>,
    /// Bad tags that are bad for another reason now.
    worse: Vec<(usize, DataValue)>,
    wave: u64,
    next_seq: Option<u64>,
    /// What the objects of devices say of who they are.
    identities: HashMap<DeviceId, Arc<Identity>>,
    /// Batches were lost on the way here: the image knows better.
    behind: bool,
    sessions: u32,
}

/// What a node shows.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    last: Option<(Timestamp, Quality)>,
    /// The wave in which it waits, and where in it.
    wave: u64,
    at: usize,
}

impl Pump {
    /// Batches taken at a time; when there are as many, this reader lags.
    const MANY: usize = 512;
    /// Values set under one lock of the address space.
    const AT_ONCE: usize = 1000;
    /// How often clients are counted, and the image is looked at after a loss.
    const TICK: Duration = Duration::from_secs(1);

    pub(super) fn new(cx: Context, handle: ServerHandle, manager: Arc<Manager>) -> Pump {
        let known = manager.inner().nodes();
        let tags = cx.directory.tags().iter().filter_map(|tag| Some((tag.id, known.get(&tag.id)?.clone())));
        let (ids, nodes): (Vec<TagId>, Vec<NodeId>) = tags.unzip();
        Pump {
            subscriptions: handle.subscriptions().clone(),
            places: ids.into_iter().enumerate().map(|(at, id)| (id, at)).collect(),
            shown: vec![Shown::default(); nodes.len()],
            nodes,
            waiting: Vec::with_capacity(Self::AT_ONCE),
            worse: Vec::new(),
            wave: 1,
            next_seq: None,
            identities: HashMap::new(),
            behind: true,
            sessions: 0,
            cx,
            handle,
            manager,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, mut reader: Reader) {
        self.catch_up().await;
        let mut tick = tokio::time::interval(Self::TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut taken: Vec<Next> = Vec::new();
        loop {
            tokio::select! {
                next = reader.next() => taken.push(next),
                _ = tick.tick() => {
                    self.count_clients();
                    if self.behind {
                        self.catch_up().await;
                    }
                    continue;
                }
            }
            while taken.len() < Self::MANY
                && let Some(next) = reader.next().now_or_never()
            {
                taken.push(next);
            }
            self.show(&taken).await;
            for next in taken.drain(..) {
                let (Next::Live(seq, batch) | Next::History(seq, batch)) = next;
                reader.settle(seq, Settled::Sent);
                self.cx.stats.delivered.add(batch.samples.len() as u64);
            }
        }
    }

    async fn show(&mut self, taken: &[Next]) {
        // Who lags shows the latest of each tag only; who does not shows every change.
        let lags = taken.len() >= Self::MANY;
        for next in taken {
            let (Next::Live(Seq(seq), batch) | Next::History(Seq(seq), batch)) = next;
            if self.next_seq.is_some_and(|expected| expected != *seq) {
                self.behind = true;
            }
            self.next_seq = Some(seq.wrapping_add(1));
            if batch.samples.is_empty() {
                self.show_identity(batch.device);
            }
            for sample in &batch.samples {
                self.put(sample, lags);
                if self.waiting.len() >= Self::AT_ONCE {
                    self.flush();
                    tokio::task::yield_now().await;
                }
            }
        }
        self.flush();
    }

    /// One sample to the values that wait. One tag can be there once: subscriptions are told what the
    /// node holds in the end.
    fn put(&mut self, sample: &Sample, replace: bool) {
        let Some(place) = self.places.get(&sample.tag).copied() else { return };
        let again = self.shown.get(place).is_some_and(|shown| shown.wave == self.wave);
        if again && !replace {
            self.flush();
        }
        let value = value::data_value(sample, DateTime::now());
        let Some(shown) = self.shown.get_mut(place) else { return };
        let before = shown.last.map_or(Quality::Bad(Bad::Waiting), |(_, quality)| quality);
        if before.is_bad()
            && sample.quality.is_bad()
            && status::of_quality(before) != status::of_quality(sample.quality)
        {
            self.worse.push((place, DataValue { value: None, ..value.clone() }));
        }
        shown.last = Some((sample.at, sample.quality));
        match self.waiting.get_mut(shown.at).filter(|_| shown.wave == self.wave) {
            Some(waiting) => waiting.1 = value,
            None => {
                (shown.wave, shown.at) = (self.wave, self.waiting.len());
                self.waiting.push((place, value));
            }
        }
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.wave += 1;
        self.cx.stats.messages.add(self.waiting.len() as u64);
        let nodes = &self.nodes;
        let values = self
            .waiting
            .drain(..)
            .filter_map(|(place, value)| Some((nodes.get(place)?, None::<&NumericRange>, value)));
        if let Err(status) = self.manager.set_values(&self.subscriptions, values) {
            tracing::error!(publisher = self.cx.name, %status, "a value was not shown");
            self.behind = true;
        }
        // To an item without a filter the library tells no change but one of the value, and bad ones have
        // none: no value instead of an empty one makes it tell.
        let worse = self.worse.drain(..);
        let worse = worse.filter_map(|(place, value)| Some((value, nodes.get(place)?, AttributeId::Value)));
        self.subscriptions.notify_data_change(worse);
    }

    /// Sets what the image has and the nodes have not. What still waits in the reader follows, and ends
    /// with the same or newer.
    async fn catch_up(&mut self) {
        self.behind = false;
        let directory = self.cx.directory.clone();
        directory.devices().iter().for_each(|device| self.show_identity(device.id));
        for (at, tag) in directory.tags().iter().enumerate() {
            let Some(sample) = self.cx.store.latest(tag.id) else { continue };
            let place = self.places.get(&tag.id).copied().unwrap_or(usize::MAX);
            let last = self.shown.get(place).and_then(|shown| shown.last);
            if last != Some((sample.at, sample.quality)) {
                self.put(&sample, true);
            }
            if at % Self::AT_ONCE == Self::AT_ONCE - 1 {
                self.flush();
                tokio::task::yield_now().await;
            }
        }
        self.flush();
    }

    fn show_identity(&mut self, device: DeviceId) {
        let Some(known) = self.cx.store.identity(device) else { return };
        let Some(name) = self.cx.directory.device(device).map(|d| d.name.clone()) else { return };
        if self.identities.get(&device) == Some(&known.identity) {
            return;
        }
        let mut address_space = self.manager.address_space().write();
        self.manager.inner().show_identity(&name, &known.identity, &mut address_space);
        drop(address_space);
        self.identities.insert(device, known.identity);
    }

    fn count_clients(&mut self) {
        let diagnostics = &self.handle.info().diagnostics;
        let count = |id| match diagnostics.get(id).and_then(|value| value.value) {
            Some(Variant::UInt32(count)) => count,
            _ => 0,
        };
        let now = count(VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CurrentSessionCount);
        let all = count(VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CumulatedSessionCount);
        self.cx.stats.clients.set(i64::from(now));
        self.cx.stats.connects.add(u64::from(all.saturating_sub(self.sessions)));
        self.sessions = all;
    }
}
