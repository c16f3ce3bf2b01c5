//! Answers requests on any wire: a serial line or a socket, whatever the framing.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Slaves;
use super::answer::{Way, answer};
use super::heard::{Heard, heard, is_line};
use super::noise::Noise;
use crate::drivers::modbus::framing::Framing;
use crate::drivers::modbus::rtu::Pace;

/// What a wire is like.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) framing: Framing,
    /// How slow it is; without it bytes take no time.
    pub(super) pace: Option<Pace>,
    pub(super) noise: Option<Noise>,
}

/// How long bytes of one request may be apart on a line: the system hands them over in chunks.
const WITHIN: Duration = Duration::from_millis(50);
/// The pause between two bytes of an answer that comes a byte at a time.
const BYTEWISE: Duration = Duration::from_millis(2);
/// Late answers kept; a device forgets what came before.
const MOST_LATE: usize = 64;

/// One end of a wire while it is served.
struct Served<'a, W> {
    wire: &'a mut Wire,
    output: W,
    noisy: Vec<u8>,
    /// Answers that are still to come while others are given.
    late: Vec<(Instant, Vec<u8>)>,
}

/// Answers until the other end is gone, or on a socket sends what is no Modbus.
pub(super) async fn serve<R, W>(mut input: R, output: W, wire: &mut Wire, slaves: &Slaves) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let framing = wire.framing;
    let (silence, frame) = wire.pace.map_or((WITHIN, WITHIN), |pace| {
        (pace.silence().max(WITHIN), pace.bytes(framing.most()).max(WITHIN))
    });
    let mut served = Served { wire, output, noisy: Vec::new(), late: Vec::new() };
    let (mut bytes, mut out) = (Vec::with_capacity(512), Vec::with_capacity(512));
    let (mut chunk, mut scratch) = ([0; 512], Vec::new());
    loop {
        match heard(framing, &bytes, &mut scratch) {
            Heard::Request(asked) => {
                let (arrived, used) = (Instant::now(), asked.used);
                out.clear();
                if let Some(sending) = answer(framing, slaves, &asked, &mut out) {
                    // The pseudo-terminal is at once where a line takes its time: the request, the silence
                    // that ends it (Serial Line V1.02, section 2.5.1.1), and the answer.
                    let line = served.wire.pace.map(|pace| pace.bytes(used + out.len()) + pace.silence());
                    let at = arrived + sending.after + line.unwrap_or_default();
                    if sending.late {
                        served.late.truncate(MOST_LATE - 1);
                        served.late.push((at, std::mem::take(&mut out)));
                        served.late.sort_by_key(|(at, _)| *at);
                    } else {
                        served.until(at).await?;
                        served.send(&out, sending.way).await?;
                    }
                }
                bytes.drain(..used);
            }
            Heard::Skip(count) => drop(bytes.drain(..count.min(bytes.len()))),
            Heard::Noise if is_line(framing) => {
                while timeout(silence, input.read(&mut chunk)).await.is_ok_and(|read| matches!(read, Ok(1..)))
                {
                }
                bytes.clear();
            }
            Heard::Noise => return Err(io::ErrorKind::InvalidData.into()),
            Heard::More => {
                let unfinished = is_line(framing) && !bytes.is_empty();
                let patience = Instant::now() + if unfinished { frame } else { Duration::from_secs(86_400) };
                let due = served.late.first().map_or(patience, |(at, _)| patience.min(*at));
                match timeout_at(due, input.read(&mut chunk)).await {
                    // Nobody can hold the other end any more.
                    Ok(Ok(0)) => return Ok(()),
                    Ok(count) => served.hear(chunk.get(..count?).unwrap_or_default(), &mut bytes),
                    Err(_) if due < patience => served.until(due).await?,
                    // A request that was never finished.
                    Err(_) => bytes.clear(),
                }
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> Served<'_, W> {
    /// What arrives of what was sent.
    fn hear(&mut self, sent: &[u8], bytes: &mut Vec<u8>) {
        match &mut self.wire.noise {
            Some(noise) => noise.pass(sent, bytes),
            None => bytes.extend_from_slice(sent),
        }
    }

    /// Waits, and sends what is due meanwhile.
    async fn until(&mut self, at: Instant) -> io::Result<()> {
        while self.late.first().is_some_and(|(due, _)| *due <= at) {
            let (due, bytes) = self.late.remove(0);
            sleep_until(due).await;
            self.send(&bytes, Way::Whole).await?;
        }
        sleep_until(at).await;
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8], way: Way) -> io::Result<()> {
        self.noisy.clear();
        let bytes = match &mut self.wire.noise {
            Some(noise) => {
                noise.pass(bytes, &mut self.noisy);
                self.noisy.as_slice()
            }
            None => bytes,
        };
        match way {
            Way::Whole => self.output.write_all(bytes).await,
            Way::Bytewise => {
                for byte in bytes {
                    self.output.write_all(&[*byte]).await?;
                    tokio::time::sleep(BYTEWISE).await;
                }
                Ok(())
            }
            Way::Cut => {
                self.output.write_all(bytes).await?;
                // A line stays as it is; a connection is closed.
                if self.wire.pace.is_some() { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
            }
        }
    }
}
