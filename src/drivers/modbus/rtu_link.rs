//! The wire of Modbus RTU: one serial port, one request at a time, silent whenever a late answer may come.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::blocks::Reads;
use super::config::{ModbusDevice, RtuLink};
use super::pause::Pause;
use super::pdu::{self, Request};
use super::read::{self, Lessons, Wire};
use super::rtu::{self, Pace};
use super::serial::SerialPort;
use super::stream::Stream;
use super::write;
use crate::drivers::driver::{Block, Driver, Point};
use crate::model::{Fault, Raw};

/// What a Modbus RTU link needs to run.
#[derive(Debug, Clone, PartialEq)]
pub struct RtuSpec {
    port: SerialPort,
    timeout: Duration,
    pause: Duration,
    devices: Vec<ModbusDevice>,
    reads: Reads,
}

impl RtuSpec {
    pub(super) fn new(link: &RtuLink, devices: &[ModbusDevice], reads: Reads) -> RtuSpec {
        RtuSpec {
            port: SerialPort::new(link),
            timeout: link.timeout.get_ref().0,
            pause: link.pause.as_ref().map_or(Duration::ZERO, |p| p.get_ref().0),
            devices: devices.to_vec(),
            reads,
        }
    }

    pub(super) fn pace(&self) -> Pace {
        self.port.pace()
    }
}

/// The driver.
#[derive(Debug, Default)]
pub struct ModbusRtu {
    spec: Option<RtuSpec>,
    port: Option<Stream>,
    out: Vec<u8>,
    input: Vec<u8>,
    /// The slowest answer seen of each device, by its index.
    slowest: Vec<Slowest>,
    /// Answers that nobody waits for any more and that may still be under way, at most one a unit.
    suspects: Vec<Suspect>,
    /// Before this nothing may be sent.
    quiet_until: Option<Instant>,
    clock: Pause,
    lessons: Lessons,
    trouble: String,
}

/// How long a device took at most, from the end of the request.
#[derive(Debug, Clone, Copy, Default)]
struct Slowest {
    /// To the first byte of its answer.
    start: Duration,
    /// To the last one.
    end: Duration,
}

/// A late answer that may still come.
#[derive(Debug, Clone)]
struct Suspect {
    /// To whom what was asked; `None` where another program may have asked.
    asked: Option<Asked>,
    /// When the request was on the line.
    sent: Instant,
    /// Until then nobody is asked anything: the late answer would meet that request on the line.
    quiet: Instant,
    /// Until then the same unit is asked nothing: nobody could tell the late answer from the next one.
    until: Instant,
}

#[derive(Debug, Clone)]
struct Asked {
    device: usize,
    unit: u8,
    request: Request,
}

impl ModbusRtu {
    /// Pause between two chunks of one frame that is still one frame: USB adapters deliver in chunks.
    const GAP_WITHIN: Duration = Duration::from_millis(30);
    /// How long a line may talk without a pause, once nothing is due any more, before it counts as never quiet.
    const LONGEST_TALK: Duration = Duration::from_secs(1);
    /// What a device may take longer than before when it is tried in haste.
    const HASTE: Duration = Duration::from_millis(10);
    /// The longest silence kept for a late answer.
    const LONGEST_SILENCE: Duration = Duration::from_secs(5);

    fn lost(&mut self, why: &dyn std::fmt::Display) -> Fault {
        if let Some(spec) = &self.spec {
            self.trouble =
                format!("the serial port {} failed: {why}; check the adapter and its cable", spec.port);
        }
        self.port = None;
        Fault::NotConnected
    }

    /// The fault of a port that is not open.
    fn closed(&mut self) -> Fault {
        self.trouble = match &self.spec {
            Some(spec) => format!("the serial port {} is not open", spec.port),
            None => "no serial port is configured".into(),
        };
        Fault::NotConnected
    }

    /// Notes that an answer may still come after `from`.
    fn suspect(
        &mut self,
        device: usize,
        unit: u8,
        request: &Request,
        sent: Instant,
        from: Instant,
        timeout: Duration,
    ) {
        let slowest = self.slowest.get(device).map_or(Duration::ZERO, |s| s.end);
        self.suspects.retain(|s| s.unit() != Some(unit));
        self.suspects.push(Suspect {
            asked: Some(Asked { device, unit, request: request.clone() }),
            sent,
            quiet: from + slowest,
            until: from + slowest.max(timeout).min(Self::LONGEST_SILENCE),
        });
    }

    /// Makes sure that whatever comes next from this unit is the answer to what it is asked next.
    async fn settle(&mut self, unit: u8, pace: Pace) -> Result<(), Fault> {
        let now = Instant::now();
        self.suspects.retain(|s| now < s.until);
        let until = self.suspects.iter().map(|s| match s.unit() {
            Some(other) if other != unit => s.quiet,
            _ => s.until,
        });
        if let Some(until) = until.max().filter(|until| now < *until) {
            self.drain(unit, until, pace).await?;
        }
        if let Some(until) = self.quiet_until {
            self.clock.until(until).await;
        }
        // What came meanwhile was not asked for: noise, or another master. Let it finish.
        if self.overheard()? > 0 {
            self.drain(unit, Instant::now(), pace).await?;
        }
        Ok(())
    }

    fn seen(&mut self, device: usize, took: Slowest) {
        if self.slowest.len() <= device {
            self.slowest.resize(device + 1, Slowest::default());
        }
        if let Some(slowest) = self.slowest.get_mut(device) {
            slowest.start = slowest.start.max(took.start).min(Self::LONGEST_SILENCE);
            slowest.end = slowest.end.max(took.end).min(Self::LONGEST_SILENCE);
        }
    }

    async fn receive(
        &mut self,
        sent: Instant,
        patience: Duration,
        unit: u8,
        request: &Request,
        into: &mut Raw,
        pace: Pace,
    ) -> Result<(), Fault> {
        self.input.clear();
        let mut deadline = sent + patience;
        let whole = loop {
            // How long what has begun is; `None`: nothing has, or it cannot be told yet.
            let length = match self.input.first() {
                Some(from) if *from != unit => match self.late_length()? {
                    Some(length) if self.input.len() >= length => {
                        self.late_answer(length)?;
                        continue;
                    }
                    length => length,
                },
                _ => {
                    let pdu = self.input.get(1..).unwrap_or_default();
                    // Unit, PDU, CRC.
                    let length = request.answer_length(pdu)?.map(|length| length + 3);
                    if length.is_some_and(|length| length > rtu::MOST) {
                        return Err(Fault::Garbled);
                    }
                    match length {
                        Some(length) if self.input.len() >= length => break length,
                        length => length,
                    }
                }
            };
            if let Some(length) = length {
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

    /// Length of the frame at the start of the input, which is of another unit than was asked; an error
    /// where no late answer begins like this.
    fn late_length(&self) -> Result<Option<usize>, Fault> {
        let from = self.input.first().copied();
        let suspect = self.suspects.iter().find(|s| s.unit().is_some() && s.unit() == from);
        let asked = suspect.and_then(|s| s.asked.as_ref()).ok_or(Fault::Garbled)?;
        let length = asked.request.answer_length(self.input.get(1..).unwrap_or_default())?;
        Ok(length.map(|length| length + 3))
    }

    /// Takes a late answer of another unit from the start of the input, and knows that this one is there.
    fn late_answer(&mut self, length: usize) -> Result<(), Fault> {
        let frame = self.input.get(..length).unwrap_or_default();
        let (unit, _) = rtu::decode(frame).ok_or(Fault::Garbled)?;
        self.arrived(unit);
        self.input.drain(..length.min(self.input.len()));
        Ok(())
    }

    /// The late answer of this unit is there: it is as slow as that, and nothing of it is due any more.
    fn arrived(&mut self, unit: u8) {
        let Some(at) = self.suspects.iter().position(|s| s.unit() == Some(unit)) else { return };
        let suspect = self.suspects.swap_remove(at);
        tracing::debug!(unit, "a late answer was dropped");
        if let Some(asked) = suspect.asked {
            let took = suspect.sent.elapsed();
            self.seen(asked.device, Slowest { start: took, end: took });
        }
    }

    /// Listens until nothing can be under way any more that would harm a request to `unit`: until the late
    /// answer is there or not to be expected, and then until nobody speaks.
    async fn drain(&mut self, unit: u8, due: Instant, pace: Pace) -> Result<(), Fault> {
        let gap = pace.silence().max(Self::GAP_WITHIN);
        let end = due.max(Instant::now()) + pace.bytes(2 * rtu::MOST) + Self::LONGEST_TALK;
        let mut until = due;
        self.input.clear();
        while Instant::now() < end {
            // Noise or foreign frames before it: only the newest bytes can be the late answer.
            if self.input.len() > rtu::MOST {
                self.input.clear();
            }
            if self.listen(until).await? == 0 {
                // Other units may still owe theirs; those are told apart by their number.
                self.suspects.retain(|s| s.unit().is_some_and(|other| other != unit));
                return Ok(());
            }
            until = until.max(Instant::now() + gap);
            if let Some((from, _)) = rtu::decode(&self.input)
                && self.suspects.iter().any(|s| s.unit() == Some(from))
            {
                self.arrived(from);
                self.input.clear();
                if !self.suspects.iter().any(|s| s.unit().is_none() || s.unit() == Some(unit)) {
                    until = Instant::now() + gap;
                }
            }
        }
        self.trouble = "the line is never quiet: another master, or noise".into();
        Err(Fault::Garbled)
    }

    /// Takes what is there now behind the input, without waiting.
    fn overheard(&mut self) -> Result<usize, Fault> {
        let Some(port) = &mut self.port else { return Err(self.closed()) };
        match port.take_now(&mut self.input) {
            Ok(None) => Ok(0),
            Ok(Some(0)) => Err(self.lost(&"it was unplugged")),
            Ok(Some(bytes)) => {
                tracing::debug!(bytes, "bytes on the line that nobody waits for");
                Ok(bytes)
            }
            Err(error) => Err(self.lost(&error)),
        }
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

impl Suspect {
    fn unit(&self) -> Option<u8> {
        self.asked.as_ref().map(|asked| asked.unit)
    }
}

impl Wire for ModbusRtu {
    fn reads(&mut self) -> Result<&Reads, Fault> {
        if self.spec.is_none() {
            return Err(self.closed());
        }
        self.spec.as_ref().map(|spec| &spec.reads).ok_or(Fault::NotConnected)
    }

    fn lessons(&mut self) -> &mut Lessons {
        &mut self.lessons
    }

    fn name(&self, device: usize) -> &str {
        let spec = self.spec.as_ref();
        spec.and_then(|s| s.devices.get(device)).map_or("", |d| d.name.as_str())
    }

    async fn transact(
        &mut self,
        device: usize,
        request: &Request,
        into: &mut Raw,
        hasty: bool,
    ) -> Result<(), Fault> {
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        let unit = spec.devices.get(device).ok_or(Fault::Unsupported)?;
        let broadcast = unit.broadcast;
        let (unit, timeout_of_device) = (unit.unit, unit.timeout.unwrap_or(spec.timeout));
        let (pace, pause) = (spec.pace(), spec.pause);
        let slowest = self.slowest.get(device).copied().unwrap_or_default();
        let patience = match slowest.start {
            start if hasty && !start.is_zero() => (start * 2 + Self::HASTE).min(timeout_of_device),
            _ => timeout_of_device,
        };
        self.settle(unit, pace).await?;
        self.out.clear();
        rtu::encode(unit, &mut self.out, |out| request.encode(out));
        let on_the_wire = pace.bytes(self.out.len());
        // Until a whole, right answer is there, one may still come; also where this future is dropped.
        let mut sent = Instant::now() + on_the_wire;
        // Nobody answers a broadcast; all get the turnaround delay to obey it (serial line guide V1.02,
        // sections 2.1 and 2.4.1).
        let delay = timeout_of_device.max(pause).max(pace.silence());
        if broadcast {
            self.quiet_until = Some(sent + delay);
        } else {
            self.suspect(device, unit, request, sent, sent + patience, timeout_of_device);
        }
        let Some(port) = &mut self.port else { return Err(self.closed()) };
        if let Err(error) = port.send(&self.out, patience + on_the_wire).await {
            return Err(self.lost(&error));
        }
        // The system has the bytes; the line still sends them.
        sent = Instant::now() + on_the_wire;
        if broadcast {
            self.quiet_until = Some(sent + delay);
            tokio::time::sleep_until(sent + delay).await;
            return Ok(());
        }
        let answer = self.receive(sent, patience, unit, request, into, pace).await;
        let now = Instant::now();
        // After a try in haste as long as the slowest answer would have taken; else that long from now on.
        let from = if hasty && patience < timeout_of_device { sent + slowest.start } else { now };
        self.quiet_until = Some(now + pace.silence().max(pause));
        match answer {
            Ok(()) | Err(Fault::Refused(_) | Fault::Busy) => {
                self.suspects.retain(|s| s.unit() != Some(unit));
                let end = now.saturating_duration_since(sent);
                let frame = pace.bytes(self.input.len());
                self.seen(device, Slowest { start: end.saturating_sub(frame), end });
            }
            _ => {
                self.suspect(device, unit, request, sent, now, timeout_of_device);
                if let Some(suspect) = self.suspects.last_mut() {
                    suspect.quiet = from + slowest.end;
                }
            }
        }
        pdu::behind_gateway(answer)
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
        self.lessons.clear();
        // The numbers of the devices are new ones; the late answer may come all the same.
        self.suspects.iter_mut().for_each(|suspect| suspect.asked = None);
        self.spec = Some(spec.clone());
        stays
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        if self.port.is_some() {
            return Ok(());
        }
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        match spec.port.open() {
            Ok(port) => {
                self.port = Some(port);
                self.clock = Pause::new();
                // Whoever had the port before, this program or another, may have asked something.
                let patience =
                    spec.devices.iter().filter_map(|d| d.timeout).fold(spec.timeout, Duration::max);
                let sent = Instant::now();
                let until = sent + patience.min(Self::LONGEST_SILENCE);
                let until = self.suspects.iter().map(|s| s.until).fold(until, Instant::max);
                self.suspects = vec![Suspect { asked: None, sent, quiet: until, until }];
                Ok(())
            }
            Err(trouble) => {
                self.trouble = trouble;
                Err(Fault::NotConnected)
            }
        }
    }

    async fn read(&mut self, block: Block, into: &mut Raw) -> Result<(), Fault> {
        read::read(self, block, into, false).await
    }

    async fn probe(&mut self, block: Block, into: &mut Raw) -> Result<(), Fault> {
        read::read(self, block, into, true).await
    }

    async fn write(&mut self, point: Point, raw: &Raw) -> Result<(), Fault> {
        write::write(self, point, raw).await
    }

    /// To look whether the port is back costs nobody anything.
    fn longest_pause(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn trouble(&self) -> &str {
        &self.trouble
    }
}
