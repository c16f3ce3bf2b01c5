//! Opens the port of a serial link.

use tokio_serial::{DataBits, FlowControl, SerialPortBuilderExt, StopBits};

use super::config::{Framing, Parity, SerialLink};
use super::rtu::Pace;
use super::stream::Stream;

/// A serial port and its settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SerialPort {
    path: String,
    baud: u32,
    parity: Parity,
    stop_bits: u8,
    data_bits: u8,
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
        }
    }

    /// How fast it is with such frames.
    pub(super) fn pace(&self, framing: Framing) -> Pace {
        match framing {
            Framing::Ascii => Pace::ascii(self.baud, self.data_bits, self.parity, self.stop_bits),
            _ => Pace::new(self.baud, self.parity, self.stop_bits),
        }
    }

    /// Opens it for this program alone; an error says what to do.
    pub(super) fn open(&self) -> Result<Stream, String> {
        let path = &self.path;
        let opened = tokio_serial::new(path, self.baud)
            .data_bits(if self.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
            .parity(match self.parity {
                Parity::None => tokio_serial::Parity::None,
                Parity::Even => tokio_serial::Parity::Even,
                Parity::Odd => tokio_serial::Parity::Odd,
            })
            .stop_bits(if self.stop_bits == 2 { StopBits::Two } else { StopBits::One })
            .flow_control(FlowControl::None)
            .open_native_async();
        opened.map(Stream::Serial).map_err(|error| {
            let what_to_do = match error.kind() {
                // Also where another program has locked it.
                tokio_serial::ErrorKind::NoDevice if !std::path::Path::new(path).exists() => {
                    "plug the adapter in or correct the path"
                }
                tokio_serial::ErrorKind::Io(std::io::ErrorKind::NotFound) => {
                    "plug the adapter in or correct the path"
                }
                tokio_serial::ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => {
                    "add the user to the group `dialout`"
                }
                _ => "does another program hold it?",
            };
            format!("the serial port {path} cannot be opened: {error}; {what_to_do}")
        })
    }
}

impl std::fmt::Display for SerialPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)
    }
}
