//! Modbus RTU slaves on a serial bus that is a pseudo-terminal, as slow as its baud rate.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Slaves;
use super::manner::Reply;
use crate::drivers::modbus::pdu;
use crate::drivers::modbus::rtu::{self, Pace};

/// A running bus; it is gone when it is dropped.
#[derive(Debug)]
pub struct RtuBus {
    path: PathBuf,
    /// Before the port: the bus is told to end, and then the port is gone.
    _stop: DropGuard,
    /// Held so that the bus stays when its master closes the port and opens it again.
    _port: OwnedFd,
}

impl RtuBus {
    /// Makes a bus; a master opens [`RtuBus::path`] as a serial port of that pace.
    pub fn open(pace: Pace, slaves: Slaves) -> io::Result<RtuBus> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let path = PathBuf::from(name.to_str().map_err(|_| io::ErrorKind::InvalidData)?);
        let port = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = tcgetattr(&port)?;
        settings.make_raw();
        tcsetattr(&port, OptionalActions::Now, &settings)?;
        rustix::fs::fcntl_setfl(&master, rustix::fs::fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let mut line = Line::new(master)?;
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                end = serve(&mut line, pace, &slaves) => {
                    if let Err(error) = end {
                        tracing::warn!(%error, "a simulated serial bus ended");
                    }
                }
            }
        });
        Ok(RtuBus { path, _port: port, _stop: stop.drop_guard() })
    }

    /// The serial port that a master opens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The far end of the bus.
struct Line {
    input: pipe::Receiver,
    output: pipe::Sender,
}

impl Line {
    /// Tokio's pipe ends take any descriptor that can be waited for, and a pseudo-terminal is one.
    fn new(master: OwnedFd) -> io::Result<Line> {
        let input = pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
        Ok(Line { input, output: pipe::Sender::from_owned_fd_unchecked(master)? })
    }
}

/// What the bytes on the line are.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// The start of a request.
    More,
    /// A whole request of so many bytes.
    Request(usize),
    /// No request; what follows is not to be trusted before the line was silent.
    Noise,
}

/// A request's length follows from its first bytes; its CRC must be right.
fn heard(bytes: &[u8]) -> Heard {
    match pdu::request_length(bytes.get(1..).unwrap_or_default()) {
        Err(_) => Heard::Noise,
        Ok(None) => Heard::More,
        // Unit, PDU, CRC.
        Ok(Some(length)) => match bytes.get(..length + 3) {
            None if length + 3 > rtu::MOST => Heard::Noise,
            None => Heard::More,
            Some(frame) if rtu::decode(frame).is_some() => Heard::Request(length + 3),
            Some(_) => Heard::Noise,
        },
    }
}

/// How long bytes of one request may be apart: the system hands them over in chunks.
const WITHIN: Duration = Duration::from_millis(50);

async fn serve(line: &mut Line, pace: Pace, slaves: &Slaves) -> io::Result<()> {
    let mut chunk = [0; rtu::MOST];
    let mut input: Vec<u8> = Vec::with_capacity(2 * rtu::MOST);
    let mut out = Vec::with_capacity(rtu::MOST);
    loop {
        match heard(&input) {
            Heard::Request(length) => {
                let arrived = Instant::now();
                if let Some((unit, request)) = input.get(..length).and_then(rtu::decode) {
                    out.clear();
                    if let Some(delay) = answer(slaves, unit, request, &mut out) {
                        // The pseudo-terminal is at once where a line takes its time: the request, the
                        // silence that ends it (section 2.5.1.1), and the answer.
                        let line_time = pace.bytes(length + out.len()) + pace.silence();
                        tokio::time::sleep_until(arrived + delay + line_time).await;
                        line.output.write_all(&out).await?;
                    }
                }
                input.drain(..length);
            }
            Heard::Noise => {
                while timeout(pace.silence().max(WITHIN), line.input.read(&mut chunk))
                    .await
                    .is_ok_and(|r| r.is_ok())
                {}
                input.clear();
            }
            Heard::More => {
                let read = if input.is_empty() {
                    Ok(line.input.read(&mut chunk).await)
                } else {
                    timeout_at(
                        Instant::now() + pace.bytes(rtu::MOST).max(WITHIN),
                        line.input.read(&mut chunk),
                    )
                    .await
                };
                match read {
                    // Nobody can hold the other end any more.
                    Ok(Ok(0)) => return Ok(()),
                    Ok(count) => input.extend_from_slice(chunk.get(..count?).unwrap_or_default()),
                    // A request that was never finished.
                    Err(_) => input.clear(),
                }
            }
        }
    }
}

/// Puts the answer of the unit's slave into `out`; `None` where nobody answers.
fn answer(slaves: &Slaves, unit: u8, request: &[u8], out: &mut Vec<u8>) -> Option<Duration> {
    // Unit 0 is the broadcast: done by all, answered by none (section 2.1).
    if unit == 0 {
        for slave in slaves.values().filter(|s| s.reply() != Reply::Never) {
            slave.bank().answer(request, out);
        }
        out.clear();
        return None;
    }
    let slave = slaves.get(&unit)?;
    let Reply::After(delay) = slave.reply() else { return None };
    rtu::encode(unit, out, |out| slave.bank().answer(request, out));
    Some(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        rtu::encode(unit, &mut out, |out| out.extend_from_slice(pdu));
        out
    }

    #[test]
    fn a_request_is_told_by_its_length_and_its_crc() {
        for pdu in [&[3, 0, 1, 0, 2][..], &[16, 0, 1, 0, 2, 4, 0, 10, 1, 2]] {
            let whole = frame(17, pdu);
            for end in 0..whole.len() {
                assert_eq!(heard(&whole[..end]), Heard::More, "{end} of {pdu:?}");
            }
            assert_eq!(heard(&whole), Heard::Request(whole.len()));
            let two = [whole.clone(), whole.clone()].concat();
            assert_eq!(heard(&two), Heard::Request(whole.len()));
        }
    }

    #[test]
    fn what_is_no_request_is_noise() {
        let mut damaged = frame(17, &[3, 0, 1, 0, 2]);
        damaged[3] ^= 1;
        assert_eq!(heard(&damaged), Heard::Noise);
        assert_eq!(heard(&[1, 0x99]), Heard::Noise);
        assert_eq!(heard(&[1, 16, 0, 1, 0, 2, 255]), Heard::Noise);
    }
}
