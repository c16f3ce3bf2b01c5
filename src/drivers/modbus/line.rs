//! The wire of all links whose answers do not say which request they answer: RTU and ASCII on a serial line or
//! a socket, and Modbus TCP without transaction identifiers. One request at a time, silent whenever a late
//! answer may come.

use std::ops::{ControlFlow, DerefMut};
use std::time::Duration;

use tokio::time::Instant;

use super::blocks::Reads;
use super::carrier::LineSpec;
use super::config::{Framing, ModbusDevice};
use super::heard::Heard;
use super::lessons::Lessons;
use super::pause::Pause;
use super::pdu::{self, Request};
use super::read::{self, Wire};
use super::socket::Door;
use super::stream::Stream;
use super::suspects::{Asked, LONGEST_SILENCE, Slowest};
use super::{LONGEST_ELSE, who, write};
use crate::drivers::driver::{Block, Driver, Point, Tally};
use crate::model::{Fault, Identity, Raw};

/// The driver.
#[derive(Debug, Default)]
pub struct ModbusLine {
    pub(super) spec: Option<LineSpec>,
    pub(super) stream: Option<Stream>,
    door: Door,
    number: u16,
    out: Vec<u8>,
    /// What came, late answers, and other masters.
    pub(super) heard: Heard,
    /// Before this nothing may be sent.
    pub(super) quiet_until: Option<Instant>,
    /// When the last byte came since the last request.
    came: Option<Instant>,
    /// The request had to wait for the silence before it: the line is full.
    pub(super) full: bool,
    /// How late the latest answer of each device began.
    latest: Vec<Duration>,
    pub(super) clock: Pause,
    /// A request is written in part.
    pub(super) mid_write: bool,
    timeouts_in_a_row: u32,
    /// This very driver had the socket before, so that nobody else asked anything through it.
    had_it: bool,
    lessons: Lessons,
    pub(super) trouble: String,
}

impl ModbusLine {
    /// Time-outs in a row after which a connection is made anew: the peer may be gone without a word.
    const MOST_TIMEOUTS: u32 = 3;

    pub(super) fn close(&mut self) {
        self.stream = None;
        self.mid_write = false;
        self.timeouts_in_a_row = 0;
        self.heard.end_of_run();
    }

    pub(super) fn lost(&mut self, why: &dyn std::fmt::Display) -> Fault {
        if let Some(spec) = &self.spec {
            self.trouble = spec.carrier.broke(why);
        }
        self.close();
        Fault::NotConnected
    }

    /// The end of what can be read.
    pub(super) fn ended(&mut self) -> Fault {
        let why = self.spec.as_ref().map_or("", |spec| spec.carrier.end());
        self.lost(&why)
    }

    /// The fault of a port that is not open.
    pub(super) fn closed(&mut self) -> Fault {
        self.trouble = match &self.spec {
            Some(spec) => format!("{} is not open", spec.carrier),
            None => "neither port nor host is configured".into(),
        };
        Fault::NotConnected
    }

    /// Waits for the answer; its length, of which the input holds nothing more.
    async fn receive(&mut self, sent: Instant, patience: Duration, asked: &Asked) -> Result<usize, Fault> {
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        let (framing, strict, gap, pace) = (spec.framing, spec.strict, spec.gap_within(), spec.pace());
        let last = sent + patience + pace.bytes(framing.most()) + LONGEST_SILENCE;
        let mut deadline = sent + patience;
        self.came = None;
        let latest = asked.device.and_then(|device| self.latest.get(device)).copied().unwrap_or_default();
        let end = (self.full && !latest.is_zero()).then(|| sent + latest + spec.takes(&asked.request));
        loop {
            match self.heard.look(framing, asked)? {
                ControlFlow::Break(length) => return Ok(length),
                ControlFlow::Continue(0) => {}
                ControlFlow::Continue(missing) => {
                    let here = Instant::now() + pace.bytes(missing) + gap;
                    deadline = deadline.max(here.min(last));
                }
            }
            let before = self.heard.input.len();
            match self.hear(deadline, end).await? {
                None if self.heard.input.is_empty() => return Err(Fault::Timeout),
                None => return Err(Fault::Garbled),
                Some(bytes) => {
                    let now = Instant::now();
                    // The bytes took their own time, too.
                    let spoilt = |last: Instant| now - last > pace.bytes(bytes) + pace.within();
                    if strict && before > 0 && self.came.is_some_and(spoilt) {
                        return Err(Fault::Garbled);
                    }
                    self.came = Some(now);
                }
            }
        }
    }

    /// The next bytes, behind the input; nothing where none came until then. A thread that sleeps wakes late, and
    /// the silence before the next request begins when it has seen the last byte: around the moment that the
    /// answer should end at, it is awake.
    async fn hear(&mut self, deadline: Instant, end: Option<Instant>) -> Result<Option<usize>, Fault> {
        let Some(stream) = &mut self.stream else { return Err(self.closed()) };
        let (input, clock) = (&mut self.heard.input, &mut self.clock);
        let heard = async {
            if let Some(end) = end.filter(|end| *end + Pause::LATE < deadline) {
                let wakes = end.checked_sub(Pause::LATE).unwrap_or(end);
                if let Some(bytes) = stream.read_until(input, clock, wakes).await? {
                    return Ok(Some(bytes));
                }
                if let Some(bytes) = stream.read_awake(input, end + Pause::LATE).await? {
                    return Ok(Some(bytes));
                }
            }
            stream.read_until(input, clock, deadline).await
        };
        match heard.await {
            Ok(Some(0)) => Err(self.ended()),
            Ok(heard) => Ok(heard),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Where the next frame begins, or whether the peer is still there, may not be known after this answer:
    /// then only a new connection is sure.
    fn doubt(&mut self, answer: Result<(), Fault>) {
        let Some(spec) = &self.spec else { return };
        match answer {
            Err(Fault::Garbled) if spec.framing == Framing::Tcp => self.close(),
            Err(Fault::Timeout) if spec.carrier.is_socket() => {
                self.timeouts_in_a_row += 1;
                if self.timeouts_in_a_row >= Self::MOST_TIMEOUTS {
                    self.close();
                }
            }
            _ => {}
        }
    }
}

impl Wire for ModbusLine {
    fn reads(&mut self) -> Result<&Reads, Fault> {
        if self.spec.is_none() {
            return Err(self.closed());
        }
        self.spec.as_ref().map(|spec| &spec.reads).ok_or(Fault::NotConnected)
    }

    fn lessons(&mut self) -> impl DerefMut<Target = Lessons> {
        &mut self.lessons
    }

    fn device(&self, device: usize) -> Option<&ModbusDevice> {
        self.spec.as_ref()?.devices.get(device)
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
        let (framing, pace, silence) = (spec.framing, spec.pace(), spec.silence());
        let slowest = self.heard.suspects.slowest(Some(device));
        // The slowest answer to this very request: that of a short one is over sooner.
        let longest = slowest.end.min(slowest.start + spec.takes(request));
        let patience = match slowest.start {
            start if hasty && !start.is_zero() => spec.patience(start, request).min(timeout_of_device),
            _ => timeout_of_device,
        };
        self.reopen().await?;
        self.settle(unit).await?;
        self.number = self.number.wrapping_add(1);
        self.out.clear();
        framing.encode(self.number, unit, &mut self.out, |out| request.encode(out));
        let on_the_wire = pace.bytes(self.out.len());
        // Until a whole, right answer is there, one may still come; also where this future is dropped.
        let mut sent = Instant::now() + on_the_wire;
        let asked = Asked { device: Some(device), unit, request: request.clone() };
        // Nobody answers a broadcast; all get the turnaround delay to obey it (serial line guide V1.02,
        // sections 2.1 and 2.4.1).
        let delay = timeout_of_device.max(silence);
        if broadcast {
            self.quiet_until = Some(sent + delay);
        } else {
            self.heard.suspects.add(asked.clone(), sent, sent + patience, timeout_of_device);
        }
        self.heard.sending(&self.out);
        let Some(stream) = &mut self.stream else { return Err(self.closed()) };
        self.mid_write = true;
        match stream.send(&self.out, patience + on_the_wire).await {
            Ok(()) => self.mid_write = false,
            Err(error) => return Err(self.lost(&error)),
        }
        // The system has the bytes; the line still sends them, but where that was waited for.
        sent = Instant::now() + if stream.waits_for_the_line() { Duration::ZERO } else { on_the_wire };
        if broadcast {
            self.quiet_until = Some(sent + delay);
            tokio::time::sleep_until(sent + delay).await;
            return Ok(());
        }
        let received = self.receive(sent, patience, &asked).await;
        let answer = received.and_then(|length| self.heard.answer(framing, length, &asked, into));
        let now = Instant::now();
        // Where nobody spoke, the line has been silent since the request.
        self.quiet_until = (!silence.is_zero()).then(|| self.came.unwrap_or(sent) + silence);
        match (received, answer) {
            (Ok(length), Ok(()) | Err(Fault::Refused(_) | Fault::Busy)) => {
                self.timeouts_in_a_row = 0;
                let end = now.saturating_duration_since(sent);
                let took = Slowest { start: end.saturating_sub(pace.bytes(length)), end };
                if let Some(latest) = self.latest.get_mut(device) {
                    *latest = took.start;
                }
                self.heard.suspects.seen(device, took);
            }
            _ => {
                // After a try in haste it would be there by now; else the line is quiet for as long from now on.
                let from = if hasty && patience < timeout_of_device { sent } else { now };
                self.heard.suspects.add(asked, sent, now, timeout_of_device);
                self.heard.suspects.quiet_until(from + longest);
                self.doubt(answer);
            }
        }
        pdu::behind_gateway(answer)
    }
}

impl Driver for ModbusLine {
    type Spec = LineSpec;

    fn load(&mut self, spec: &LineSpec) -> bool {
        let same = |old: &LineSpec| (&old.carrier, old.framing) == (&spec.carrier, spec.framing);
        let stays = self.spec.as_ref().is_some_and(same);
        if !stays {
            self.close();
            self.door = Door::default();
            self.had_it = false;
        }
        self.lessons.load(&spec.devices);
        self.heard.suspects.renumber();
        self.latest = vec![Duration::ZERO; spec.devices.len()];
        self.spec = Some(spec.clone());
        stays
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        if self.stream.is_some() {
            return Ok(());
        }
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        match spec.carrier.open(&mut self.door).await {
            Ok(stream) => {
                self.stream = Some(stream);
                self.clock = Pause::new();
                self.heard.opened(spec.framing);
                // Whoever had the port before, this program or another, may have asked something.
                if !std::mem::replace(&mut self.had_it, spec.carrier.is_socket()) {
                    let timeouts = spec.devices.iter().filter_map(|d| d.timeout);
                    let patience = timeouts.fold(spec.timeout, Duration::max);
                    self.heard.suspects.add_unknown(Instant::now(), patience);
                }
                Ok(())
            }
            Err(trouble) => {
                self.trouble = trouble;
                Err(Fault::NotConnected)
            }
        }
    }

    async fn read(&mut self, block: Block, into: &mut Raw) -> Result<(), Fault> {
        read::read(self, block, into).await
    }

    async fn probe(&mut self, block: Block, hasty: bool) -> Result<(), Fault> {
        read::probe(self, block, hasty).await
    }

    async fn write(&mut self, point: Point, raw: &Raw) -> Result<(), Fault> {
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        let device = spec.reads.points.get(point.0).ok_or(Fault::Unsupported)?.device;
        // Nobody answers a broadcast, so nothing can be taken for its answer.
        if !self.device(device).is_some_and(|d| d.broadcast) {
            self.know_echo(device).await?;
        }
        write::write(self, point, raw).await
    }

    fn longest_pause(&self) -> Duration {
        self.spec.as_ref().map_or(Duration::from_secs(10), |spec| spec.carrier.longest_pause())
    }

    fn longest_call(&self) -> Duration {
        self.spec.as_ref().map_or(LONGEST_ELSE, |spec| spec.longest_call)
    }

    fn silence(&self) -> Duration {
        self.spec.as_ref().map_or(Duration::ZERO, LineSpec::silence)
    }

    fn address(&self) -> &str {
        self.spec.as_ref().map_or("", |spec| spec.carrier.address(&self.door))
    }

    fn tally(&mut self) -> Tally {
        std::mem::take(&mut self.heard.tally)
    }

    fn trouble(&self) -> &str {
        &self.trouble
    }

    async fn identify(&mut self, device: usize) -> Result<Identity, Fault> {
        who::identify(self, device).await
    }

    fn learned(&mut self) -> Option<(usize, String)> {
        self.lessons.learned()
    }

    fn recall(&mut self, device: usize, text: &str) {
        self.lessons.recall(device, text);
    }
}
