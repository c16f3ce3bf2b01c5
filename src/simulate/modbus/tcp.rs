//! A Modbus server on loopback: many clients, many units.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Slaves;
use super::noise::Noise;
use super::serve::{Wire, serve};
use crate::drivers::modbus::framing::Framing;

/// A running server; it stops when it is dropped.
#[derive(Debug)]
pub struct TcpServer {
    address: SocketAddr,
    _stop: DropGuard,
}

impl TcpServer {
    /// Most clients at a time.
    pub const MAX_CLIENTS: usize = 64;

    /// Listens for Modbus TCP; port 0 takes a free one.
    pub async fn bind(address: SocketAddr, slaves: Slaves) -> io::Result<TcpServer> {
        TcpServer::bind_framed(address, Framing::Tcp, None, slaves).await
    }

    /// Listens for frames of this kind; port 0 takes a free one. Noise is that of the line behind the socket.
    pub async fn bind_framed(
        address: SocketAddr,
        framing: Framing,
        noise: Option<Noise>,
        slaves: Slaves,
    ) -> io::Result<TcpServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let wire = Wire { framing, pace: None, noise };
        tokio::spawn(accept(listener, wire, Arc::new(slaves), stop.clone()));
        Ok(TcpServer { address, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, wire: Wire, slaves: Arc<Slaves>, stop: CancellationToken) {
    // Dropped with this task, and with it all its clients.
    let mut clients = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = clients.join_next() => continue,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) if clients.len() < TcpServer::MAX_CLIENTS => {
                let (slaves, mut wire) = (slaves.clone(), wire.clone());
                clients.spawn(async move {
                    let _ = socket.set_nodelay(true);
                    let (input, output) = socket.into_split();
                    if let Err(error) = serve(input, output, &mut wire, &slaves).await {
                        tracing::debug!(%error, "a client of a simulated device is gone");
                    }
                });
            }
            Ok(_) => tracing::debug!("a simulated device has too many clients"),
            Err(error) => {
                tracing::debug!(%error, "a simulated device cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
