//! Opens the port of a serial link.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio_serial::{DataBits, ErrorKind, FlowControl, SerialPortBuilderExt, StopBits};

use super::config::{Framing, Parity, SerialLink};
use super::holder;
use super::rs485::Switching;
use super::rtu::Pace;
use super::stream::{Line, Stream};

/// A serial port and its settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SerialPort {
    path: String,
    baud: u32,
    parity: Parity,
    stop_bits: u8,
    data_bits: u8,
    framing: Framing,
    switching: Switching,
}

impl SerialPort {
    pub(super) fn new(link: &SerialLink, framing: Framing) -> SerialPort {
        // Serial guide sections 2.5.1 and 2.5.2: eleven bits a character, ten with ASCII, so two stop bits
        // stand in for no parity.
        let usual = if link.parity == Parity::None { 2 } else { 1 };
        SerialPort {
            path: link.port.get_ref().clone(),
            baud: *link.baud.get_ref(),
            parity: link.parity,
            stop_bits: link.stop_bits.as_ref().map_or(usual, |s| *s.get_ref()),
            data_bits: match framing {
                Framing::Ascii => link.data_bits.as_ref().map_or(7, |d| *d.get_ref()),
                _ => 8,
            },
            framing,
            switching: Switching::new(link),
        }
    }

    /// As the configuration names it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// How fast it is.
    pub(super) fn pace(&self) -> Pace {
        match self.framing {
            Framing::Ascii => Pace::ascii(self.baud, self.data_bits, self.parity, self.stop_bits),
            _ => Pace::new(self.baud, self.parity, self.stop_bits),
        }
    }

    /// What switching to sending and back adds to a request.
    pub(super) fn switching(&self) -> Duration {
        self.switching.takes()
    }

    /// Opens it for this program alone; an error says what to do.
    pub(super) fn open(&self) -> Result<Stream, String> {
        let path = &self.path;
        // A name in `/dev/serial/by-id` leads to another port each time that the adapter is plugged in.
        let port = std::fs::canonicalize(path).map_err(|error| {
            let what_to_do = match error.kind() {
                io::ErrorKind::NotFound => "plug the adapter in or correct the path",
                _ => "check the path and the rights on its folders",
            };
            format!("the serial port {path} cannot be opened: {error}; {what_to_do}")
        })?;
        if let Some(holder) = holder::by_lock_file(&port) {
            return Err(held(path, Some(holder)));
        }
        let handle = self.switching.handle(&port).map_err(|error| self.trouble(&error.into(), &port))?;
        let opened = tokio_serial::new(port.to_string_lossy(), self.baud)
            .data_bits(if self.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
            .parity(match self.parity {
                Parity::None => tokio_serial::Parity::None,
                Parity::Even => tokio_serial::Parity::Even,
                Parity::Odd => tokio_serial::Parity::Odd,
            })
            .stop_bits(if self.stop_bits == 2 { StopBits::Two } else { StopBits::One })
            .flow_control(FlowControl::None)
            .open_native_async()
            .map_err(|error| self.trouble(&error, &port))?;
        let switch = self
            .switching
            .begin(handle)
            .map_err(|trouble| format!("the serial port {path} cannot be used as `rts` says: {trouble}"))?;
        Ok(Stream::Serial(Line::new(opened, switch, self.pace())))
    }

    fn trouble(&self, error: &tokio_serial::Error, port: &Path) -> String {
        let path = &self.path;
        let what_to_do = match error.kind() {
            // That is how the crate calls a lock that another has.
            ErrorKind::NoDevice if port.exists() => return held(path, holder::by_flock(port)),
            ErrorKind::Io(io::ErrorKind::ResourceBusy) => return held(path, holder::by_flock(port)),
            ErrorKind::NoDevice | ErrorKind::Io(io::ErrorKind::NotFound) => {
                "plug the adapter in or correct the path"
            }
            ErrorKind::Io(io::ErrorKind::PermissionDenied) => "add the user to the group `dialout`",
            _ => "check that this is a serial port and that it can do these settings",
        };
        format!("the serial port {path} cannot be opened: {error}; {what_to_do}")
    }
}

fn held(path: &str, holder: Option<holder::Holder>) -> String {
    let holder = holder.map_or(String::new(), |holder| format!(": {holder}"));
    format!(
        "the serial port {path} is held by another program{holder}; end it, or give this link another port"
    )
}

impl fmt::Display for SerialPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}
