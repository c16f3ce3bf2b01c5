//! What is heard on a line: the answer waited for, our own request from an adapter that hears what it sends,
//! late answers, other masters and noise, told apart and counted. No I/O.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::Instant;

use super::config::{Framing, ModbusDevice};
use super::framing::Start;
use super::pdu::Request;
use super::suspects::{Asked, Suspects};
use crate::drivers::driver::Tally;
use crate::model::{Fault, Raw};

/// The bytes that came and were not understood yet, and what is known of the line.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) input: Vec<u8>,
    pub(super) suspects: Suspects,
    pub(super) tally: Tally,
    /// What was sent and may come back from the adapter; empty where it came, or none does.
    copy: Vec<u8>,
    /// It came.
    copied: bool,
    /// Whether the adapter hears what it sends; `None` where no read has told yet.
    echo: Option<bool>,
    /// When another master was last heard asking.
    rival: Option<Instant>,
    scratch: Vec<u8>,
}

impl Heard {
    /// After so long without a word another master is news again.
    const NEWS: Duration = Duration::from_secs(3600);

    /// The port was opened.
    pub(super) fn opened(&mut self, framing: Framing) {
        self.end_of_run();
        self.copy.clear();
        // Nothing that speaks Modbus TCP is an RS-485 adapter.
        self.echo = (framing == Framing::Tcp).then_some(false);
    }

    /// Whether it is known if the adapter hears what it sends.
    pub(super) fn echo_is_known(&self) -> bool {
        self.echo.is_some()
    }

    /// This is sent now, and what comes from here on is judged as an answer to it.
    pub(super) fn sending(&mut self, out: &[u8]) {
        self.end_of_run();
        self.copied = false;
        self.copy.clear();
        if self.echo != Some(false) {
            self.copy.extend_from_slice(out);
        }
    }

    /// Looks for the answer at the start of the input. Breaks with its length where it is whole and nothing is
    /// behind it; continues with how many bytes are missing at least, 0 where that is not known.
    pub(super) fn look(
        &mut self,
        framing: Framing,
        asked: &Asked,
    ) -> Result<ControlFlow<usize, usize>, Fault> {
        loop {
            if !self.copy.is_empty() {
                if self.input.starts_with(&self.copy) {
                    self.input.drain(..self.copy.len());
                    self.echoed();
                } else if self.copy.starts_with(&self.input) {
                    let missing = self.copy.len() - self.input.len();
                    return Ok(ControlFlow::Continue(if self.input.is_empty() { 0 } else { missing }));
                }
            }
            let suspects = &self.suspects;
            let length = |from, pdu: &[u8]| {
                if from == asked.unit { asked.request.answer_length(pdu) } else { suspects.length(from, pdu) }
            };
            match framing.start(&self.input, length)? {
                Start::More(missing) => return Ok(ControlFlow::Continue(missing)),
                Start::Noise(bytes) => {
                    self.tally.noise += bytes as u64;
                    self.input.drain(..bytes.min(self.input.len()));
                }
                Start::Frame(length) => {
                    let frame = self.input.get(..length).unwrap_or_default();
                    let (from, pdu) = framing.decode(frame, &mut self.scratch).ok_or(Fault::Garbled)?;
                    if from == asked.unit {
                        // More than the frame: two talk at once, and nobody knows which is which.
                        let alone = self.input.len() == length;
                        return if alone { Ok(ControlFlow::Break(length)) } else { Err(Fault::Garbled) };
                    }
                    let owed = self.suspects.take(from, pdu).ok_or(Fault::Garbled)?;
                    count(&mut self.tally, &owed);
                    self.input.drain(..length);
                }
            }
        }
    }

    /// Puts what the answer of that length says into `into`.
    pub(super) fn answer(
        &mut self,
        framing: Framing,
        length: usize,
        asked: &Asked,
        into: &mut Raw,
    ) -> Result<(), Fault> {
        let frame = self.input.get(..length).unwrap_or_default();
        let (_, pdu) = framing.decode(frame, &mut self.scratch).ok_or(Fault::Garbled)?;
        let answer = asked.request.answer(pdu, into);
        if matches!(answer, Ok(()) | Err(Fault::Refused(_) | Fault::Busy)) {
            self.input.clear();
            // What comes back from now on is no copy: another master may ask the very same.
            self.copy.clear();
            self.suspects.answered(asked.unit);
            if framing != Framing::Tcp && matches!(asked.request, Request::Read { .. }) {
                self.echo = match (self.echo, self.copied) {
                    (_, true) => Some(true),
                    // Once is no proof: a write must not take a copy for its answer.
                    (Some(true), false) => None,
                    (_, false) => Some(false),
                };
            }
        }
        answer
    }

    fn echoed(&mut self) {
        self.copy.clear();
        self.copied = true;
        self.tally.echoes += 1;
    }

    /// Books the whole frames in what nobody waits for. True where another master is heard for the first time
    /// in a long while.
    pub(super) fn book(&mut self, framing: Framing, devices: &[ModbusDevice], timeout: Duration) -> bool {
        let mut news = false;
        while let Some(at) = framing.find(&self.input, &mut self.scratch) {
            self.tally.noise += at.start as u64;
            let frame = self.input.get(at.clone()).unwrap_or_default();
            if !self.copy.is_empty() && frame == self.copy {
                self.echoed();
            } else if let Some((unit, pdu)) = framing.decode(frame, &mut self.scratch) {
                if let Some(owed) = self.suspects.take(unit, pdu) {
                    count(&mut self.tally, &owed);
                } else if let Ok(request) = Request::decode(pdu) {
                    self.tally.foreign += 1;
                    news |= self.rival(devices, unit, request, timeout);
                } else if self.suspects.any_unknown() {
                    self.tally.late += 1;
                } else {
                    self.tally.foreign += 1;
                }
            }
            self.input.drain(..at.end);
        }
        // Only the newest bytes can still become a frame.
        let old = self.input.len().saturating_sub(framing.most());
        self.tally.noise += old as u64;
        self.input.drain(..old);
        news
    }

    /// Another master asks: its answer must not meet a request of ours, and nobody could tell it from the
    /// answer to one. True where that is news.
    fn rival(&mut self, devices: &[ModbusDevice], unit: u8, request: Request, timeout: Duration) -> bool {
        let now = Instant::now();
        // The answer to writing one value looks like the request, so that is no proof of another master.
        let proof = !matches!(
            request,
            Request::WriteCoil { .. } | Request::WriteRegister { .. } | Request::MaskRegister { .. }
        );
        // Nobody answers a broadcast (serial guide, section 2.1).
        if unit != 0 {
            let device = devices.iter().position(|device| device.unit == unit);
            let slowest = self.suspects.slowest(device).end;
            self.suspects.add(Asked { device: None, unit, request }, now, now, timeout);
            self.suspects.quiet_until(now + slowest);
        }
        let news = proof && self.rival.is_none_or(|at| now - at > Self::NEWS);
        if proof {
            self.rival = Some(now);
        }
        news
    }

    /// Nobody speaks any more: what is left is no frame of ours. True where something was.
    pub(super) fn end_of_run(&mut self) -> bool {
        if self.input.is_empty() {
            return false;
        }
        // A frame with another function than ours is one as long as it stands alone.
        match super::rtu::decode(&self.input) {
            Some(_) if self.suspects.any_unknown() => self.tally.late += 1,
            Some(_) => self.tally.foreign += 1,
            None => self.tally.noise += self.input.len() as u64,
        }
        self.input.clear();
        true
    }
}

/// An answer that came though nobody waited for it.
fn count(tally: &mut Tally, owed: &Asked) {
    tracing::debug!(unit = owed.unit, "a late answer was dropped");
    if owed.device.is_some() {
        tally.late += 1;
    } else {
        tally.foreign += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(framing: Framing, pdus: &[&[u8]]) -> Heard {
        let mut heard = Heard::default();
        for pdu in pdus {
            framing.encode(0, 9, &mut heard.input, |out| out.extend_from_slice(pdu));
        }
        heard
    }

    fn book(heard: &mut Heard, framing: Framing) -> bool {
        heard.book(framing, &[], Duration::from_secs(1))
    }

    #[test]
    fn another_master_is_told_once_and_its_frames_are_all_counted() {
        for framing in [Framing::Rtu, Framing::Ascii] {
            let exchange: [&[u8]; 2] = [&[23, 0, 1, 0, 1, 0, 1, 0, 1, 2, 0, 7], &[23, 2, 0, 7]];
            let mut heard = heard(framing, &[exchange[0], exchange[1], &[3, 0, 1, 0, 1]]);
            assert!(book(&mut heard, framing));
            assert_eq!(heard.tally, Tally { foreign: 3, ..Tally::default() });
            assert!(heard.suspects.due(9).is_some(), "its second answer is still to come");
            framing.encode(0, 9, &mut heard.input, |out| out.extend_from_slice(&[4, 0, 1, 0, 1]));
            assert!(!book(&mut heard, framing));
            assert_eq!(heard.tally.foreign, 4);
        }
    }

    #[test]
    fn the_answer_to_a_write_of_unknown_origin_is_no_proof_of_another_master() {
        for pdu in [&[6, 0, 1, 0, 1][..], &[5, 0, 1, 0xFF, 0], &[22, 0, 4, 0, 0xF2, 0, 0x25]] {
            let mut heard = heard(Framing::Rtu, &[pdu]);
            assert!(!book(&mut heard, Framing::Rtu));
            assert_eq!(heard.tally.foreign, 1, "{pdu:?}");
        }
    }

    #[test]
    fn frames_with_functions_of_others_count_as_frames_and_the_rest_as_noise() {
        let mut heard = heard(Framing::Rtu, &[&[8, 0, 0, 0xA5, 0x37]]);
        assert!(!book(&mut heard, Framing::Rtu));
        assert!(heard.end_of_run());
        heard.input.extend_from_slice(&[9, 3, 2]);
        assert!(!book(&mut heard, Framing::Rtu));
        assert!(heard.end_of_run() && !heard.end_of_run());
        assert_eq!(heard.tally, Tally { foreign: 1, noise: 3, ..Tally::default() });
    }
}
