//! The wire of Modbus TCP: one socket, one request at a time, transaction identifiers strict.

use std::ops::DerefMut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::blocks::{Extent, Reads};
use super::config::{ModbusDevice, TcpLink};
use super::facts::Facts;
use super::lessons::{self, Lessons};
use super::mux::Mux;
use super::pdu::{self, Request};
use super::read::{self, Wire};
use super::socket::{Door, Socket};
use super::stream::Stream;
use super::{LONGEST_ELSE, longest_call, tcp, who, write};
use crate::drivers::driver::{Block, Driver, Point, Tally};
use crate::model::{Fault, Identity, Raw};

/// What a Modbus TCP link needs to run.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpSpec {
    socket: Socket,
    timeout: Duration,
    pause: Duration,
    pipeline: u16,
    longest_call: Duration,
    devices: Vec<ModbusDevice>,
    reads: Reads,
}

impl TcpSpec {
    pub(super) fn new(link: &TcpLink, devices: &[ModbusDevice], reads: Reads) -> TcpSpec {
        let (socket, timeout) = (Socket::new(link), link.timeout.get_ref().0);
        TcpSpec {
            longest_call: longest_call(socket.longest_open(), timeout, devices),
            socket,
            timeout,
            pause: link.pause.as_ref().map_or(Duration::ZERO, |p| p.get_ref().0),
            pipeline: link.pipeline.as_ref().map_or(1, |n| *n.get_ref()),
            devices: devices.to_vec(),
            reads,
        }
    }

    /// What each block asks of whom, and each point, in their order.
    pub fn extents(&self) -> (Vec<Extent>, Vec<Extent>) {
        self.reads.extents(&self.devices)
    }

    /// The devices, in the order of the plan's.
    pub fn devices(&self) -> &[ModbusDevice] {
        &self.devices
    }

    /// See [`crate::drivers::LinkSpec::keeps_device`].
    pub(in crate::drivers) fn keeps_device(&self, at: usize, later: &TcpSpec, later_at: usize) -> bool {
        self.devices.get(at).is_some_and(|device| later.devices.get(later_at) == Some(device))
    }

    /// In how many reads a block is made where its device is known like this.
    pub fn reads_of(&self, block: Block, facts: &Facts) -> usize {
        self.reads.blocks.get(block.0).map_or(1, |spec| lessons::reads(spec, facts))
    }
}

/// The driver.
#[derive(Debug, Default)]
pub struct ModbusTcp {
    spec: Option<TcpSpec>,
    stream: Option<Stream>,
    door: Door,
    /// Instead of the stream, where it is shared.
    mux: Option<Arc<Mux>>,
    transaction: u16,
    out: Vec<u8>,
    input: Vec<u8>,
    /// A request is written in part: whatever is said next on this connection is not understood.
    mid_write: bool,
    timeouts_in_a_row: u32,
    /// The slowest answer seen of each device, by its index.
    slowest: Vec<Duration>,
    next_request: Option<Instant>,
    /// Shared with its siblings.
    lessons: Arc<Mutex<Lessons>>,
    /// Answers that came too late since this was last told.
    late: u64,
    trouble: String,
}

/// How long a device is waited for in haste that took so long at most.
pub(super) fn patience(slowest: Duration) -> Duration {
    slowest * 2 + Duration::from_millis(20)
}

impl ModbusTcp {
    /// Time-outs in a row after which the connection is made anew: the peer may be gone without a word.
    const MOST_TIMEOUTS: u32 = 3;

    fn close(&mut self) {
        self.stream = None;
        self.input.clear();
        self.mid_write = false;
        self.timeouts_in_a_row = 0;
    }

    fn learned_by_all(&self) -> MutexGuard<'_, Lessons> {
        self.lessons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unset(&mut self) -> Fault {
        self.trouble = "no host is configured".into();
        Fault::NotConnected
    }

    fn lost(&mut self, why: &dyn std::fmt::Display) -> Fault {
        self.trouble = format!("the connection to {} broke: {why}", self.door.peer());
        self.close();
        Fault::NotConnected
    }

    fn seen(&mut self, device: usize, took: Duration) {
        if self.slowest.len() <= device {
            self.slowest.resize(device + 1, Duration::ZERO);
        }
        if let Some(slowest) = self.slowest.get_mut(device) {
            *slowest = (*slowest).max(took);
        }
    }

    /// Lets go of a connection that the peer closed while nothing was asked.
    fn forget_closed(&mut self) {
        // What is there is a late answer: it is read past by its transaction identifier.
        let Some(stream) = &mut self.stream else { return };
        let closed = matches!(stream.take_now(&mut self.input), Ok(Some(0)) | Err(_));
        if closed {
            tracing::debug!("the device closed the idle connection");
            self.close();
        }
    }

    /// Waits for the answer of this very transaction. A late one of an earlier transaction is dropped.
    async fn receive(
        &mut self,
        deadline: Instant,
        unit: u8,
        request: &Request,
        into: &mut Raw,
    ) -> Result<(), Fault> {
        loop {
            match tcp::decode(&self.input) {
                Ok(Some(frame)) => {
                    let used = frame.used;
                    // Messaging guide section 4.4.1.3: the identifiers of the request come back.
                    let verdict = match (frame.transaction == self.transaction, frame.unit == unit) {
                        (false, _) => None,
                        (true, false) => Some(Err(Fault::Garbled)),
                        (true, true) => Some(request.answer(frame.pdu, into)),
                    };
                    self.input.drain(..used);
                    match verdict {
                        Some(answer) => return answer,
                        None => {
                            self.late += 1;
                            tracing::debug!("a late answer was dropped");
                        }
                    }
                }
                Err(tcp::NoFrame) => {
                    // Where the next frame starts cannot be known: only a new connection is sure.
                    self.close();
                    return Err(Fault::Garbled);
                }
                // A peer that never stops talking does not keep us here.
                Ok(None) if Instant::now() >= deadline => return Err(Fault::Timeout),
                Ok(None) => {
                    let Some(stream) = &mut self.stream else { return Err(Fault::NotConnected) };
                    match timeout_at(deadline, stream.read_buf(&mut self.input)).await {
                        Err(_) => return Err(Fault::Timeout),
                        Ok(Ok(0)) => return Err(self.lost(&"the device closed it")),
                        Ok(Err(error)) => return Err(self.lost(&error)),
                        Ok(Ok(_)) => {}
                    }
                }
            }
        }
    }
}

impl Wire for ModbusTcp {
    fn reads(&mut self) -> Result<&Reads, Fault> {
        if self.spec.is_none() {
            return Err(self.unset());
        }
        self.spec.as_ref().map(|spec| &spec.reads).ok_or(Fault::NotConnected)
    }

    fn lessons(&mut self) -> impl DerefMut<Target = Lessons> {
        self.learned_by_all()
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
        let Some(spec) = &self.spec else { return Err(self.unset()) };
        let unit = spec.devices.get(device).ok_or(Fault::Unsupported)?;
        let (unit, timeout_of_device, pause) = (unit.unit, unit.timeout.unwrap_or(spec.timeout), spec.pause);
        let patience = match self.slowest.get(device) {
            Some(slowest) if hasty && !slowest.is_zero() => patience(*slowest).min(timeout_of_device),
            _ => timeout_of_device,
        };
        if let Some(mux) = self.mux.clone() {
            let sent = Instant::now();
            let answer = mux.transact(unit, request, patience, &mut self.out).await;
            let answer = answer.and_then(|pdu| request.answer(&pdu, into));
            match answer {
                Err(Fault::NotConnected) => self.trouble = mux.trouble(),
                Err(Fault::Timeout) => {}
                _ => self.seen(device, sent.elapsed()),
            }
            return pdu::behind_gateway(answer);
        }
        if self.mid_write {
            self.close();
        }
        self.forget_closed();
        // Closed after time-outs in a row or by the peer, who may have wanted its place back: no fault yet.
        if self.stream.is_none() {
            self.connect().await?;
        }
        if let Some(at) = self.next_request.take() {
            tokio::time::sleep_until(at).await;
        }
        self.transaction = self.transaction.wrapping_add(1);
        self.out.clear();
        tcp::encode(self.transaction, unit, &mut self.out, |out| request.encode(out));
        let Some(stream) = &mut self.stream else { return Err(Fault::NotConnected) };
        self.mid_write = true;
        match stream.send(&self.out, patience).await {
            Ok(()) => self.mid_write = false,
            Err(error) => return Err(self.lost(&error)),
        }
        let sent = Instant::now();
        let answer = self.receive(sent + patience, unit, request, into).await;
        match answer {
            Err(Fault::Timeout) => {
                self.timeouts_in_a_row += 1;
                if self.timeouts_in_a_row >= Self::MOST_TIMEOUTS {
                    self.close();
                }
            }
            Err(Fault::NotConnected) => {}
            _ => {
                self.timeouts_in_a_row = 0;
                self.seen(device, sent.elapsed());
            }
        }
        if !pause.is_zero() {
            self.next_request = Some(Instant::now() + pause);
        }
        pdu::behind_gateway(answer)
    }
}

impl Driver for ModbusTcp {
    type Spec = TcpSpec;

    fn load(&mut self, spec: &TcpSpec) -> bool {
        let stays = self.spec.as_ref().is_some_and(|old| old.socket == spec.socket);
        if !stays || spec.pipeline <= 1 {
            self.mux = None;
        }
        if !stays || spec.pipeline > 1 {
            self.close();
            self.door = Door::default();
        }
        if spec.pipeline > 1 && self.mux.is_none() {
            self.mux = Some(Arc::new(Mux::new(spec.socket.clone())));
        }
        self.slowest.clear();
        self.learned_by_all().load(&spec.devices);
        self.spec = Some(spec.clone());
        stays
    }

    fn sibling(&self, same_connection: bool) -> Option<ModbusTcp> {
        let spec = self.spec.clone()?;
        let mux = match (&self.mux, same_connection) {
            (Some(mux), true) => Some(mux.clone()),
            (Some(_), false) => Some(Arc::new(Mux::new(spec.socket.clone()))),
            (None, true) => return None,
            (None, false) => None,
        };
        Some(ModbusTcp { spec: Some(spec), mux, lessons: self.lessons.clone(), ..ModbusTcp::default() })
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        if let Some(mux) = self.mux.clone() {
            return match mux.connect().await {
                Ok(peer) => {
                    self.door = Door::to(peer);
                    Ok(())
                }
                Err(fault) => {
                    self.trouble = mux.trouble();
                    Err(fault)
                }
            };
        }
        if self.stream.is_some() {
            return Ok(());
        }
        let Some(spec) = &self.spec else { return Err(self.unset()) };
        match spec.socket.open(&mut self.door).await {
            Ok(stream) => {
                self.close();
                self.stream = Some(stream);
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
        write::write(self, point, raw).await
    }

    fn longest_pause(&self) -> Duration {
        self.spec.as_ref().map_or(Duration::from_secs(10), |spec| spec.socket.longest_pause())
    }

    fn longest_call(&self) -> Duration {
        self.spec.as_ref().map_or(LONGEST_ELSE, |spec| spec.longest_call)
    }

    fn address(&self) -> &str {
        self.door.peer()
    }

    fn tally(&mut self) -> Tally {
        let shared = self.mux.as_ref().map_or(0, |mux| mux.take_late());
        Tally { late: std::mem::take(&mut self.late) + shared, ..Tally::default() }
    }

    fn trouble(&self) -> &str {
        &self.trouble
    }

    async fn identify(&mut self, device: usize) -> Result<Identity, Fault> {
        who::identify(self, device).await
    }

    fn learned(&mut self) -> Option<(usize, String)> {
        self.learned_by_all().learned()
    }

    fn recall(&mut self, device: usize, text: &str) {
        self.learned_by_all().recall(device, text);
    }
}
