//! How a PDU is wrapped in a stream of bytes, and found there again: RTU, ASCII, or the header of TCP.

use std::ops::Range;

pub use super::config::Framing;
use super::pdu;
use super::{ascii, rtu, tcp};
use crate::model::Fault;

/// What stands at the start of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing, or the start of a frame; at least so many bytes are missing, 0 where that is not known.
    More(usize),
    /// A frame of so many bytes; whether it is right [`Framing::decode`] knows.
    Frame(usize),
    /// So many bytes that are no frame, and the next one may begin behind them.
    Noise(usize),
}

impl Framing {
    /// The longest frame.
    pub fn most(self) -> usize {
        match self {
            Framing::Rtu => rtu::MOST,
            Framing::Ascii => ascii::MOST,
            Framing::Tcp => tcp::HEADER + pdu::MOST,
        }
    }

    /// Bytes of the frame around a PDU of so many.
    pub fn length(self, pdu: usize) -> usize {
        match self {
            Framing::Rtu => rtu::AROUND + pdu,
            Framing::Ascii => ascii::length(pdu),
            Framing::Tcp => tcp::HEADER + pdu,
        }
    }

    /// Appends the frame around a PDU that `pdu` appends; only TCP has a number in it.
    pub fn encode(self, number: u16, unit: u8, out: &mut Vec<u8>, pdu: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Framing::Rtu => rtu::encode(unit, out, pdu),
            Framing::Ascii => ascii::encode(unit, out, pdu),
            Framing::Tcp => tcp::encode(number, unit, out, pdu),
        }
    }

    /// Unit and PDU of a whole frame; `None` where its check fails. `scratch` is for digits to become bytes in.
    pub fn decode<'a>(self, frame: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<(u8, &'a [u8])> {
        match self {
            Framing::Rtu => rtu::decode(frame),
            Framing::Ascii => ascii::decode(frame, scratch),
            Framing::Tcp => match tcp::decode(frame) {
                Ok(Some(found)) if found.used == frame.len() => Some((found.unit, found.pdu)),
                _ => None,
            },
        }
    }

    /// What the buffer begins with. An RTU frame says nothing of its length: `length` does, of the PDU from
    /// that unit that begins like this (`None`: not yet), or knows that none does. After an error nobody can
    /// tell where the next frame begins.
    pub fn start(
        self,
        buffer: &[u8],
        length: impl FnOnce(u8, &[u8]) -> Result<Option<usize>, Fault>,
    ) -> Result<Start, Fault> {
        match self {
            Framing::Rtu => {
                let Some((unit, pdu)) = buffer.split_first() else { return Ok(Start::More(0)) };
                match length(*unit, pdu)?.map(|length| length + rtu::AROUND) {
                    None => Ok(Start::More(0)),
                    Some(length) if length > rtu::MOST => Err(Fault::Garbled),
                    Some(length) if length > buffer.len() => Ok(Start::More(length - buffer.len())),
                    Some(length) => Ok(Start::Frame(length)),
                }
            }
            Framing::Ascii => Ok(ascii::start(buffer)),
            Framing::Tcp => match tcp::decode(buffer) {
                Ok(Some(frame)) => Ok(Start::Frame(frame.used)),
                Ok(None) if buffer.is_empty() => Ok(Start::More(0)),
                Ok(None) => Ok(Start::More(1)),
                Err(tcp::NoFrame) => Err(Fault::Garbled),
            },
        }
    }

    /// The first right frame in bytes that nobody waited for, be it a request or an answer.
    pub fn find(self, bytes: &[u8], scratch: &mut Vec<u8>) -> Option<Range<usize>> {
        if self == Framing::Rtu {
            return (0..bytes.len()).find_map(|at| Some(at..at + rtu_frame(bytes.get(at..)?)?));
        }
        let mut at = 0;
        loop {
            match self.start(bytes.get(at..)?, |_, _| Ok(None)).ok()? {
                Start::More(_) => return None,
                Start::Noise(bytes) => at += bytes,
                Start::Frame(length) => {
                    let frame = at..at + length;
                    if self.decode(bytes.get(frame.clone())?, scratch).is_some() {
                        return Some(frame);
                    }
                    at += length;
                }
            }
        }
    }
}

/// Length of the RTU frame, with one of our functions and a right CRC, at the start of these bytes.
fn rtu_frame(bytes: &[u8]) -> Option<usize> {
    let pdu = bytes.get(1..)?;
    let answer = match pdu {
        [function, ..] if function & 0x80 != 0 => pdu::request_length(&[function & 0x7F, 0]).ok().map(|_| 2),
        [1..=4, count, ..] => Some(2 + usize::from(*count)),
        [5 | 6 | 15 | 16, ..] => Some(5),
        _ => None,
    };
    let request = pdu::request_length(pdu).ok().flatten();
    let right = |length: &usize| bytes.get(..*length).is_some_and(|frame| rtu::decode(frame).is_some());
    [request, answer].into_iter().flatten().map(|length| length + rtu::AROUND).find(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Framing; 3] = [Framing::Rtu, Framing::Ascii, Framing::Tcp];

    fn frame(framing: Framing, unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        framing.encode(7, unit, &mut out, |out| out.extend_from_slice(pdu));
        assert_eq!(out.len(), framing.length(pdu.len()));
        out
    }

    #[test]
    fn what_is_encoded_is_found_whole_and_decoded_again() {
        for framing in ALL {
            let pdu = [3, 4, 1, 2, 3, 4];
            let bytes = frame(framing, 17, &pdu);
            let length = |_: u8, pdu: &[u8]| Ok(pdu.get(1).map(|count| 2 + usize::from(*count)));
            for end in 0..bytes.len() {
                assert!(
                    matches!(framing.start(&bytes[..end], length), Ok(Start::More(_))),
                    "{framing:?} {end}"
                );
            }
            assert_eq!(framing.start(&bytes, length), Ok(Start::Frame(bytes.len())));
            assert_eq!(framing.decode(&bytes, &mut Vec::new()), Some((17, &pdu[..])));
            assert_eq!(framing.most(), framing.length(pdu::MOST));
        }
    }

    #[test]
    fn frames_of_others_are_found_between_noise() {
        for framing in [Framing::Rtu, Framing::Ascii] {
            let (asked, answered) =
                (frame(framing, 9, &[3, 0, 1, 0, 2]), frame(framing, 9, &[3, 4, 0, 1, 0, 2]));
            let refused = frame(framing, 9, &[0x83, 2]);
            let bytes = [&[0, 0xFF, 9][..], &asked, &answered, &[3], &refused, &[1]].concat();
            let mut rest = &bytes[..];
            let mut found = Vec::new();
            while let Some(at) = framing.find(rest, &mut Vec::new()) {
                found.push((at.start, rest[at.clone()].to_vec()));
                rest = &rest[at.end..];
            }
            assert_eq!(found, [(3, asked), (0, answered), (1, refused)], "{framing:?}");
            assert_eq!(rest, [1]);
        }
    }
}
