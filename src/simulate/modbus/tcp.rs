//! A Modbus TCP server on loopback: many clients, many units.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Slaves;
use super::manner::Reply;
use crate::drivers::modbus::pdu;
use crate::drivers::modbus::tcp;

/// A running server; it stops when it is dropped.
#[derive(Debug)]
pub struct TcpServer {
    address: SocketAddr,
    _stop: DropGuard,
}

/// Exception 11: the unit behind this address does not answer (Application Protocol V1.1b3, section 7).
const NO_SUCH_UNIT: u8 = 11;

impl TcpServer {
    /// Most clients at a time.
    pub const MAX_CLIENTS: usize = 64;

    /// Listens; port 0 takes a free one.
    pub async fn bind(address: SocketAddr, slaves: Slaves) -> io::Result<TcpServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::new(slaves), stop.clone()));
        Ok(TcpServer { address, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, slaves: Arc<Slaves>, stop: CancellationToken) {
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
                let slaves = slaves.clone();
                clients.spawn(async move {
                    if let Err(error) = serve(socket, &slaves).await {
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

/// One client, until it leaves or sends what is no Modbus.
async fn serve(mut socket: TcpStream, slaves: &Slaves) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut input, mut out) = (Vec::with_capacity(512), Vec::with_capacity(512));
    loop {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let Some(frame) = tcp::decode(rest).map_err(|_| io::ErrorKind::InvalidData)? else { break };
            used += frame.used;
            out.clear();
            let reply = slaves.get(&frame.unit).map(|slave| (slave, slave.reply()));
            match reply {
                Some((_, Reply::Never)) => continue,
                Some((slave, Reply::After(delay))) => {
                    tokio::time::sleep(delay).await;
                    tcp::encode(frame.transaction, frame.unit, &mut out, |out| {
                        slave.bank().answer(frame.pdu, out);
                    });
                }
                None => tcp::encode(frame.transaction, frame.unit, &mut out, |out| {
                    pdu::encode_exception(frame.pdu.first().copied().unwrap_or(0), NO_SUCH_UNIT, out);
                }),
            }
            socket.write_all(&out).await?;
        }
        // What is left is less than one frame, so the buffer stays small.
        input.drain(..used);
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}
