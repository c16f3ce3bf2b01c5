//! The contract between the poll task and a driver.
//!
//! A driver moves words. It knows no tag, type, quality or clock: `compile` turns addresses into
//! blocks before anything runs, `read` fetches a block, `write` sets a point.

use std::future::Future;
use std::time::Duration;

use crate::model::{DataType, Fault, Identity, Place, Raw};

/// A block of the loaded spec: one read request that serves several tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block(pub usize);

/// A writable place of the loaded spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Point(pub usize);

/// What the wire does.
pub trait Driver: Send {
    /// Plain data, comparable: all that the driver needs to run.
    type Spec;

    /// Takes the next spec. False: the link must be opened anew (it is closed by this call).
    fn load(&mut self, spec: &Self::Spec) -> bool;

    /// One more with the same spec that shares what was learned: over the same connection, where that takes
    /// several requests at once, or over one of its own.
    fn sibling(&self, same_connection: bool) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = same_connection;
        None
    }

    /// Opens the port or socket; does nothing when it is open. Ends within the spec's time-out.
    fn connect(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Reads a block into `into`, which is cleared first. A fault leaves it empty.
    fn read(&mut self, block: Block, into: &mut Raw) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Whether the device of this block is there, asked for as little as shows it: for one that did not answer
    /// of late. `hasty`: gives up as soon as it would have answered were it as quick as before, so that
    /// trying it costs its neighbours little; else after its whole time-out.
    fn probe(&mut self, block: Block, hasty: bool) -> impl Future<Output = Result<(), Fault>> + Send {
        let _ = hasty;
        async move { self.read(block, &mut Raw::default()).await }
    }

    /// Writes a point and returns when the device answered.
    fn write(&mut self, point: Point, raw: &Raw) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Asks a device who it is; unknown where it has no way to say so, or is not to be asked. Time-out: it was
    /// silent, which says nothing of its health.
    fn identify(&mut self, device: usize) -> impl Future<Output = Result<Identity, Fault>> + Send {
        let _ = device;
        std::future::ready(Ok(Identity::default()))
    }

    /// The longest pause between two tries to open the link. Shorter where trying costs nobody anything and
    /// what is away comes back at once, as an adapter that is plugged in again.
    fn longest_pause(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// The longest that one call may take, by far: where one takes longer the link hangs, and is started again.
    fn longest_call(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How long the wire is nobody's after each transaction.
    fn silence(&self) -> Duration {
        Duration::ZERO
    }

    /// What else was on the wire since this was last asked.
    fn tally(&mut self) -> Tally {
        Tally::default()
    }

    /// Where the open link leads, for people: the port, or which of its addresses is in use.
    fn address(&self) -> &str {
        ""
    }

    /// The last trouble in words, for the log: the operating system's error, the address tried.
    fn trouble(&self) -> &str;

    /// A device of which more or other things are known than was told before, and all that is known of it: text
    /// in the driver's own form, to be kept over restarts. Called until it gives none.
    fn learned(&mut self) -> Option<(usize, String)> {
        None
    }

    /// What an earlier run learned of a device, after `load`. What cannot be read is forgotten.
    fn recall(&mut self, device: usize, text: &str) {
        let _ = (device, text);
    }
}

/// Bytes on a wire that nobody waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Our own requests, from an adapter that hears what it sends.
    pub echoes: u64,
    /// Frames that are not ours: requests of another master, and the answers to them.
    pub foreign: u64,
    /// Bytes that are no frame.
    pub noise: u64,
    /// Answers to us that came too late and were dropped.
    pub late: u64,
}

/// One tag as a driver's `compile` sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// Index into the devices given to `compile`.
    pub device: usize,
    /// The address as written, `holding:40`.
    pub address: &'a str,
    /// The type on the wire.
    pub kind: DataType,
    /// Bytes of a text on the wire; 0 for other types.
    pub length: u16,
    /// Whether it must be writable too.
    pub writable: bool,
    /// How often it is wanted; a driver may let it ride in a block that is read more often.
    /// [`Request::NEVER`]: it is only written, and in no block.
    pub period: Duration,
}

impl Request<'_> {
    /// The period of what is only written.
    pub const NEVER: Duration = Duration::MAX;

    /// Whether it is read at all.
    pub fn is_read(&self) -> bool {
        self.period != Self::NEVER
    }
}

/// Requests compiled to blocks and points.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled<S> {
    /// What `load` takes; holds the blocks and points in the order of the lists below.
    pub spec: S,
    /// `Block(i)` is `blocks[i]`.
    pub blocks: Vec<BlockPlan>,
    /// `Point(i)` is `points[i]`.
    pub points: Vec<PointPlan>,
}

/// What a block serves.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockPlan {
    /// Index of the device.
    pub device: usize,
    /// How often it is to be read: the shortest period of its requests.
    pub period: Duration,
    /// Which request lies where in the block's raw.
    pub slots: Vec<Slot>,
    /// What it asks, for people: `holding 40..58`.
    pub label: String,
    /// Expected time of a read, from the silence before the request to the end of the answer.
    pub cost: Duration,
    /// The same where the device does not answer.
    pub miss: Duration,
    /// What a hasty probe takes of a device that does not answer.
    pub probe: Duration,
}

/// A request within a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Index of the request.
    pub request: usize,
    /// Where its value lies.
    pub place: Place,
}

/// A request that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointPlan {
    /// Index of the request.
    pub request: usize,
    /// Where `encode` puts the value in the raw that `write` takes.
    pub place: Place,
}

/// Why an address cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AddressError {
    /// A short stable name, as `bad-address`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}
