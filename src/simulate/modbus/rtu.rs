//! Modbus slaves on a serial bus that is a pseudo-terminal, as slow as its baud rate.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::net::unix::pipe;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Slaves;
use super::noise::Noise;
use super::serve::{Wire, serve};
use crate::drivers::modbus::framing::Framing;
use crate::drivers::modbus::rtu::Pace;

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
        RtuBus::open_framed(pace, Framing::Rtu, None, slaves)
    }

    /// Makes a bus whose frames are of this kind, with noise or without.
    pub fn open_framed(
        pace: Pace,
        framing: Framing,
        noise: Option<Noise>,
        slaves: Slaves,
    ) -> io::Result<RtuBus> {
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
        // Tokio's pipe ends take any descriptor that can be waited for, and a pseudo-terminal is one.
        let input = pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
        let output = pipe::Sender::from_owned_fd_unchecked(master)?;
        let mut wire = Wire { framing, pace: Some(pace), noise };
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                end = serve(input, output, &mut wire, &slaves) => {
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
