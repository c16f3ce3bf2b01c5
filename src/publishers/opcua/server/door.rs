//! The door before the library: accepts, counts and bounds connections, judges frames before they are held in memory.
//!
//! The library listens for itself, without an end to connections and without telling who asks; but it also dials
//! (Reverse Connect). So it never accepts here: for each client that comes in, or that is dialled, it is asked to dial
//! this door on loopback, with a word in its ReverseHello that only this door knows; and the two are joined.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use opcua::server::{ReverseConnectTargetConfig, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::discovery::Names;
use super::papers::{Inner, Keeper, Papers};
use super::peers::{Full, PeerId, Peers};
use crate::publishers::opcua::config::Bounds;
use crate::publishers::opcua::status::Status;
use crate::publishers::opcua::wire::{self, Guard, HEADER, Refusal};

/// A client must have said Hello, and then opened a channel, within this.
const HELLO: Duration = Duration::from_secs(5);
/// The library is on the same machine and in the same process.
const LIBRARY: Duration = Duration::from_secs(5);
/// A channel on which nobody logs in and nothing is asked for this long is ended.
const UNUSED: Duration = Duration::from_secs(60);
/// A chunk must be sent, and taken, within this.
const CHUNK: Duration = Duration::from_secs(30);
/// How long the library may still be at work for a client that is gone.
const DONE: Duration = Duration::from_secs(60);
/// Largest chunk of an answer: more than the library ever makes.
const ANSWER: usize = 1 << 20;

/// The door of one server.
pub(super) struct Door {
    /// The library server to which new connections go.
    current: watch::Receiver<Inner>,
    keeper: Arc<Keeper>,
    peers: Arc<Peers>,
    bounds: Bounds,
    names: Names,
    inner: TcpListener,
    inner_address: SocketAddr,
    /// Words that the library was asked to dial with, and who waits for it.
    asked: Mutex<HashMap<String, oneshot::Sender<TcpStream>>>,
    /// One Hello at a time is before the library, so that its task is known.
    hello: AsyncMutex<()>,
    /// Told once until it is over.
    full: Mutex<Option<Full>>,
}

/// A listener that never gets a client, for a library that wants one; it lives as long as the stream.
pub(super) async fn silent() -> io::Result<(TcpListener, TcpStream)> {
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ours = TcpStream::connect(own.local_addr()?).await?;
    let accepted = loop {
        let (accepted, from) = own.accept().await?;
        if from == ours.local_addr()? {
            break accepted;
        }
    };
    // A connected socket on which nothing ever comes: nobody can connect to it, and it is never ready.
    let listener = std::net::TcpListener::from(OwnedFd::from(accepted.into_std()?));
    Ok((TcpListener::from_std(listener)?, ours))
}

impl Door {
    pub(super) async fn new(
        current: watch::Receiver<Inner>,
        keeper: Arc<Keeper>,
        peers: Arc<Peers>,
        bounds: Bounds,
        names: Names,
    ) -> io::Result<Arc<Door>> {
        let inner = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let inner_address = inner.local_addr()?;
        Ok(Arc::new(Door {
            current,
            keeper,
            peers,
            bounds,
            names,
            inner,
            inner_address,
            asked: Mutex::default(),
            hello: AsyncMutex::default(),
            full: Mutex::default(),
        }))
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<TcpStream>>> {
        self.asked.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Lets clients in.
    pub(super) async fn serve(self: Arc<Door>, listener: TcpListener) -> Infallible {
        let mut clients = JoinSet::new();
        let meet = self.clone().meet_library();
        tokio::pin!(meet);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = clients.join_next() => continue,
                never = &mut meet => match never {},
            };
            match accepted {
                Ok((client, from)) => {
                    if let Some((id, close)) = self.admit(&client, from.ip()) {
                        clients.spawn(self.clone().attend(id, client, close, HELLO));
                    }
                }
                Err(error) => {
                    // No file descriptors, for example.
                    tracing::warn!(%error, "cannot accept OPC UA clients; tried again");
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// A place for a client, where there is one.
    pub(super) fn admit(&self, client: &TcpStream, from: IpAddr) -> Option<(PeerId, CancellationToken)> {
        let admitted = self.peers.admit(from, self.bounds);
        let mut told = self.full.lock().unwrap_or_else(|e| e.into_inner());
        match admitted {
            Ok(place) => {
                *told = None;
                Some(place)
            }
            Err(full) => {
                if told.replace(full) != Some(full) {
                    let bounds = self.bounds;
                    tracing::warn!(%from, ?full, ?bounds, "OPC UA clients are turned away: all places have sessions; raise max-connections if they are wanted");
                }
                // As much as goes without waiting.
                let refusal = wire::error(Status::BAD_TCP_NOT_ENOUGH_RESOURCES, "too many connections");
                let _ = client.try_write(&refusal);
                None
            }
        }
    }

    /// Takes the connections that the library makes, and gives each to who asked for it.
    async fn meet_library(self: Arc<Door>) -> Infallible {
        // Others on this machine could dial, too: they don't know a word, and wait for nobody else's place.
        let places = Arc::new(Semaphore::new(256));
        loop {
            let Ok((mut stream, _)) = self.inner.accept().await else {
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let door = self.clone();
            tokio::spawn(async move {
                let _place = place;
                if let Ok(Some(hello)) = timeout(LIBRARY, read_message(&mut stream, *b"RHE")).await {
                    let waiting = wire::reverse_hello_url(&hello).and_then(|word| door.asked().remove(word));
                    // Who asked may have gone: then the stream is dropped, and the library's task ends.
                    let _ = waiting.map(|waiting| waiting.send(stream));
                }
            });
        }
    }

    /// A connection into the library.
    async fn library(&self, handle: &ServerHandle) -> Option<TcpStream> {
        let random = opcua::crypto::random::byte_string(32);
        let word: String = random.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let (tell, told) = oneshot::channel();
        self.asked().insert(word.clone(), tell);
        handle.add_reverse_connect_target(ReverseConnectTargetConfig {
            address: self.inner_address,
            endpoint_url: word.clone(),
            id: word.clone(),
        });
        let stream = timeout(LIBRARY, told).await;
        handle.remove_reverse_connect_target(&word);
        self.asked().remove(&word);
        stream.ok()?.ok()
    }

    /// From the first byte of a client to the last; `patience` is for its Hello.
    pub(super) async fn attend(
        self: Arc<Door>,
        id: PeerId,
        mut client: TcpStream,
        close: CancellationToken,
        patience: Duration,
    ) {
        let _ = client.set_nodelay(true);
        let mut library = None;
        let ended = tokio::select! {
            ended = self.join(id, &mut client, &mut library, patience) => ended,
            () = close.cancelled() => Some((Status::BAD_TCP_SERVER_TOO_BUSY, "closed by the server")),
        };
        self.peers.leaving(id);
        if let Some((status, why)) = ended {
            let _ = timeout(Duration::from_secs(1), client.write_all(&wire::error(status, why))).await;
        }
        drop(client);
        // The task of the library keeps its name until it is over: another's Hello must not be taken for it.
        if let Some(mut library) = library {
            let _ = library.shutdown().await;
            let mut rest = [0; 4096];
            let drained = async { while library.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
            let _ = timeout(DONE, drained).await;
        }
        self.peers.gone(id);
    }

    /// Hello, then all messages both ways.
    async fn join(
        &self,
        id: PeerId,
        client: &mut TcpStream,
        place: &mut Option<TcpStream>,
        patience: Duration,
    ) -> Option<Refusal> {
        let hello = match timeout(patience, read_message(client, *b"HEL")).await {
            Ok(Some(hello)) => hello,
            Ok(None) => return Some((Status::BAD_TCP_MESSAGE_TYPE_INVALID, "a Hello is awaited")),
            Err(_) => return Some((Status::BAD_TIMEOUT, "no Hello came")),
        };
        let inner = self.current.borrow().clone();
        let Some(library) = self.library(&inner.handle).await else {
            return Some((Status::BAD_TCP_INTERNAL_ERROR, "the server does not take connections"));
        };
        let library = place.insert(library);
        let _ = library.set_nodelay(true);
        let answer = {
            let _one = self.hello.lock().await;
            self.peers.greeting(Some(id));
            let answer = timeout(LIBRARY, async {
                library.write_all(&hello).await.ok()?;
                read_any(library).await
            });
            let answer = answer.await.ok().flatten();
            self.peers.greeting(None);
            answer
        };
        let Some(answer) = answer else {
            return Some((Status::BAD_TCP_INTERNAL_ERROR, "the server does not answer"));
        };
        timeout(CHUNK, client.write_all(&answer)).await.ok()?.ok()?;
        if !answer.starts_with(b"ACK") {
            return None;
        }
        let at = client.local_addr().ok()?.ip();
        let wanted = wire::hello_url(&hello).and_then(|url| self.names.reached_as(url, at));
        let papers = Papers::new(client.peer_addr().ok()?, self.keeper.clone(), inner);
        let clear = AtomicBool::new(false);
        let (from_client, to_client) = client.split();
        let (from_library, to_library) = library.split();
        tokio::select! {
            ended = self.inbound(id, &papers, from_client, to_library, &clear) => ended,
            ended = self.outbound(&papers, from_library, to_client, wanted.as_deref(), &clear) => ended,
        }
    }

    /// Client to library. Each chunk is judged by its header before its body is read.
    async fn inbound(
        &self,
        id: PeerId,
        papers: &Papers,
        from: tokio::net::tcp::ReadHalf<'_>,
        mut to: tokio::net::tcp::WriteHalf<'_>,
        clear: &AtomicBool,
    ) -> Option<Refusal> {
        let mut from = BufReader::with_capacity(16 << 10, from);
        let mut guard = Guard::default();
        let mut chunk = Vec::new();
        let mut opened = false;
        loop {
            let mut head = [0; HEADER];
            let header = from.read_exact(&mut head);
            let read = match (opened, self.peers.has_session(id)) {
                (false, _) => timeout(HELLO, header).await,
                // The library has time-outs for sessions and for the renewal of channels.
                (true, true) => Ok(header.await),
                (true, false) => match timeout(UNUSED, header).await {
                    // Somebody may have logged in with the last message, after it was passed on.
                    Err(_) if self.peers.has_session(id) => continue,
                    read => read,
                },
            };
            match read {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((Status::BAD_TIMEOUT, "nothing was asked for too long")),
            }
            let header = wire::header(head);
            if let Err(status) = guard.take(header) {
                return Some((status, "no message that this server takes"));
            }
            if !opened && header.kind != *b"OPN" {
                return Some((Status::BAD_TCP_MESSAGE_TYPE_INVALID, "a channel must be opened first"));
            }
            chunk.clear();
            chunk.extend(head);
            chunk.resize(header.size, 0);
            let body = chunk.get_mut(HEADER..)?;
            match timeout(CHUNK, from.read_exact(body)).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((Status::BAD_TIMEOUT, "half a message came")),
            }
            if header.kind == *b"OPN" {
                opened = true;
                match papers.open(&chunk).await {
                    Ok(is_secure) => clear.store(!is_secure, Ordering::Relaxed),
                    Err(refused) => return Some(refused),
                }
            }
            to.write_all(&chunk).await.ok()?;
        }
    }

    /// Library to client; who does not read is let go.
    async fn outbound(
        &self,
        papers: &Papers,
        from: tokio::net::tcp::ReadHalf<'_>,
        mut to: tokio::net::tcp::WriteHalf<'_>,
        wanted: Option<&str>,
        clear: &AtomicBool,
    ) -> Option<Refusal> {
        let mut from = BufReader::with_capacity(16 << 10, from);
        let mut chunk = Vec::new();
        loop {
            let mut head = [0; HEADER];
            from.read_exact(&mut head).await.ok()?;
            let header = wire::header(head);
            let size = header.size;
            if !(HEADER..=ANSWER).contains(&size) {
                return None;
            }
            chunk.clear();
            chunk.extend(head);
            chunk.resize(size, 0);
            from.read_exact(chunk.get_mut(HEADER..)?).await.ok()?;
            if let Err(refused) = papers.answer(&chunk, header.kind == *b"OPN") {
                return Some(refused);
            }
            let is_clear = clear.load(Ordering::Relaxed);
            let changed = is_clear.then(|| self.names.put_right(&chunk, wanted)).flatten();
            let bytes = changed.as_deref().unwrap_or(&chunk);
            timeout(CHUNK, to.write_all(bytes)).await.ok()?.ok()?;
        }
    }
}

/// One message of this kind, and no more of it than a Hello may have.
async fn read_message(stream: &mut TcpStream, kind: [u8; 3]) -> Option<Vec<u8>> {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).await.ok()?;
    let header = wire::header(head);
    if header.kind != kind || header.last != b'F' {
        return None;
    }
    rest(stream, head, header.size).await
}

async fn read_any(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).await.ok()?;
    rest(stream, head, wire::header(head).size).await
}

async fn rest(stream: &mut TcpStream, head: [u8; HEADER], size: usize) -> Option<Vec<u8>> {
    if !(HEADER..=wire::LONGEST_HELLO * 2).contains(&size) {
        return None;
    }
    let mut message = head.to_vec();
    message.resize(size, 0);
    stream.read_exact(message.get_mut(HEADER..)?).await.ok()?;
    Some(message)
}
