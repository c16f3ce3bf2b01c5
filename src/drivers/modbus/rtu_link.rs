//! The wire of Modbus RTU: one serial port, one request at a time, silent whenever a late answer may come.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_serial::{DataBits, FlowControl, SerialPortBuilderExt, SerialStream, StopBits};

use super::blocks::Reads;
use super::config::{ModbusDevice, Parity, RtuLink};
use super::pdu::Request;
use super::rtu::{self, Pace};
use crate::drivers::driver::{Block, Driver, Point};
use crate::model::{Fault, Raw};

/// What a Modbus RTU link needs to run.
#[derive(Debug, Clone, PartialEq)]
pub struct RtuSpec {
    port: Port,
    timeout: Duration,
    pause: Duration,
    devices: Vec<ModbusDevice>,
    reads: Reads,
}

#[derive(Debug, Clone, PartialEq)]
struct Port {
    path: String,
    baud: u32,
    parity: Parity,
    stop_bits: u8,
}

impl RtuSpec {
    pub(super) fn new(link: &RtuLink, devices: &[ModbusDevice], reads: Reads) -> RtuSpec {
        // Serial guide section 2.5.1: eleven bits a character, so two stop bits stand in for no parity.
        let usual = if link.parity == Parity::None { 2 } else { 1 };
        RtuSpec {
            port: Port {
                path: link.port.get_ref().clone(),
                baud: *link.baud.get_ref(),
                parity: link.parity,
                stop_bits: link.stop_bits.as_ref().map_or(usual, |s| *s.get_ref()),
            },
            timeout: link.timeout.get_ref().0,
            pause: link.pause.as_ref().map_or(Duration::ZERO, |p| p.get_ref().0),
            devices: devices.to_vec(),
            reads,
        }
    }

    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.port.baud, self.port.parity, self.port.stop_bits)
    }
}

/// The driver.
#[derive(Debug, Default)]
pub struct ModbusRtu {
    spec: Option<RtuSpec>,
    port: Option<SerialStream>,
    out: Vec<u8>,
    input: Vec<u8>,
    /// The slowest answer seen of each device, by its index.
    slowest: Vec<Duration>,
    /// An answer that nobody waits for any more may still be under way.
    suspect: Option<Suspect>,
    /// Before this nothing may be sent.
    quiet_until: Option<Instant>,
    trouble: String,
}

/// A late answer that may still come.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// Whose, by its index, and of which unit; `None` where another program may have asked.
    device: Option<(usize, u8)>,
    /// When the request was on the line.
    sent: Instant,
    /// Until then the line is only listened to.
    until: Instant,
}

impl ModbusRtu {
    /// Pause between two chunks of one frame that is still one frame: USB adapters deliver in chunks.
    const GAP_WITHIN: Duration = Duration::from_millis(30);
    /// How long a line may talk without a pause, once nothing is due any more, before it counts as never quiet.
    const LONGEST_TALK: Duration = Duration::from_secs(1);
    /// The longest silence kept for a late answer.
    const LONGEST_SILENCE: Duration = Duration::from_secs(5);

    fn lost(&mut self, why: &dyn std::fmt::Display) -> Fault {
        if let Some(spec) = &self.spec {
            self.trouble =
                format!("the serial port {} failed: {why}; check the adapter and its cable", spec.port.path);
        }
        self.port = None;
        Fault::NotConnected
    }

    /// The fault of a port that is not open.
    fn closed(&mut self) -> Fault {
        self.trouble = match &self.spec {
            Some(spec) => format!("the serial port {} is not open", spec.port.path),
            None => "no serial port is configured".into(),
        };
        Fault::NotConnected
    }

    async fn transact(&mut self, device: usize, request: &Request, into: &mut Raw) -> Result<(), Fault> {
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        let unit = spec.devices.get(device).ok_or(Fault::Unsupported)?;
        let (unit, patience) = (unit.unit, unit.timeout.unwrap_or(spec.timeout));
        let (pace, pause) = (spec.pace(), spec.pause);
        self.settle(pace).await?;
        self.out.clear();
        rtu::encode(unit, &mut self.out, |out| request.encode(out));
        let on_the_wire = pace.bytes(self.out.len());
        let slowest = self.slowest.get(device).copied().unwrap_or_default();
        let quiet = slowest.max(patience).min(Self::LONGEST_SILENCE);
        // Until a whole, right answer is there, one may still come; also where this future is dropped.
        let mut sent = Instant::now() + on_the_wire;
        let suspect =
            |sent, from: Instant| Suspect { device: Some((device, unit)), sent, until: from + quiet };
        self.suspect = Some(suspect(sent, sent + patience));
        let Some(port) = &mut self.port else { return Err(self.closed()) };
        match timeout(patience + on_the_wire, port.write_all(&self.out)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.lost(&error)),
            Err(_) => return Err(self.lost(&"it takes no more bytes")),
        }
        // The system has the bytes; the line still sends them.
        sent = Instant::now() + on_the_wire;
        let answer = self.receive(sent + patience, unit, request, into, pace).await;
        let now = Instant::now();
        self.quiet_until = Some(now + pace.silence().max(pause));
        match answer {
            Ok(()) | Err(Fault::Refused(_) | Fault::Busy) => {
                self.suspect = None;
                self.seen(device, now.saturating_duration_since(sent));
            }
            _ => self.suspect = Some(suspect(sent, now)),
        }
        answer
    }

    /// Makes sure that whatever comes next is the answer to what is asked next.
    async fn settle(&mut self, pace: Pace) -> Result<(), Fault> {
        if let Some(late) = self.suspect {
            self.drain(late, pace).await?;
            self.suspect = None;
        }
        if let Some(until) = self.quiet_until {
            tokio::time::sleep_until(until).await;
        }
        // What came meanwhile was not asked for: noise, or another master. Let it finish.
        if self.listen(Instant::now()).await? > 0 {
            let now = Instant::now();
            self.drain(Suspect { device: None, sent: now, until: now }, pace).await?;
        }
        Ok(())
    }

    fn seen(&mut self, device: usize, took: Duration) {
        if self.slowest.len() <= device {
            self.slowest.resize(device + 1, Duration::ZERO);
        }
        if let Some(slowest) = self.slowest.get_mut(device) {
            *slowest = (*slowest).max(took).min(Self::LONGEST_SILENCE);
        }
    }

    async fn receive(
        &mut self,
        deadline: Instant,
        unit: u8,
        request: &Request,
        into: &mut Raw,
        pace: Pace,
    ) -> Result<(), Fault> {
        self.input.clear();
        let mut deadline = deadline;
        let whole = loop {
            let pdu = self.input.get(1..).unwrap_or_default();
            if let Some(length) = request.answer_length(pdu)? {
                // Unit, PDU, CRC.
                let length = length + 3;
                if length > rtu::MOST {
                    return Err(Fault::Garbled);
                }
                if self.input.len() >= length {
                    break length;
                }
                deadline =
                    deadline.max(Instant::now() + pace.bytes(length - self.input.len()) + Self::GAP_WITHIN);
            }
            let Some(port) = &mut self.port else { return Err(self.closed()) };
            match timeout_at(deadline, port.read_buf(&mut self.input)).await {
                Err(_) if self.input.is_empty() => return Err(Fault::Timeout),
                Err(_) => return Err(Fault::Garbled),
                Ok(Ok(0)) => return Err(self.lost(&"it was unplugged")),
                Ok(Err(error)) => return Err(self.lost(&error)),
                Ok(Ok(_)) => {}
            }
        };
        // More than the frame: two talk at once, and nobody knows which is which.
        if self.input.len() != whole {
            return Err(Fault::Garbled);
        }
        match rtu::decode(&self.input) {
            Some((from, pdu)) if from == unit => request.answer(pdu, into),
            _ => Err(Fault::Garbled),
        }
    }

    /// Listens until nothing can be under way any more: until the late answer is there or not to be
    /// expected, and then until nobody speaks.
    async fn drain(&mut self, late: Suspect, pace: Pace) -> Result<(), Fault> {
        let gap = pace.silence().max(Self::GAP_WITHIN);
        let end = late.until.max(Instant::now()) + pace.bytes(2 * rtu::MOST) + Self::LONGEST_TALK;
        let mut until = late.until;
        self.input.clear();
        while Instant::now() < end {
            // Noise or foreign frames before it: only the newest bytes can be the late answer.
            if self.input.len() > rtu::MOST {
                self.input.clear();
            }
            if self.listen(until).await? == 0 {
                return Ok(());
            }
            until = until.max(Instant::now() + gap);
            if let (Some((device, unit)), Some((from, _))) = (late.device, rtu::decode(&self.input))
                && from == unit
            {
                // The late answer itself; the device is as slow as that, and nothing else is due.
                self.seen(device, late.sent.elapsed());
                until = Instant::now() + gap;
            }
        }
        self.trouble = "the line is never quiet: another master, or noise".into();
        Err(Fault::Garbled)
    }

    /// Takes the next bytes behind the input; 0: none until then.
    async fn listen(&mut self, until: Instant) -> Result<usize, Fault> {
        let Some(port) = &mut self.port else { return Err(self.closed()) };
        let mut scratch = [0; rtu::MOST];
        match timeout_at(until, port.read(&mut scratch)).await {
            Err(_) => Ok(0),
            Ok(Ok(0)) => Err(self.lost(&"it was unplugged")),
            Ok(Err(error)) => Err(self.lost(&error)),
            Ok(Ok(bytes)) => {
                tracing::debug!(bytes, "bytes on the line that nobody waits for");
                self.input.extend_from_slice(scratch.get(..bytes).unwrap_or_default());
                Ok(bytes)
            }
        }
    }
}

impl Driver for ModbusRtu {
    type Spec = RtuSpec;

    fn load(&mut self, spec: &RtuSpec) -> bool {
        let stays = self.spec.as_ref().is_some_and(|old| old.port == spec.port);
        if !stays {
            self.port = None;
        }
        self.slowest.clear();
        // The numbers of the devices are new ones; the late answer may come all the same.
        if let Some(suspect) = &mut self.suspect {
            suspect.device = None;
        }
        self.spec = Some(spec.clone());
        stays
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        if self.port.is_some() {
            return Ok(());
        }
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        let Port { path, baud, parity, stop_bits } = &spec.port;
        let opened = tokio_serial::new(path, *baud)
            .data_bits(DataBits::Eight)
            .parity(match parity {
                Parity::None => tokio_serial::Parity::None,
                Parity::Even => tokio_serial::Parity::Even,
                Parity::Odd => tokio_serial::Parity::Odd,
            })
            .stop_bits(if *stop_bits == 2 { StopBits::Two } else { StopBits::One })
            .flow_control(FlowControl::None)
            .open_native_async();
        match opened {
            Ok(port) => {
                self.port = Some(port);
                // Whoever had the port before, this program or another, may have asked something.
                let patience =
                    spec.devices.iter().filter_map(|d| d.timeout).fold(spec.timeout, Duration::max);
                let sent = Instant::now();
                let until = sent + patience.min(Self::LONGEST_SILENCE);
                let until = self.suspect.map_or(until, |s| s.until.max(until));
                self.suspect = Some(Suspect { device: None, sent, until });
                Ok(())
            }
            Err(error) => {
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
                self.trouble = format!("the serial port {path} cannot be opened: {error}; {what_to_do}");
                Err(Fault::NotConnected)
            }
        }
    }

    async fn read(&mut self, block: Block, into: &mut Raw) -> Result<(), Fault> {
        into.clear();
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        let block = spec.reads.blocks.get(block.0).ok_or(Fault::Unsupported)?;
        let (device, request) = (block.device, block.request());
        let answer = self.transact(device, &request, into).await;
        if answer.is_err() {
            into.clear();
        }
        answer
    }

    async fn write(&mut self, point: Point, raw: &Raw) -> Result<(), Fault> {
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        let point = spec.reads.points.get(point.0).ok_or(Fault::Unsupported)?;
        let device = point.device;
        let multiple = spec.devices.get(device).is_some_and(|d| d.write_multiple);
        let request = point.request(raw, multiple).ok_or(Fault::Unsupported)?;
        self.transact(device, &request, &mut Raw::default()).await
    }

    fn trouble(&self) -> &str {
        &self.trouble
    }
}
