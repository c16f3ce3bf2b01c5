//! Who is connected, who wants what, what is retained.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::codec::{self, Message, Qos};
use super::{Counts, Faults};

/// Messages that may wait for one client, and their bytes.
const QUEUE: usize = 8192;
const QUEUE_BYTES: usize = 32 << 20;
/// Retained messages, and filters of one client.
const RETAINED: usize = 10_000;
const FILTERS: usize = 1000;

/// What waits to be written to a client.
#[derive(Debug)]
pub(super) enum Out {
    /// An answer, ready to be written.
    Answer(Bytes),
    /// A message, to be given a packet identifier where its QoS needs one.
    Message { message: Arc<Message>, qos: Qos, retain: bool },
}

/// Routing state of all clients.
#[derive(Debug, Default)]
pub(super) struct Hub {
    pub(super) counts: Counts,
    pub(super) faults: Faults,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<String, Client>,
    retained: HashMap<String, Arc<Message>>,
}

#[derive(Debug)]
struct Client {
    number: u64,
    queue: Queue,
    kick: CancellationToken,
    filters: Vec<(String, Qos)>,
}

/// A client's bounded queue; the writer takes from its other end.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Out>,
    waiting: Arc<AtomicUsize>,
}

/// A client's place in the hub.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    client_id: String,
    number: u64,
    pub(super) kick: CancellationToken,
    pub(super) queue: Queue,
}

impl Queue {
    pub(super) fn new() -> (Queue, mpsc::Receiver<Out>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Queue { sender, waiting: Arc::default() }, receiver)
    }

    /// False when the client does not read what it asked for.
    pub(super) fn put(&self, out: Out) -> bool {
        let bytes = out.bytes();
        if self.waiting.fetch_add(bytes, Relaxed) + bytes > QUEUE_BYTES {
            return false;
        }
        self.sender.try_send(out).is_ok()
    }

    /// The writer took it.
    pub(super) fn taken(&self, out: &Out) {
        self.waiting.fetch_sub(out.bytes(), Relaxed);
    }
}

impl Out {
    fn bytes(&self) -> usize {
        match self {
            Out::Answer(bytes) => bytes.len(),
            Out::Message { message, .. } => message.payload.len() + message.topic.len(),
        }
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// 3.1.4: a second client of one id takes the place of the first. An empty id gets one of ours.
    pub(super) fn join(&self, client_id: String, queue: Queue) -> Membership {
        let number = self.next.fetch_add(1, Relaxed);
        let client_id = if client_id.is_empty() { format!("auto-{number}") } else { client_id };
        let kick = CancellationToken::new();
        let client = Client { number, queue: queue.clone(), kick: kick.clone(), filters: Vec::new() };
        if let Some(other) = self.state().clients.insert(client_id.clone(), client) {
            other.kick.cancel();
            self.counts.takeovers.bump();
        }
        self.counts.connects.bump();
        Membership { client_id, number, kick, queue }
    }

    /// Takes a client out, unless another took its place already.
    pub(super) fn leave(&self, member: &Membership) {
        let mut state = self.state();
        if state.clients.get(&member.client_id).is_some_and(|c| c.number == member.number) {
            state.clients.remove(&member.client_id);
        }
    }

    /// 3.8.4: remembers the filters and sends what is retained; false when there are too many filters.
    pub(super) fn subscribe(&self, member: &Membership, filters: Vec<(String, Qos)>) -> bool {
        let mut state = self.state();
        let State { clients, retained } = &mut *state;
        let Some(client) = clients.get_mut(&member.client_id).filter(|c| c.number == member.number) else {
            return false;
        };
        for (filter, qos) in filters {
            for message in retained.values().filter(|m| codec::matches(&filter, &m.topic)) {
                self.deliver(client, message, qos, true);
            }
            client.filters.retain(|(f, _)| *f != filter);
            client.filters.push((filter, qos));
        }
        client.filters.len() <= FILTERS
    }

    pub(super) fn unsubscribe(&self, member: &Membership, filters: &[String]) {
        if let Some(client) = self.state().clients.get_mut(&member.client_id)
            && client.number == member.number
        {
            client.filters.retain(|(f, _)| !filters.contains(f));
        }
    }

    /// 3.3.5, 3.3.1.3: to each client once, at the highest QoS of its matching filters.
    pub(super) fn publish(&self, message: Message) {
        let mut state = self.state();
        let message = Arc::new(message);
        if message.retain {
            if message.payload.is_empty() {
                state.retained.remove(&message.topic);
            } else if state.retained.len() < RETAINED || state.retained.contains_key(&message.topic) {
                state.retained.insert(message.topic.clone(), message.clone());
            } else {
                self.counts.not_retained.bump();
            }
        }
        for client in state.clients.values() {
            let wanted = client.filters.iter().filter(|(f, _)| codec::matches(f, &message.topic));
            if let Some(qos) = wanted.map(|(_, qos)| *qos).max() {
                self.deliver(client, &message, qos, false);
            }
        }
    }

    fn deliver(&self, client: &Client, message: &Arc<Message>, granted: Qos, retain: bool) {
        if client.kick.is_cancelled() {
            return;
        }
        let out = Out::Message { message: message.clone(), qos: granted.min(message.qos), retain };
        if client.queue.put(out) {
            self.counts.delivered.bump();
        } else {
            self.counts.slow.bump();
            client.kick.cancel();
        }
    }

    pub(super) fn clients(&self) -> usize {
        self.state().clients.len()
    }

    pub(super) fn cut_all(&self) {
        self.state().clients.values().for_each(|c| c.kick.cancel());
    }
}
