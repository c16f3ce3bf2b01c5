//! The gateway listens and modems dial in: one listener an address, its diallers told apart by identity.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::identity::{self, Dialler};
use super::socket::keep_alive;

/// Most connections that have not yet said who they are.
const MOST_STRANGERS: usize = 64;
/// How long they may take to say it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The listeners of this process. An address can be bound once, and the links that share one are tasks that
/// know nothing of each other: this is where they meet. The links hold the listener, this list does not, so
/// the port is let go with the last of them.
static LISTENERS: Mutex<Vec<(SocketAddr, Weak<Listener>)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Listener {
    slots: Mutex<Vec<Slot>>,
    turned_away: AtomicU64,
    _stop: DropGuard,
}

/// What the listener knows of one seat.
#[derive(Debug)]
struct Slot {
    shared: Arc<Shared>,
    /// The connection that its link has not taken yet.
    waiting: Option<TcpStream>,
}

/// What a seat and its connections know of each other.
#[derive(Debug)]
struct Shared {
    /// `None`: anybody is welcome.
    identity: Option<Vec<u8>>,
    arrived: Notify,
    /// Counts the connections: only the newest is the device, the others are from before it started anew.
    newest: AtomicU64,
}

impl Listener {
    fn open(address: SocketAddr) -> io::Result<Arc<Listener>> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Else the port stays taken for a minute after a restart, by connections that are gone.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let socket = socket.listen(MOST_STRANGERS as u32)?;
        let stop = CancellationToken::new();
        let listener = Arc::new(Listener {
            slots: Mutex::default(),
            turned_away: AtomicU64::new(0),
            _stop: stop.clone().drop_guard(),
        });
        tokio::spawn(accept(socket, Arc::downgrade(&listener), stop));
        Ok(listener)
    }

    /// Hands the connection to the seat that it belongs to; gives it back where more must be said.
    fn offer(&self, said: &[u8], stream: TcpStream) -> Result<(), (Dialler, TcpStream)> {
        let mut slots = lock(&self.slots);
        let known = slots.iter().map(|slot| slot.shared.identity.as_deref().unwrap_or_default());
        match identity::recognise(said, known) {
            Dialler::Known(at) => {
                if let Some(slot) = slots.get_mut(at) {
                    // The link that has the older connection sees that another is the newest.
                    slot.shared.newest.fetch_add(1, Ordering::AcqRel);
                    slot.waiting = Some(stream);
                    slot.shared.arrived.notify_one();
                }
                Ok(())
            }
            other => Err((other, stream)),
        }
    }
}

async fn accept(socket: TcpListener, listener: Weak<Listener>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(MOST_STRANGERS));
    let mut strangers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = strangers.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would help nobody.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            turn_away(&listener, from, "too many have not said who they are");
            continue;
        };
        let listener = listener.clone();
        strangers.spawn(async move {
            let _place = place;
            match timeout(PATIENCE, identify(stream, &listener)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => turn_away(&listener, from, why),
                Err(_) => turn_away(&listener, from, "it did not say who it is in time"),
            }
        });
    }
}

fn turn_away(listener: &Weak<Listener>, from: SocketAddr, why: &str) {
    let Some(listener) = listener.upgrade() else { return };
    let turned_away = listener.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
    tracing::debug!(%from, why, turned_away, "a dialler was turned away");
}

/// Reads until it is clear who dialled in, and hands the connection on.
async fn identify(mut stream: TcpStream, listener: &Weak<Listener>) -> Result<(), &'static str> {
    keep_alive(&stream);
    let mut said = Vec::with_capacity(identity::MOST);
    loop {
        // What is said behind the identity, a line end mostly, is dropped: nobody has asked for anything.
        let Some(seats) = listener.upgrade() else { return Ok(()) };
        stream = match seats.offer(&said, stream) {
            Ok(()) => return Ok(()),
            Err((Dialler::NotYet, stream)) => stream,
            Err(_) => return Err("nobody waits for this identity"),
        };
        drop(seats);
        let room = identity::MOST.saturating_sub(said.len()) as u64;
        match (&mut stream).take(room).read_buf(&mut said).await {
            Ok(0) => return Err("it closed before it said who it is"),
            Ok(_) => {}
            Err(_) => return Err("it broke before it said who it is"),
        }
    }
}

/// A link's place at a listener; the listener closes when its last seat is given up.
#[derive(Debug)]
pub(super) struct Seat {
    listener: Arc<Listener>,
    shared: Arc<Shared>,
}

impl Seat {
    /// Within a runtime only; an error says what to do.
    pub(super) fn take(address: SocketAddr, identity: Option<&[u8]>) -> Result<Seat, String> {
        let mut listeners = lock(&LISTENERS);
        listeners.retain(|(_, listener)| listener.strong_count() > 0);
        let known = listeners.iter().find(|(at, _)| *at == address);
        let listener = match known.and_then(|(_, listener)| listener.upgrade()) {
            Some(listener) => listener,
            None => {
                let listener = Listener::open(address).map_err(|error| {
                    format!("cannot listen on {address}: {error}; does another program listen there?")
                })?;
                listeners.push((address, Arc::downgrade(&listener)));
                listener
            }
        };
        let identity = identity.map(<[u8]>::to_vec);
        let mut slots = lock(&listener.slots);
        if slots.iter().any(|slot| slot.shared.identity == identity) {
            return Err(format!(
                "another link waits for the same dialler at {address}; give each its own identity"
            ));
        }
        let shared = Arc::new(Shared { identity, arrived: Notify::new(), newest: AtomicU64::new(0) });
        slots.push(Slot { shared: shared.clone(), waiting: None });
        drop(slots);
        Ok(Seat { listener, shared })
    }

    /// The newest connection of the dialler; waits for one that was not taken yet.
    pub(super) async fn next(&mut self) -> Dialled {
        loop {
            if let Some(dialled) = self.waiting() {
                return dialled;
            }
            self.shared.arrived.notified().await;
        }
    }

    fn waiting(&self) -> Option<Dialled> {
        let mut slots = lock(&self.listener.slots);
        let own = slots.iter_mut().find(|slot| Arc::ptr_eq(&slot.shared, &self.shared))?;
        let stream = own.waiting.take()?;
        let number = self.shared.newest.load(Ordering::Acquire);
        Some(Dialled { stream, number, shared: self.shared.clone(), may_identify: true })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.listener.slots).retain(|slot| !Arc::ptr_eq(&slot.shared, &self.shared));
    }
}

/// The connection of a device that dialled in. It reads as closed as soon as the same device dialled in anew.
#[derive(Debug)]
pub(super) struct Dialled {
    stream: TcpStream,
    number: u64,
    shared: Arc<Shared>,
    /// Nothing of an answer has been read: what comes next may be the identity, said again.
    may_identify: bool,
}

impl Dialled {
    /// What is read next is the start of an answer, or nobody asked for it.
    pub(super) fn between_answers(&mut self) {
        self.may_identify = true;
    }
}

impl AsyncRead for Dialled {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.shared.newest.load(Ordering::Acquire) != this.number {
                tracing::debug!("the device dialled in anew; its older connection is closed");
                return Poll::Ready(Ok(()));
            }
            let start = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let read = buffer.filled_mut().get_mut(start..).unwrap_or_default();
            let length = read.len();
            let used = match &this.shared.identity {
                Some(identity) if this.may_identify => identity::heartbeat(read, identity),
                _ => 0,
            };
            this.may_identify = length == used;
            if used == 0 {
                return Poll::Ready(Ok(()));
            }
            read.copy_within(used.., 0);
            buffer.set_filled(start + length - used);
            // Nothing at all would read as closed: wait for more instead.
            if length > used {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
