//! From the store to the nodes: every sample once, in order, and never an old value for good.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use opcua::server::address_space::NodeType;
use opcua::server::notify::SubscriptionDataNotifier;
use opcua::server::{MonitoredItemHandle, ServerHandle, SubscriptionCache};
use opcua::types::{AttributeId, DataValue, DateTime, NodeId, VariableId, Variant};
use tokio::sync::watch;

use super::capabilities::Capabilities;
use super::items::without_source_time;
use super::nodes::Manager;
use super::{grow, model, value};
use crate::model::{Bad, DataType, DeviceId, Directory, Identity, Labels, Quality, Sample, TagId, Timestamp};
use crate::publishers::opcua::space::{self, Space, States};
use crate::publishers::opcua::{change, status};
use crate::publishers::publisher::Context;
use crate::store::{Next, Reader, Seq, Settled};

/// Keeps the nodes at what the store has.
pub(super) struct Pump {
    cx: Context,
    /// What the configuration has.
    changes: watch::Receiver<Arc<Directory>>,
    /// What the nodes show: writes and history go by it.
    directory: watch::Sender<Arc<Directory>>,
    space: Space,
    handle: ServerHandle,
    manager: Arc<Manager>,
    subscriptions: Arc<SubscriptionCache>,
    places: HashMap<TagId, usize>,
    nodes: Vec<Shown>,
    waiting: Vec<(usize, DataValue, Option<DataValue>)>,
    /// Bad tags that are bad for another reason now.
    worse: Vec<(usize, DataValue)>,
    wave: u64,
    next_seq: Option<u64>,
    /// What the objects of devices say of who they are.
    identities: HashMap<DeviceId, Option<Arc<Identity>>>,
    /// Nodes with new items, that are told once more.
    fresh: HashSet<NodeId>,
    /// Batches were lost on the way here: the image knows better.
    behind: bool,
    sessions: u32,
    /// Its part of the clients counted.
    clients: i64,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.cx.stats.clients.add(-self.clients);
    }
}

/// A tag's node and what it shows.
#[derive(Debug, Clone)]
struct Shown {
    node: NodeId,
    kind: DataType,
    /// The node that says what the value is called.
    text: Option<(NodeId, Arc<Labels>)>,
    last: Option<(Timestamp, Quality)>,
    /// The wave in which it waits, and where in it.
    wave: u64,
    at: usize,
}

/// What the server is told by.
pub(super) struct Ends {
    pub(super) handle: ServerHandle,
    pub(super) manager: Arc<Manager>,
    pub(super) directory: watch::Sender<Arc<Directory>>,
    pub(super) space: Space,
}

impl Pump {
    /// Batches taken at a time; when there are as many, this reader lags.
    const MANY: usize = 512;
    /// Values set under one lock of the address space.
    const AT_ONCE: usize = 1000;
    /// How often clients are counted, and the image is looked at after a loss.
    const TICK: Duration = Duration::from_secs(1);

    pub(super) fn new(cx: Context, changes: watch::Receiver<Arc<Directory>>, ends: Ends) -> Pump {
        let Ends { handle, manager, directory, space } = ends;
        let mut pump = Pump {
            cx,
            changes,
            directory,
            space,
            subscriptions: handle.subscriptions().clone(),
            places: HashMap::new(),
            nodes: Vec::new(),
            waiting: Vec::with_capacity(Self::AT_ONCE),
            worse: Vec::new(),
            wave: 1,
            next_seq: None,
            identities: HashMap::new(),
            fresh: HashSet::new(),
            behind: true,
            sessions: 0,
            clients: 0,
            handle,
            manager,
        };
        pump.place(&HashMap::new());
        pump
    }

    /// Where each tag is shown; `last` has what nodes that stayed show already.
    fn place(&mut self, last: &HashMap<String, (Timestamp, Quality)>) {
        let index = self.manager.inner().index();
        self.places = self.space.variables.iter().enumerate().map(|(at, v)| (v.tag, at)).collect();
        let shown = self.space.variables.iter().map(|variable| Shown {
            node: NodeId::new(index, variable.id.as_str()),
            kind: variable.kind,
            text: match &variable.states {
                Some(States::Values(labels)) => {
                    grow::value_as_text(variable, index).map(|node| (node, labels.clone()))
                }
                _ => None,
            },
            last: last.get(&variable.id).copied(),
            wave: 0,
            at: 0,
        });
        self.nodes = shown.collect();
    }

    /// Runs until it is dropped, or until the gateway has another name: then all ids are others.
    pub(super) async fn run(mut self, mut reader: Reader) -> &'static str {
        self.catch_up().await;
        let mut tick = tokio::time::interval(Self::TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut taken: Vec<Next> = Vec::new();
        let mut followed = true;
        loop {
            tokio::select! {
                next = reader.next() => taken.push(next),
                changed = self.changes.changed(), if followed => {
                    followed = changed.is_ok();
                    if !self.change() {
                        return "the gateway has another name";
                    }
                    self.catch_up().await;
                    continue;
                }
                _ = tick.tick() => {
                    self.count_clients();
                    self.tell_fresh();
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

    /// Makes the nodes those of the configuration of now, for all sessions that are there.
    fn change(&mut self) -> bool {
        let directory = self.changes.borrow_and_update().clone();
        let new = space::space(&directory);
        if new.namespace != self.space.namespace {
            return false;
        }
        self.flush();
        let change = change::between(&self.space, &new);
        // What changed is shown anew from the image, with the words that it has now.
        let changed: HashSet<&str> =
            change.variables_changed.iter().map(|(_, now)| now.id.as_str()).collect();
        let last = self.space.variables.iter().zip(&self.nodes);
        let last = last.filter(|(variable, _)| !changed.contains(variable.id.as_str()));
        let last = last.filter_map(|(variable, shown)| Some((variable.id.clone(), shown.last?))).collect();
        if !change.is_empty() {
            let mut address_space = self.manager.address_space().write();
            let tags = self.manager.inner();
            model::apply(&change, tags, &mut address_space);
            model::tell(&change, tags, &mut address_space, &self.subscriptions);
            tracing::info!(
                publisher = self.cx.name,
                added = change.variables_new.len(),
                removed = change.variables_gone.len(),
                changed = change.variables_changed.len(),
                "the nodes are those of the new configuration"
            );
        }
        if !change.is_empty() || self.directory.borrow().alarms() != directory.alarms() {
            self.follow_alarms(&directory);
        }
        self.directory.send_replace(directory);
        self.space = new;
        self.place(&last);
        // Numbers of devices may be others; who they are is looked up again.
        self.identities.clear();
        true
    }

    /// Conditions refer to the nodes of their tags, so they are made anew with them.
    fn follow_alarms(&self, directory: &Directory) {
        let (alarms, index) = (self.manager.inner().alarms.clone(), self.manager.inner().index());
        alarms.follow(directory, index, &mut self.manager.address_space().write(), &self.subscriptions);
        let core = self.handle.node_managers().get_of_type::<Capabilities>();
        if let Some(core) = core.as_ref().and_then(|core| core.library()) {
            alarms.link_methods(index, &mut core.address_space().write());
        }
    }

    /// Tells once more what nodes with new items show. An item that was told it already takes no notice.
    fn tell_fresh(&mut self) {
        let fresh = std::mem::replace(&mut self.fresh, self.manager.inner().items().take_fresh());
        if fresh.is_empty() {
            return;
        }
        let address_space = self.manager.address_space().read();
        let shifted = self.manager.inner().items().shifted();
        let mut notifier = self.subscriptions.data_notifier();
        for node in &fresh {
            if let Some(NodeType::Variable(variable)) = address_space.find(node) {
                tell(&mut notifier, &shifted, node, &value::of(variable));
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
            let (store, alarms) = (&self.cx.store, &self.manager.inner().alarms);
            let latest = |tag| store.latest(tag);
            alarms.take(batch.samples.iter(), latest, &self.manager, &self.subscriptions);
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
        let kind = self.nodes.get(place).map(|shown| shown.kind);
        if sample.value.as_ref().is_some_and(|value| Some(value.data_type()) != kind) {
            // The tag had another type when this was read.
            return;
        }
        let again = self.nodes.get(place).is_some_and(|shown| shown.wave == self.wave);
        if again && !replace {
            self.flush();
        }
        let value = value::data_value(sample, DateTime::now());
        let Some(shown) = self.nodes.get_mut(place) else { return };
        let before = shown.last.map_or(Quality::Bad(Bad::Waiting), |(_, quality)| quality);
        if before.is_bad()
            && sample.quality.is_bad()
            && status::of_quality(before) != status::of_quality(sample.quality)
        {
            self.worse.push((place, DataValue { value: None, ..value.clone() }));
        }
        shown.last = Some((sample.at, sample.quality));
        let text = shown.text.as_ref().map(|(_, labels)| value::name(sample, labels, &value));
        match self.waiting.get_mut(shown.at).filter(|_| shown.wave == self.wave) {
            Some(waiting) => *waiting = (place, value, text),
            None => {
                (shown.wave, shown.at) = (self.wave, self.waiting.len());
                self.waiting.push((place, value, text));
            }
        }
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.wave += 1;
        self.cx.stats.messages.add(self.waiting.len() as u64);
        let mut address_space = self.manager.address_space().write();
        let shifted = self.manager.inner().items().shifted();
        let mut notifier = self.subscriptions.data_notifier();
        for (place, value, text) in self.waiting.drain(..) {
            let Some(shown) = self.nodes.get(place) else { continue };
            let text = shown.text.as_ref().zip(text).map(|((node, _), text)| (node, text));
            for (node, value) in std::iter::once((&shown.node, value)).chain(text) {
                if let Some(NodeType::Variable(variable)) = address_space.find_mut(node) {
                    tell(&mut notifier, &shifted, node, &value);
                    variable.set_data_value(value);
                } else {
                    tracing::error!(publisher = self.cx.name, %node, "a value was not shown");
                    self.behind = true;
                }
            }
        }
        // Told while nobody can read another value yet.
        drop(notifier);
        drop(shifted);
        drop(address_space);
        // To an item without a filter the library tells no change but one of the value, and bad ones have
        // none: no value instead of an empty one makes it tell.
        let worse = self.worse.drain(..);
        let worse = worse
            .filter_map(|(place, value)| Some((value, &self.nodes.get(place)?.node, AttributeId::Value)));
        self.subscriptions.notify_data_change(worse);
    }

    /// Sets what the image has and the nodes have not. What still waits in the reader follows, and ends
    /// with the same or newer.
    async fn catch_up(&mut self) {
        self.behind = false;
        let directory = self.directory.borrow().clone();
        directory.devices().iter().for_each(|device| self.show_identity(device.id));
        let mut changed = Vec::new();
        for (at, tag) in directory.tags().iter().enumerate() {
            let Some(sample) = self.cx.store.latest(tag.id) else { continue };
            let place = self.places.get(&tag.id).copied().unwrap_or(usize::MAX);
            let last = self.nodes.get(place).and_then(|shown| shown.last);
            if last != Some((sample.at, sample.quality)) {
                self.put(&sample, true);
                changed.push(sample);
            }
            if at % Self::AT_ONCE == Self::AT_ONCE - 1 {
                self.flush();
                tokio::task::yield_now().await;
            }
        }
        self.flush();
        let (store, alarms) = (&self.cx.store, &self.manager.inner().alarms);
        alarms.take(changed.iter(), |tag| store.latest(tag), &self.manager, &self.subscriptions);
    }

    fn show_identity(&mut self, device: DeviceId) {
        let directory = self.directory.borrow().clone();
        // The gateway's own plate is that of its object.
        let Some(known) = directory.device(device).filter(|device| !device.is_node) else { return };
        let identity = self.cx.store.identity(device).map(|known| known.identity);
        if self.identities.get(&device) == Some(&identity) {
            return;
        }
        let mut address_space = self.manager.address_space().write();
        let (tags, plate) = (self.manager.inner(), directory.plate(device));
        tags.show_identity(&known.name, identity.as_deref(), plate, &mut address_space);
        drop(address_space);
        self.identities.insert(device, identity);
    }

    fn count_clients(&mut self) {
        let diagnostics = &self.handle.info().diagnostics;
        let count = |id| match diagnostics.get(id).and_then(|value| value.value) {
            Some(Variant::UInt32(count)) => count,
            _ => 0,
        };
        let now = count(VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CurrentSessionCount);
        let all = count(VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CumulatedSessionCount);
        // There may be another server beside it.
        self.cx.stats.clients.add(i64::from(now) - self.clients);
        self.clients = i64::from(now);
        self.cx.stats.connects.add(u64::from(all.saturating_sub(self.sessions)));
        self.sessions = all;
    }
}

/// A value to all items of a node; without its source time to those for which the library would shift it.
fn tell(
    notifier: &mut SubscriptionDataNotifier<'_>,
    shifted: &HashSet<MonitoredItemHandle>,
    node: &NodeId,
    value: &DataValue,
) {
    let Some(mut items) = notifier.notify_for(node, AttributeId::Value) else { return };
    for (item, _) in items.entries() {
        let value = if shifted.contains(item) { without_source_time(value) } else { value.clone() };
        items.data_value_to_item(value, item);
    }
}
