//! Who is connected: from which address, logged in as whom. Bounds the number, and tells the authenticator who asks.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use tokio::task;
use tokio_util::sync::CancellationToken;

use crate::publishers::opcua::config::Bounds;

/// A connection's number; the greater the younger.
pub(super) type PeerId = u64;

#[derive(Debug)]
struct Peer {
    address: IpAddr,
    /// Everybody who logged in over it; empty is a channel without a session.
    users: Vec<String>,
    close: CancellationToken,
    /// The client is gone, the library's task perhaps not yet.
    leaving: bool,
}

#[derive(Debug, Default)]
struct Table {
    next: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    /// The library's tasks, one a connection.
    tasks: HashMap<task::Id, PeerId>,
    greeting: Option<PeerId>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Table>);

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Too many in all, and each is logged in.
    Total,
    /// Too many of that address, and each is logged in.
    Address,
}

impl Peers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes a connection. Where there are too many, the oldest without a session makes room (OPC 10000-4
    /// section 5.5.2), first of the same address, so that one host cannot push out the others.
    pub(super) fn admit(&self, address: IpAddr, bounds: Bounds) -> Result<(PeerId, CancellationToken), Full> {
        let address = address.to_canonical();
        let mut table = self.table();
        let there = |table: &Table, of: Option<IpAddr>| {
            table.peers.values().filter(|p| !p.leaving && of.is_none_or(|of| of == p.address)).count()
        };
        if there(&table, Some(address)) >= bounds.per_address && !table.make_room(Some(address)) {
            return Err(Full::Address);
        }
        if there(&table, None) >= bounds.connections && !table.make_room(None) {
            return Err(Full::Total);
        }
        // Those that leave hold a socket for a moment; a flood shall not pile them up.
        if table.peers.len() >= bounds.connections * 2 + 16 {
            return Err(Full::Total);
        }
        let id = table.next;
        table.next += 1;
        let close = CancellationToken::new();
        table.peers.insert(id, Peer { address, users: Vec::new(), close: close.clone(), leaving: false });
        Ok((id, close))
    }

    /// The connection whose Hello is before the library now: one at a time, `None` when it was answered.
    pub(super) fn greeting(&self, id: Option<PeerId>) {
        self.table().greeting = id;
    }

    /// Called in a task of the library while it answers a Hello: from now on this task is that connection.
    pub(super) fn greeted(&self) {
        let Some(task) = task::try_id() else { return };
        let mut table = self.table();
        if let Some(id) = table.greeting {
            table.tasks.entry(task).or_insert(id);
        }
    }

    /// Where the client is whose request the current task answers.
    pub(super) fn here(&self) -> Option<IpAddr> {
        let table = self.table();
        let id = table.tasks.get(&task::try_id()?)?;
        Some(table.peers.get(id)?.address)
    }

    /// The client whose request the current task answers is now this user.
    pub(super) fn logged_in(&self, user: &str) {
        let mut table = self.table();
        let id = task::try_id().and_then(|task| table.tasks.get(&task).copied());
        let peer = id.and_then(|id| table.peers.get_mut(&id));
        if let Some(peer) = peer.filter(|peer| !peer.users.iter().any(|known| known == user)) {
            peer.users.push(user.to_owned());
        }
    }

    /// Whether somebody logged in over it.
    pub(super) fn has_session(&self, id: PeerId) -> bool {
        self.table().peers.get(&id).is_some_and(|peer| !peer.users.is_empty())
    }

    /// Ends the connections of these users; gives how many.
    pub(super) fn end(&self, users: &[String]) -> usize {
        let table = self.table();
        let theirs = table.peers.values().filter(|peer| peer.users.iter().any(|user| users.contains(user)));
        theirs.map(|peer| peer.close.cancel()).count()
    }

    /// The client is gone; its place is free.
    pub(super) fn leaving(&self, id: PeerId) {
        if let Some(peer) = self.table().peers.get_mut(&id) {
            peer.leaving = true;
        }
    }

    /// The library is done with it, too.
    pub(super) fn gone(&self, id: PeerId) {
        let mut table = self.table();
        table.peers.remove(&id);
        table.tasks.retain(|_, of| *of != id);
    }
}

impl Table {
    /// Ends the oldest connection without a session; whether there was one.
    fn make_room(&mut self, of: Option<IpAddr>) -> bool {
        let unused = |peer: &&mut Peer| {
            peer.users.is_empty() && !peer.leaving && of.is_none_or(|of| of == peer.address)
        };
        let oldest = self.peers.values_mut().find(unused);
        oldest.map(|peer| (peer.leaving = true, peer.close.cancel())).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { connections: 3, per_address: 2, sessions: 1 };

    fn at(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    async fn log_in(peers: &'static Peers, id: PeerId, user: &'static str) {
        tokio::spawn(async move {
            peers.greeting(Some(id));
            peers.greeted();
            peers.greeting(None);
            peers.logged_in(user);
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn the_oldest_without_a_session_makes_room_and_those_with_one_stay() {
        let peers: &Peers = Box::leak(Box::default());
        let (first, first_close) = peers.admit(at(1), BOUNDS).unwrap();
        let (_, second_close) = peers.admit(at(1), BOUNDS).unwrap();
        let (third, third_close) = peers.admit(at(2), BOUNDS).unwrap();
        log_in(peers, first, "op").await;
        let (fourth, _) = peers.admit(at(3), BOUNDS).unwrap();
        assert!(!first_close.is_cancelled() && second_close.is_cancelled() && !third_close.is_cancelled());
        log_in(peers, third, "op").await;
        log_in(peers, fourth, "viewer").await;
        assert_eq!(peers.admit(at(4), BOUNDS).unwrap_err(), Full::Total);
        peers.leaving(fourth);
        assert!(peers.admit(at(4), BOUNDS).is_ok());
    }

    #[tokio::test]
    async fn one_address_pushes_out_its_own_only() {
        let peers = Peers::default();
        let (_, other) = peers.admit(at(9), BOUNDS).unwrap();
        let closes: Vec<_> = (0..5).map(|_| peers.admit(at(1), BOUNDS).unwrap().1).collect();
        assert!(!other.is_cancelled());
        let ended: Vec<_> = closes.iter().map(CancellationToken::is_cancelled).collect();
        assert_eq!(ended, [true, true, true, false, false]);
    }

    #[tokio::test]
    async fn those_that_leave_do_not_pile_up() {
        let peers = Peers::default();
        let taken = (0..1000).filter(|n| peers.admit(at(*n as u8), BOUNDS).is_ok()).count();
        assert_eq!(taken, 22);
    }

    #[tokio::test]
    async fn a_task_is_the_connection_whose_hello_it_answered_first() {
        let peers: &'static Peers = Box::leak(Box::default());
        let (a, a_close) = peers.admit(at(1), BOUNDS).unwrap();
        let (b, b_close) = peers.admit(at(2), BOUNDS).unwrap();
        log_in(peers, a, "op").await;
        let task = tokio::spawn(async move {
            assert_eq!(peers.here(), None, "no Hello yet");
            peers.greeting(Some(b));
            peers.greeted();
            peers.greeting(Some(a));
            peers.greeted();
            peers.here()
        });
        assert_eq!(task.await.unwrap(), Some(at(2)));
        assert_eq!(peers.end(&["op".to_owned()]), 1);
        assert!(a_close.is_cancelled() && !b_close.is_cancelled());
        peers.gone(a);
        assert!(!peers.has_session(a));
    }
}
