//! What is made sure of before a request: that the connection is there, that it is known whether the adapter
//! hears what it sends, and that nothing is under way any more that would be taken for the answer.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::address::Area;
use super::blocks::BlockSpec;
use super::carrier::GAP_WITHIN;
use super::config::Framing;
use super::line::ModbusLine;
use super::pdu::Request;
use super::read::Wire;
use crate::drivers::driver::Driver;
use crate::model::{Fault, Raw};

/// How long a line may talk without a pause, once nothing is due any more, before it counts as never quiet.
const LONGEST_TALK: Duration = Duration::from_secs(1);

impl ModbusLine {
    /// A connection that its peer closed while nothing was asked, who may have wanted its place back, is made
    /// anew: no fault yet.
    pub(super) async fn reopen(&mut self) -> Result<(), Fault> {
        if !self.spec.as_ref().is_some_and(|spec| spec.carrier.is_socket()) {
            return Ok(());
        }
        if self.mid_write {
            self.close();
        }
        if let Some(stream) = &mut self.stream
            && matches!(stream.take_now(&mut self.heard.input), Ok(Some(0)) | Err(_))
        {
            tracing::debug!("the device closed the idle connection");
            self.close();
        }
        self.connect().await
    }

    /// Whether the adapter hears what it sends must be known before the first write: its copy of a request to
    /// write one value looks like the answer. A read tells.
    pub(super) async fn know_echo(&mut self, device: usize) -> Result<(), Fault> {
        if self.heard.echo_is_known() {
            return Ok(());
        }
        let blocks = self.spec.as_ref().map_or(&[][..], |spec| &spec.reads.blocks);
        let of_device = blocks.iter().find(|block| block.device == device);
        // Whoever has not this register refuses it, and that is an answer, too.
        let request =
            of_device.map_or(Request::Read { area: Area::Holding, start: 0, count: 1 }, BlockSpec::request);
        match self.transact(device, &request, &mut Raw::default(), false).await {
            _ if self.heard.echo_is_known() => Ok(()),
            Ok(()) => Err(Fault::Garbled),
            fault => fault,
        }
    }

    /// Makes sure that whatever comes next from this unit is the answer to what it is asked next: listens
    /// until the late answers are there or not to be expected, and then until nobody speaks.
    pub(super) async fn settle(&mut self, unit: u8) -> Result<(), Fault> {
        let Some(spec) = &self.spec else { return Err(self.closed()) };
        let (framing, pace) = (spec.framing, spec.pace());
        let gap = pace.silence().max(GAP_WITHIN);
        let start = Instant::now();
        let due = self.heard.suspects.due(unit).map_or(start, |due| due.max(start));
        let end = due + pace.bytes(2 * framing.most()) + LONGEST_TALK;
        // Bytes that are there already came with an answer that was not right, or behind it.
        let mut quiet = if self.heard.input.is_empty() { start } else { start + gap };
        loop {
            self.book();
            let now = Instant::now();
            self.heard.suspects.expire(now);
            let until = self.heard.suspects.due(unit).map_or(quiet, |due| due.max(quiet));
            let bytes = if now < until {
                if now >= end {
                    self.trouble = "the line is never quiet: another master, or noise".into();
                    return Err(Fault::Garbled);
                }
                self.listen(until).await?
            } else {
                if self.heard.end_of_run() && framing == Framing::Tcp {
                    // Where the next frame begins nobody knows: only a new connection is sure.
                    self.close();
                    self.connect().await?;
                }
                self.full = self.quiet_until.is_some_and(|at| now < at);
                if let Some(at) = self.quiet_until {
                    self.clock.sharply(at).await;
                }
                // What came meanwhile was not asked for: noise, or another master. Let it finish.
                match self.overheard()? {
                    0 => return Ok(()),
                    bytes => bytes,
                }
            };
            if bytes > 0 {
                tracing::debug!(bytes, "bytes on the line that nobody waits for");
                quiet = Instant::now() + gap;
            }
        }
    }

    fn book(&mut self) {
        let Some(spec) = &self.spec else { return };
        if self.heard.book(spec.framing, &spec.devices, spec.timeout) {
            tracing::warn!(
                "another master asks on {}: its requests and ours meet, and answers are lost; a Modbus line has one master, so disconnect the other one, or have it ask this gateway",
                spec.carrier
            );
        }
    }

    /// Takes what is there now behind the input, without waiting.
    fn overheard(&mut self) -> Result<usize, Fault> {
        let Some(stream) = &mut self.stream else { return Err(self.closed()) };
        match stream.take_now(&mut self.heard.input) {
            Ok(None) => Ok(0),
            Ok(Some(0)) => Err(self.ended()),
            Ok(Some(bytes)) => Ok(bytes),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Takes the next bytes behind the input; 0: none until then.
    async fn listen(&mut self, until: Instant) -> Result<usize, Fault> {
        let Some(stream) = &mut self.stream else { return Err(self.closed()) };
        match timeout_at(until, stream.read_buf(&mut self.heard.input)).await {
            Err(_) => Ok(0),
            Ok(Ok(0)) => Err(self.ended()),
            Ok(Err(error)) => Err(self.lost(&error)),
            Ok(Ok(bytes)) => Ok(bytes),
        }
    }
}
