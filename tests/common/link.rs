//! A link to a broker that a test makes slow, or dead without closing it.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Forwards connections.
pub(super) struct Link {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Bytes a second towards the broker; 0: as fast as it goes.
    pace: AtomicU64,
    /// Nothing goes through, either way, and nothing is closed.
    dead: AtomicBool,
    made: AtomicU64,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    pub(super) async fn to(broker: SocketAddr) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let task = tokio::spawn({
            let state = state.clone();
            async move {
                let mut sockets = JoinSet::new();
                loop {
                    let Ok((near, _)) = listener.accept().await else { return };
                    state.made.fetch_add(1, SeqCst);
                    sockets.spawn(both(near, broker, state.clone()));
                }
            }
        });
        Link { address, state, task }
    }

    /// A listener that takes connections, and never reads or answers.
    pub(super) async fn to_nobody() -> Link {
        let link = Link::to(SocketAddr::from(([127, 0, 0, 1], 9))).await;
        link.die(true);
        link
    }

    pub(super) fn pace(&self, bytes_a_second: u64) {
        self.state.pace.store(bytes_a_second, SeqCst);
    }

    /// What was open when it died stays dead.
    pub(super) fn die(&self, dead: bool) {
        self.state.dead.store(dead, SeqCst);
    }

    /// Connections that were made so far.
    pub(super) fn made(&self) -> u64 {
        self.state.made.load(SeqCst)
    }
}

async fn both(near: TcpStream, broker: SocketAddr, state: Arc<State>) {
    if state.dead.load(SeqCst) {
        return std::future::pending().await;
    }
    let Ok(far) = TcpStream::connect(broker).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = forward(near_in, far_out, &state, true) => {}
        () = forward(far_in, near_out, &state, false) => {}
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &State,
    paced: bool,
) {
    const TICKS: u64 = 20;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let mut left = &buffer[..read];
        while !left.is_empty() {
            if state.dead.load(SeqCst) {
                return std::future::pending().await;
            }
            let pace = if paced { state.pace.load(SeqCst) } else { 0 };
            let most = if pace == 0 { left.len() } else { left.len().min((pace / TICKS) as usize) };
            let (now, later) = left.split_at(most);
            if to.write_all(now).await.is_err() {
                return;
            }
            if let Some(micros) = (1_000_000 * most as u64).checked_div(pace) {
                tokio::time::sleep(Duration::from_micros(micros)).await;
            }
            left = later;
        }
    }
}
