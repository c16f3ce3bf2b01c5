//! How bytes become requests and answers become bytes, on each kind of wire: pure.

use crate::drivers::modbus::{pdu, rtu, tcp};

/// How frames lie on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Modbus TCP: a header with transaction and length.
    Tcp,
    /// RTU: unit, PDU and CRC, on a serial line or behind a socket.
    Rtu,
}

/// A request found at the start of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// 0 where the framing has none.
    pub(super) transaction: u16,
    pub(super) unit: u8,
    pub(super) pdu: &'a [u8],
    /// Bytes that it took.
    pub(super) used: usize,
}

/// What the bytes on the wire are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// The start of a request.
    More,
    /// A whole request.
    Request(Asked<'a>),
    /// No request; what follows is not to be trusted before the line was silent.
    Noise,
}

impl Framing {
    /// Whether units share a line: 0 is the broadcast, and who is not there says nothing.
    pub(super) fn is_line(self) -> bool {
        self != Framing::Tcp
    }

    /// The request at the start of the bytes.
    pub(super) fn heard(self, bytes: &[u8]) -> Heard<'_> {
        match self {
            Framing::Tcp => match tcp::decode(bytes) {
                Ok(Some(tcp::Frame { transaction, unit, pdu, used })) => {
                    Heard::Request(Asked { transaction, unit, pdu, used })
                }
                Ok(None) => Heard::More,
                Err(tcp::NoFrame) => Heard::Noise,
            },
            Framing::Rtu => heard_rtu(bytes),
        }
    }

    /// Appends the frame around a PDU.
    pub(super) fn encode(self, transaction: u16, unit: u8, pdu: &[u8], out: &mut Vec<u8>) {
        match self {
            Framing::Tcp => tcp::encode(transaction, unit, out, |out| out.extend_from_slice(pdu)),
            Framing::Rtu => rtu::encode(unit, out, |out| out.extend_from_slice(pdu)),
        }
    }
}

/// A request's length follows from its first bytes; its CRC must be right.
fn heard_rtu(bytes: &[u8]) -> Heard<'_> {
    match pdu::request_length(bytes.get(1..).unwrap_or_default()) {
        Err(_) => Heard::Noise,
        Ok(None) => Heard::More,
        // Unit, PDU, CRC.
        Ok(Some(length)) => match bytes.get(..length + 3) {
            None if length + 3 > rtu::MOST => Heard::Noise,
            None => Heard::More,
            Some(frame) => rtu::decode(frame).map_or(Heard::Noise, |(unit, pdu)| {
                Heard::Request(Asked { transaction: 0, unit, pdu, used: frame.len() })
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Framing::Rtu.encode(0, unit, pdu, &mut out);
        out
    }

    #[test]
    fn a_request_is_told_by_its_length_and_its_crc() {
        for pdu in [&[3, 0, 1, 0, 2][..], &[16, 0, 1, 0, 2, 4, 0, 10, 1, 2]] {
            let whole = frame(17, pdu);
            for end in 0..whole.len() {
                assert_eq!(Framing::Rtu.heard(&whole[..end]), Heard::More, "{end} of {pdu:?}");
            }
            let request = || Heard::Request(Asked { transaction: 0, unit: 17, pdu, used: whole.len() });
            assert_eq!(Framing::Rtu.heard(&whole), request());
            assert_eq!(Framing::Rtu.heard(&[whole.clone(), whole.clone()].concat()), request());
        }
    }

    #[test]
    fn what_is_no_request_is_noise() {
        let mut damaged = frame(17, &[3, 0, 1, 0, 2]);
        damaged[3] ^= 1;
        assert_eq!(Framing::Rtu.heard(&damaged), Heard::Noise);
        assert_eq!(Framing::Rtu.heard(&[1, 0x99]), Heard::Noise);
        assert_eq!(Framing::Rtu.heard(&[1, 16, 0, 1, 0, 2, 255]), Heard::Noise);
        assert_eq!(Framing::Tcp.heard(b"GET / HTTP"), Heard::Noise);
    }
}
