//! The example driver, and the only test double: registers in memory, faults on demand.
//!
//! Addresses are `word:N` (0 to 65535; 1, 2 or 4 words by the tag's type) and `bit:N`. Read it before
//! you write a driver: it has every part of the contract and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::driver::{AddressError, Block, BlockPlan, Compiled, Driver, Point, PointPlan, Request, Slot};
use crate::model::{DataType, Fault, Place, Raw};

/// The memory behind a simulated link; cloned handles share it, so a test changes it while it is polled.
#[derive(Debug, Clone, Default)]
pub struct Bench(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    words: HashMap<(usize, u16), u16>,
    bits: HashMap<(usize, u16), bool>,
    faults: HashMap<usize, Fault>,
    lost_frames: HashMap<usize, u32>,
    unplugged: bool,
    panic_at_next_read: bool,
    hang_at_next_read: bool,
    hold_thread_at_next_read: Option<std::sync::mpsc::Receiver<()>>,
    answer_time: Duration,
    silence: Duration,
    connects: u64,
    reads: Vec<usize>,
}

impl PartialEq for Bench {
    fn eq(&self, other: &Bench) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Bench {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Sets words of a device from an address on.
    pub fn set_words(&self, device: usize, address: u16, words: &[u16]) {
        let mut memory = self.memory();
        for (address, word) in (address..).zip(words) {
            memory.words.insert((device, address), *word);
        }
    }

    /// A word of a device; what was never set is 0.
    pub fn word(&self, device: usize, address: u16) -> u16 {
        self.memory().words.get(&(device, address)).copied().unwrap_or(0)
    }

    /// Sets a bit of a device.
    pub fn set_bit(&self, device: usize, address: u16, bit: bool) {
        self.memory().bits.insert((device, address), bit);
    }

    /// Every transaction with a device ends in this fault; `None`: it answers again.
    pub fn set_fault(&self, device: usize, fault: Option<Fault>) {
        let mut memory = self.memory();
        match fault {
            Some(fault) => memory.faults.insert(device, fault),
            None => memory.faults.remove(&device),
        };
    }

    /// The next `count` transactions with a device time out, those after it do not.
    pub fn lose_frames(&self, device: usize, count: u32) {
        self.memory().lost_frames.insert(device, count);
    }

    /// Pulls the plug of the whole link, or puts it back.
    pub fn unplug(&self, out: bool) {
        self.memory().unplugged = out;
    }

    /// The driver's next read panics: for tests of the supervisor.
    pub fn panic_at_next_read(&self) {
        self.memory().panic_at_next_read = true;
    }

    /// The driver's next read never ends.
    pub fn hang_at_next_read(&self) {
        self.memory().hang_at_next_read = true;
    }

    /// The driver's next read keeps its thread until the other end of the channel is dropped, as a call of the operating
    /// system may that does not return.
    pub fn hold_thread_at_next_read(&self, until: std::sync::mpsc::Receiver<()>) {
        self.memory().hold_thread_at_next_read = Some(until);
    }

    /// How long each transaction takes.
    pub fn set_answer_time(&self, time: Duration) {
        self.memory().answer_time = time;
    }

    /// How long the wire is nobody's after each of them.
    pub fn set_silence(&self, silence: Duration) {
        self.memory().silence = silence;
    }

    /// How often the link was opened.
    pub fn connects(&self) -> u64 {
        self.memory().connects
    }

    /// Takes the list of block numbers read so far.
    pub fn take_reads(&self) -> Vec<usize> {
        std::mem::take(&mut self.memory().reads)
    }
}

/// What a simulated link needs to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The memory.
    pub bench: Bench,
    areas: Vec<Area>,
    points: Vec<Area>,
}

impl Spec {
    /// See [`crate::drivers::LinkSpec::keeps_device`]: a device is its place in the memory.
    pub(in crate::drivers) fn keeps_device(&self, at: usize, later: &Spec, later_at: usize) -> bool {
        self.bench == later.bench && at == later_at
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Area {
    device: usize,
    start: u16,
    count: u16,
    bits: bool,
}

/// One block a request.
pub fn compile(
    bench: &Bench,
    requests: &[Request<'_>],
) -> Result<Compiled<Spec>, Vec<(usize, AddressError)>> {
    let mut errors = Vec::new();
    let mut compiled = Compiled {
        spec: Spec { bench: bench.clone(), areas: Vec::new(), points: Vec::new() },
        blocks: Vec::new(),
        points: Vec::new(),
    };
    for (index, request) in requests.iter().enumerate() {
        let area = match parse(request) {
            Ok(area) => area,
            Err(error) => {
                errors.push((index, error));
                continue;
            }
        };
        let place = |at: usize| match (area.bits, usize::from(area.count)) {
            (true, 1) => Place::Bit { at },
            (true, count) => Place::Bits { at, count },
            (false, count) => Place::Words { at, count },
        };
        if request.writable {
            compiled.points.push(PointPlan { request: index, place: place(0) });
            compiled.spec.points.push(area.clone());
        }
        if !request.is_read() {
            continue;
        }
        compiled.blocks.push(BlockPlan {
            device: request.device,
            period: request.period,
            slots: vec![Slot { request: index, place: place(0) }],
            label: request.address.to_owned(),
            cost: Duration::ZERO,
            miss: Duration::ZERO,
            probe: Duration::ZERO,
        });
        compiled.spec.areas.push(area);
    }
    if errors.is_empty() { Ok(compiled) } else { Err(errors) }
}

fn parse(request: &Request<'_>) -> Result<Area, AddressError> {
    let bad = |message: String| AddressError {
        code: "bad-address",
        message,
        help: "write `word:N` or `bit:N` with N from 0 to 65535".into(),
    };
    let (area, number) =
        request.address.split_once(':').ok_or_else(|| bad(format!("`{}` has no area", request.address)))?;
    let start: u16 = number.parse().map_err(|_| bad(format!("`{number}` is no address")))?;
    let length = request.kind.length().unwrap_or(1);
    let (bits, one) = match (area, request.kind.element()) {
        ("bit", DataType::Bool) => (true, 1),
        ("word", DataType::I16 | DataType::U16) => (false, 1),
        ("word", DataType::I32 | DataType::U32 | DataType::F32) => (false, 2),
        ("word", DataType::I64 | DataType::U64 | DataType::F64) => (false, 4),
        ("word", DataType::Text) => (false, request.length.div_ceil(2)),
        _ => return Err(bad(format!("`{area}` holds no {}", request.kind))),
    };
    let count: u16 = length.saturating_mul(one);
    if u32::from(start) + u32::from(count) > 65536 {
        return Err(bad(format!("`{}` ends past 65535", request.address)));
    }
    Ok(Area { device: request.device, start, count, bits })
}

/// The driver.
#[derive(Debug, Default)]
pub struct Sim {
    spec: Option<Spec>,
    connected: bool,
    trouble: String,
}

impl Sim {
    /// Waits the bench's answer time and gives the fault that the bench has for this device.
    async fn answer(&mut self, device: usize) -> Result<Bench, Fault> {
        let Some(spec) = &self.spec else { return Err(Fault::NotConnected) };
        let bench = spec.bench.clone();
        let (time, fault, unplugged) = {
            let mut memory = bench.memory();
            let lost = memory.lost_frames.get_mut(&device).filter(|left| **left > 0);
            let lost = lost.map(|left| {
                *left -= 1;
                Fault::Timeout
            });
            (memory.answer_time, lost.or(memory.faults.get(&device).copied()), memory.unplugged)
        };
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        if !self.connected || unplugged {
            self.connected = false;
            self.trouble = "the bench is unplugged".into();
            return Err(Fault::NotConnected);
        }
        match fault {
            Some(fault) => {
                self.connected &= fault != Fault::NotConnected;
                Err(fault)
            }
            None => Ok(bench),
        }
    }
}

impl Driver for Sim {
    type Spec = Spec;

    fn load(&mut self, spec: &Spec) -> bool {
        let stays = self.spec.as_ref().is_some_and(|old| old.bench == spec.bench);
        self.spec = Some(spec.clone());
        self.connected &= stays;
        stays
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        let Some(spec) = &self.spec else { return Err(Fault::NotConnected) };
        let mut memory = spec.bench.memory();
        if memory.unplugged {
            self.trouble = "the bench is unplugged".into();
            return Err(Fault::NotConnected);
        }
        if !self.connected {
            memory.connects += 1;
            self.connected = true;
        }
        Ok(())
    }

    fn silence(&self) -> Duration {
        self.spec.as_ref().map_or(Duration::ZERO, |spec| spec.bench.memory().silence)
    }

    async fn read(&mut self, block: Block, into: &mut Raw) -> Result<(), Fault> {
        into.clear();
        let area =
            self.spec.as_ref().and_then(|spec| spec.areas.get(block.0)).cloned().ok_or(Fault::Unsupported)?;
        let bench = self.answer(area.device).await?;
        let (hangs, holds) = {
            let mut memory = bench.memory();
            (std::mem::take(&mut memory.hang_at_next_read), memory.hold_thread_at_next_read.take())
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        if let Some(holds) = holds {
            let _ = holds.recv();
        }
        let mut memory = bench.memory();
        if std::mem::take(&mut memory.panic_at_next_read) {
            drop(memory);
            std::panic::resume_unwind(Box::new("a panic that a test asked for"));
        }
        memory.reads.push(block.0);
        for address in area.start..=area.start.saturating_add(area.count - 1) {
            let key = (area.device, address);
            if area.bits {
                into.bits.push(memory.bits.get(&key).copied().unwrap_or(false));
            } else {
                into.words.push(memory.words.get(&key).copied().unwrap_or(0));
            }
        }
        Ok(())
    }

    async fn write(&mut self, point: Point, raw: &Raw) -> Result<(), Fault> {
        let area = self
            .spec
            .as_ref()
            .and_then(|spec| spec.points.get(point.0))
            .cloned()
            .ok_or(Fault::Unsupported)?;
        let bench = self.answer(area.device).await?;
        match raw.bits.first() {
            Some(bit) if area.bits => bench.set_bit(area.device, area.start, *bit),
            _ => bench.set_words(area.device, area.start, &raw.words),
        }
        Ok(())
    }

    fn trouble(&self) -> &str {
        &self.trouble
    }
}
