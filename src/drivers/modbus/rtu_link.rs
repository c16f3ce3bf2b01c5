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
    /// A transaction ended in a way that may leave an answer under way, from the device of this index.
    suspect: Option<usize>,
    /// Before this nothing may be sent.
    quiet_until: Option<Instant>,
    trouble: String,
}

impl ModbusRtu {
    /// Pause between two chunks of one frame that is still one frame: USB adapters deliver in chunks.
    const GAP_WITHIN: Duration = Duration::from_millis(30);
    /// Times that a drain may start anew before the line counts as never quiet.
    const MOST_DRAINS: u32 = 20;
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

    async fn transact(&mut self, device: usize, request: &Request, into: &mut Raw) -> Result<(), Fault> {
        let spec = self.spec.as_ref().ok_or(Fault::NotConnected)?;
        let unit = spec.devices.get(device).ok_or(Fault::Unsupported)?;
        let (unit, patience) = (unit.unit, unit.timeout.unwrap_or(spec.timeout));
        let (pace, pause) = (spec.pace(), spec.pause);
        if let Some(late) = self.suspect {
            self.drain(late, pace).await?;
            self.suspect = None;
        }
        let silence = pace.silence().max(pause);
        if let Some(until) = self.quiet_until {
            tokio::time::sleep_until(until).await;
        }
        // What came meanwhile was not asked for: noise, or another master.
        self.discard().await?;
        // Until a whole, right answer is there, one may still come.
        self.suspect = Some(device);
        self.out.clear();
        rtu::encode(unit, &mut self.out, |out| request.encode(out));
        let on_the_wire = pace.bytes(self.out.len());
        let Some(port) = &mut self.port else { return Err(Fault::NotConnected) };
        match timeout(patience + on_the_wire, port.write_all(&self.out)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.lost(&error)),
            Err(_) => return Err(self.lost(&"it takes no more bytes")),
        }
        // The system has the bytes; the line still sends them.
        let sent = Instant::now() + on_the_wire;
        let answer = self.receive(sent + patience, unit, request, into, pace).await;
        let now = Instant::now();
        self.quiet_until = Some(now + silence);
        match answer {
            Ok(()) | Err(Fault::Refused(_) | Fault::Busy) => {
                self.suspect = None;
                self.seen(device, now.saturating_duration_since(sent));
            }
            _ => {}
        }
        answer
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
            let Some(port) = &mut self.port else { return Err(Fault::NotConnected) };
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

    /// Listens until nothing can be under way any more: at least as long as the slowest answer seen from
    /// that device and as its time-out, from the last byte on only the silence between frames.
    async fn drain(&mut self, device: usize, pace: Pace) -> Result<(), Fault> {
        let patience = self
            .spec
            .as_ref()
            .map_or(Duration::ZERO, |s| s.devices.get(device).and_then(|d| d.timeout).unwrap_or(s.timeout));
        let started = Instant::now();
        let slowest = self.slowest.get(device).copied().unwrap_or_default();
        let mut quiet = slowest.max(patience).min(Self::LONGEST_SILENCE);
        let mut scratch = [0; 256];
        for _ in 0..Self::MOST_DRAINS {
            let Some(port) = &mut self.port else { return Err(Fault::NotConnected) };
            match timeout(quiet, port.read(&mut scratch)).await {
                Err(_) => return Ok(()),
                Ok(Ok(0)) => return Err(self.lost(&"it was unplugged")),
                Ok(Err(error)) => return Err(self.lost(&error)),
                Ok(Ok(_)) => {
                    // The late answer itself; the device is as slow as that.
                    self.seen(device, patience + started.elapsed());
                    quiet = pace.silence().max(Self::GAP_WITHIN);
                }
            }
        }
        self.trouble = "the line is never quiet: another master, or noise".into();
        Err(Fault::Garbled)
    }

    /// Takes what is in the input buffer now.
    async fn discard(&mut self) -> Result<(), Fault> {
        let mut scratch = [0; 256];
        for _ in 0..Self::MOST_DRAINS {
            let Some(port) = &mut self.port else { return Err(Fault::NotConnected) };
            match timeout(Duration::ZERO, port.read(&mut scratch)).await {
                Err(_) => return Ok(()),
                Ok(Ok(0)) => return Err(self.lost(&"it was unplugged")),
                Ok(Err(error)) => return Err(self.lost(&error)),
                Ok(Ok(bytes)) => tracing::debug!(bytes, "bytes on the line that nobody asked for"),
            }
        }
        Err(Fault::Garbled)
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
        self.spec = Some(spec.clone());
        stays
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        if self.port.is_some() {
            return Ok(());
        }
        let Some(spec) = &self.spec else { return Err(Fault::NotConnected) };
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
                // Whatever was said before we listened.
                self.suspect = None;
                self.quiet_until = Some(Instant::now() + spec.pace().silence());
                Ok(())
            }
            Err(error) => {
                let what_to_do = match error.kind() {
                    tokio_serial::ErrorKind::NoDevice => {
                        "is there no such port? plug the adapter in or correct the path"
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
        let spec = self.spec.as_ref().ok_or(Fault::NotConnected)?;
        let block = spec.reads.blocks.get(block.0).ok_or(Fault::Unsupported)?;
        let (device, request) = (block.device, block.request());
        let answer = self.transact(device, &request, into).await;
        if answer.is_err() {
            into.clear();
        }
        answer
    }

    async fn write(&mut self, point: Point, raw: &Raw) -> Result<(), Fault> {
        let spec = self.spec.as_ref().ok_or(Fault::NotConnected)?;
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
