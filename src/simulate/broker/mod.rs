//! A small MQTT 3.1.1 broker on loopback, for the demo and for fault tests.
//!
//! All three QoS inbound (2 by packet identifier until its PUBREL, 4.3.3 method A), at most 1
//! outbound; wildcards, retained messages, wills, keep-alive, client take-over. It keeps no session:
//! CONNACK always says so, and nothing is kept for clients that are away. User names are not asked for,
//! therefore it binds loopback addresses only.

mod codec;
mod hub;
mod session;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::telemetry::Counter;

use self::hub::Hub;

/// What the broker did.
#[derive(Debug, Default)]
pub struct Counts {
    /// CONNECT packets accepted.
    pub connects: Counter,
    /// Clients cut off because another came with their client id.
    pub takeovers: Counter,
    /// Messages that clients published.
    pub published: Counter,
    /// Messages put into clients' queues.
    pub delivered: Counter,
    /// Wills published.
    pub wills: Counter,
    /// Clients dropped because their queue was full.
    pub slow: Counter,
    /// Clients dropped because of what they sent: no MQTT, too large, too much.
    pub refused: Counter,
    /// Clients dropped because they were silent for 1.5 keep-alives.
    pub silent: Counter,
    /// Retained messages not kept because there were too many.
    pub not_retained: Counter,
}

/// Faults that tests switch on; all off at the start.
#[derive(Debug, Default)]
pub struct Faults {
    /// No PUBACK, PUBREC, PUBCOMP.
    pub withhold_puback: Switch,
    /// No SUBACK; the subscription counts all the same.
    pub withhold_suback: Switch,
    /// No PINGRESP.
    pub withhold_pingresp: Switch,
    /// All that clients send is read and forgotten, without an answer: a silent link.
    pub swallow: Switch,
    /// CONNECT is answered with "server unavailable".
    pub unavailable: Switch,
}

/// On or off.
#[derive(Debug, Default)]
pub struct Switch(AtomicBool);

impl Switch {
    /// Switches.
    pub fn set(&self, on: bool) {
        self.0.store(on, Relaxed);
    }
    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A running broker; it stops when it is dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    hub: Arc<Hub>,
    stop: DropGuard,
    accepting: tokio::task::JoinHandle<()>,
}

impl Broker {
    /// Largest packet taken from a client.
    pub const MAX_PACKET: usize = 8 << 20;
    /// Most clients at a time.
    pub const MAX_CLIENTS: usize = 256;

    /// Listens on a loopback address; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Broker> {
        if !address.ip().is_loopback() {
            let why = format!("{address} is not a loopback address: this broker asks nobody who he is");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let hub = Arc::new(Hub::default());
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, hub.clone(), stop.clone()));
        Ok(Broker { address, hub, stop: stop.drop_guard(), accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it did.
    pub fn counts(&self) -> &Counts {
        &self.hub.counts
    }

    /// Faults to be switched on by tests.
    pub fn faults(&self) -> &Faults {
        &self.hub.faults
    }

    /// Clients connected now.
    pub fn clients(&self) -> usize {
        self.hub.clients()
    }

    /// Cuts all connections without a word; wills are published.
    pub fn cut(&self) {
        self.hub.cut_all();
    }

    /// Stops listening and cuts all connections; the address is free when this returns.
    pub async fn stop(self) {
        let Broker { stop, accepting, .. } = self;
        drop(stop);
        // It ends at the cancellation; a panic in it was logged where it happened.
        let _ = accepting.await;
    }
}

async fn accept(listener: TcpListener, hub: Arc<Hub>, stop: CancellationToken) {
    let mut sessions = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = sessions.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, _)) if sessions.len() < Broker::MAX_CLIENTS => {
                sessions.spawn(session::run(socket, hub.clone()));
            }
            Ok(_) => hub.counts.refused.bump(),
            Err(error) => {
                tracing::debug!(%error, "the broker cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    sessions.shutdown().await;
}
