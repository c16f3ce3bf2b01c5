//! What a line needs to run: a serial port or a socket, opened alike, the framing on it, and how fast it is.

use std::fmt;
use std::time::Duration;

use super::blocks::{Extent, Reads};
use super::config::{Framing, ModbusDevice, SerialLink, TcpLink};
use super::facts::Facts;
use super::pdu::Request;
use super::rtu::Pace;
use super::serial::SerialPort;
use super::socket::{Door, Socket};
use super::stream::Stream;
use super::{lessons, longest_call, tcp_link};
use crate::drivers::driver::Block;

/// A serial port, or a socket.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Carrier {
    /// A serial port.
    Serial(SerialPort),
    /// A socket.
    Socket(Socket),
}

impl Carrier {
    /// Opens it; an error says what to do.
    pub(super) async fn open(&self, door: &mut Door) -> Result<Stream, String> {
        match self {
            Carrier::Serial(port) => port.open(),
            Carrier::Socket(socket) => socket.open(door).await,
        }
    }

    /// How long things take on it.
    pub(super) fn pace(&self) -> Pace {
        match self {
            Carrier::Serial(port) => port.pace(),
            Carrier::Socket(_) => Pace::network(),
        }
    }

    /// What it adds to each request.
    fn switching(&self) -> Duration {
        match self {
            Carrier::Serial(port) => port.switching(),
            Carrier::Socket(_) => Duration::ZERO,
        }
    }

    /// Where it leads, for people.
    pub(super) fn address<'a>(&'a self, door: &'a Door) -> &'a str {
        match self {
            Carrier::Serial(port) => port.path(),
            Carrier::Socket(_) => door.peer(),
        }
    }

    /// The longest pause between two tries to open it: to look whether a port is back costs nobody anything.
    pub(super) fn longest_pause(&self) -> Duration {
        match self {
            Carrier::Serial(_) => Duration::from_secs(1),
            Carrier::Socket(socket) => socket.longest_pause(),
        }
    }

    /// The longest that it takes to open.
    pub(super) fn longest_open(&self) -> Duration {
        match self {
            Carrier::Serial(_) => Duration::ZERO,
            Carrier::Socket(socket) => socket.longest_open(),
        }
    }

    /// Whether the peer closes it at will, and another program cannot have it meanwhile.
    pub(super) fn is_socket(&self) -> bool {
        matches!(self, Carrier::Socket(_))
    }

    /// What it means that no more bytes come.
    pub(super) fn end(&self) -> &'static str {
        match self {
            Carrier::Serial(_) => "it was unplugged",
            Carrier::Socket(_) => "the device closed it",
        }
    }

    /// That it broke, in words.
    pub(super) fn broke(&self, why: &dyn fmt::Display) -> String {
        match self {
            Carrier::Serial(_) => format!("{self} failed: {why}; check the adapter and its cable"),
            Carrier::Socket(_) => format!("{self} broke: {why}"),
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Carrier::Serial(port) => write!(f, "the serial port {port}"),
            Carrier::Socket(socket) => write!(f, "the connection to {socket}"),
        }
    }
}

/// Pause between two chunks of one frame that is still one frame: USB adapters deliver in chunks.
pub(super) const GAP_WITHIN: Duration = Duration::from_millis(30);

/// What a link needs to run whose answers do not say which request they answer.
#[derive(Debug, Clone, PartialEq)]
pub struct LineSpec {
    pub(super) carrier: Carrier,
    pub(super) framing: Framing,
    /// A pause of more than 1.5 characters within a frame spoils it.
    pub(super) strict: bool,
    pub(super) timeout: Duration,
    pub(super) longest_call: Duration,
    pause: Duration,
    pub(super) devices: Vec<ModbusDevice>,
    pub(super) reads: Reads,
}

impl LineSpec {
    /// See [`crate::drivers::LinkSpec::keeps_device`].
    pub(in crate::drivers) fn keeps_device(&self, at: usize, later: &LineSpec, later_at: usize) -> bool {
        self.devices.get(at).is_some_and(|device| later.devices.get(later_at) == Some(device))
    }

    pub(super) fn serial(link: &SerialLink, framing: Framing, devices: &[ModbusDevice]) -> LineSpec {
        let (carrier, timeout) = (Carrier::Serial(SerialPort::new(link, framing)), link.timeout.get_ref().0);
        LineSpec {
            longest_call: longest_call(carrier.longest_open(), timeout, devices),
            carrier,
            framing,
            strict: link.strict_timing.as_ref().is_some_and(|strict| *strict.get_ref()),
            timeout,
            pause: link.pause.as_ref().map_or(Duration::ZERO, |p| p.get_ref().0),
            devices: devices.to_vec(),
            reads: Reads::default(),
        }
    }

    pub(super) fn socket(link: &TcpLink, devices: &[ModbusDevice]) -> LineSpec {
        let (carrier, timeout) = (Carrier::Socket(Socket::new(link)), link.timeout.get_ref().0);
        LineSpec {
            longest_call: longest_call(carrier.longest_open(), timeout, devices),
            carrier,
            framing: link.framing,
            strict: false,
            timeout,
            pause: link.pause.as_ref().map_or(Duration::ZERO, |p| p.get_ref().0),
            devices: devices.to_vec(),
            reads: Reads::default(),
        }
    }

    pub(super) fn with(self, reads: Reads) -> LineSpec {
        LineSpec { reads, ..self }
    }

    /// The devices, in the order of the plan's.
    pub fn devices(&self) -> &[ModbusDevice] {
        &self.devices
    }

    /// In how many reads a block is made where its device is known like this.
    pub fn reads_of(&self, block: Block, facts: &Facts) -> usize {
        self.reads.blocks.get(block.0).map_or(1, |spec| lessons::reads(spec, facts))
    }

    /// How fast the line is.
    pub fn pace(&self) -> Pace {
        self.carrier.pace()
    }

    /// Whether it is a socket.
    pub fn is_socket(&self) -> bool {
        self.carrier.is_socket()
    }

    /// How its frames lie in the bytes.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// What each block asks of whom, and each point, in their order.
    pub fn extents(&self) -> (Vec<Extent>, Vec<Extent>) {
        self.reads.extents(&self.devices)
    }

    /// The pause before each request.
    pub(super) fn silence(&self) -> Duration {
        self.pace().silence().max(self.pause)
    }

    /// That pause, and what the port adds to each request.
    pub(super) fn overhead(&self) -> Duration {
        self.silence() + self.carrier.switching()
    }

    /// How long a device is waited for in haste whose answers began so late at most: until all of its answer
    /// would be there, which adapters hand on in one piece, and a moment. Then no late one is due any more.
    /// A network is never as quick twice.
    pub(super) fn patience(&self, start: Duration, request: &Request) -> Duration {
        if self.carrier.is_socket() {
            return tcp_link::patience(start);
        }
        start + self.takes(request) + Duration::from_millis(1)
    }

    /// Time of the answer to this request on the line.
    pub(super) fn takes(&self, request: &Request) -> Duration {
        self.pace().bytes(self.framing.length(request.answer_bytes()))
    }

    /// How long the bytes of one frame may be apart: USB adapters deliver in chunks, a network in packets, and
    /// an ASCII device may take a second between two characters (serial guide, section 2.5.2.1).
    pub(super) fn gap_within(&self) -> Duration {
        match (&self.carrier, self.framing) {
            (Carrier::Serial(_), Framing::Rtu) => GAP_WITHIN,
            _ => Duration::from_secs(1),
        }
    }
}
