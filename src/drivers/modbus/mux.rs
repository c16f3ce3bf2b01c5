//! One TCP connection that several lanes share, with a request of each in flight.

use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::pdu::Request;
use super::socket::{Door, Socket};
use super::stream::Stream;
use super::tcp;
use super::waiting::{Outcome, Waiting};
use crate::model::Fault;

/// The connection.
#[derive(Debug)]
pub(super) struct Mux {
    socket: Socket,
    /// Who holds it writes, or opens the connection.
    way: Mutex<Way>,
    waiting: Arc<StdMutex<Waiting>>,
    trouble: Arc<StdMutex<String>>,
}

#[derive(Debug, Default)]
struct Way {
    writer: Option<Writer>,
    door: Door,
}

/// The way out, and the task that reads what comes in; both end together.
#[derive(Debug)]
struct Writer {
    half: WriteHalf<Stream>,
    reader: AbortOnDropHandle<()>,
}

fn lock<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mux {
    /// Time-outs in a row after which the connection is made anew: the peer may be gone without a word.
    const MOST_TIMEOUTS: u32 = 3;

    pub(super) fn new(socket: Socket) -> Mux {
        Mux { socket, way: Mutex::default(), waiting: Arc::default(), trouble: Arc::default() }
    }

    /// The last trouble in words.
    pub(super) fn trouble(&self) -> String {
        lock(&self.trouble).clone()
    }

    /// Answers that came too late since this was last asked by any lane.
    pub(super) fn take_late(&self) -> u64 {
        lock(&self.waiting).take_late()
    }

    /// Opens the connection; does nothing when it is open. Gives who is at the other end.
    pub(super) async fn connect(&self) -> Result<String, Fault> {
        let mut way = self.way.lock().await;
        self.open(&mut way).await?;
        Ok(way.door.peer().to_owned())
    }

    async fn open(&self, Way { writer, door }: &mut Way) -> Result<(), Fault> {
        // Its reader ends with the connection: the peer may have closed it while nothing was asked.
        if writer.as_ref().is_some_and(|writer| !writer.reader.is_finished()) {
            return Ok(());
        }
        *writer = None;
        match self.socket.open(door).await {
            Ok(stream) => {
                let (reading, half) = tokio::io::split(stream);
                let (waiting, trouble) = (self.waiting.clone(), self.trouble.clone());
                let name = door.peer().to_owned();
                let reader = tokio::spawn(async move {
                    let (fault, why) = read(reading, &waiting).await;
                    *lock(&trouble) = format!("the connection to {name} broke: {why}");
                    lock(&waiting).end(fault);
                });
                *writer = Some(Writer { half, reader: AbortOnDropHandle::new(reader) });
                Ok(())
            }
            Err(trouble) => {
                *lock(&self.trouble) = trouble;
                Err(Fault::NotConnected)
            }
        }
    }

    /// One request and its answer, beside those of others; `out` is scratch space.
    pub(super) async fn transact(
        &self,
        unit: u8,
        request: &Request,
        patience: Duration,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let mut way = self.way.lock().await;
        self.open(&mut way).await?;
        // Taken out while it writes: where this future is dropped half-way, the connection goes with it, since
        // whatever is said next on it is not understood.
        let Some(mut connection) = way.writer.take() else { return Err(Fault::NotConnected) };
        let (transaction, answer) = lock(&self.waiting).enter(unit);
        out.clear();
        tcp::encode(transaction, unit, out, |out| request.encode(out));
        let sending = async {
            connection.half.write_all(out).await?;
            // Under TLS written is encrypted; flushed is sent.
            connection.half.flush().await
        };
        let why = match timeout(patience, sending).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it takes no more bytes".into()),
        };
        if let Some(why) = why {
            *lock(&self.trouble) = format!("the connection to {} broke: {why}", way.door.peer());
            lock(&self.waiting).end(Fault::NotConnected);
            return Err(Fault::NotConnected);
        }
        way.writer = Some(connection);
        drop(way);
        match timeout(patience, answer).await {
            Ok(outcome) => outcome.unwrap_or(Err(Fault::NotConnected)),
            Err(_) => {
                let timeouts = lock(&self.waiting).give_up(transaction);
                if timeouts >= Self::MOST_TIMEOUTS {
                    self.way.lock().await.writer = None;
                    // Asked over the connection that is given up: it was no answer of any of them.
                    lock(&self.waiting).end(Fault::Timeout);
                }
                Err(Fault::Timeout)
            }
        }
    }
}

/// Hands each answer to who asked, until the connection ends; says how.
async fn read(mut half: ReadHalf<Stream>, waiting: &StdMutex<Waiting>) -> (Fault, String) {
    let mut input = Vec::new();
    loop {
        match tcp::decode(&input) {
            Ok(Some(frame)) => {
                lock(waiting).answer(&frame);
                let used = frame.used;
                input.drain(..used);
            }
            // Where the next frame starts cannot be known: only a new connection is sure.
            Err(tcp::NoFrame) => return (Fault::Garbled, "what it says is no Modbus TCP".into()),
            Ok(None) => match half.read_buf(&mut input).await {
                Ok(0) => return (Fault::NotConnected, "the device closed it".into()),
                Err(error) => return (Fault::NotConnected, error.to_string()),
                Ok(_) => {}
            },
        }
    }
}
