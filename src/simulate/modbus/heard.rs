//! What the bytes on a wire are to a device: requests, starts of requests, noise. Pure.

use crate::drivers::modbus::framing::{Framing, Start};
use crate::drivers::modbus::{pdu, tcp};

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
    /// So many bytes that are no request.
    Skip(usize),
    /// No request; what follows is not to be trusted before the line was silent.
    Noise,
}

/// Whether units share a line: 0 is the broadcast, and who is not there says nothing.
pub(super) fn is_line(framing: Framing) -> bool {
    framing != Framing::Tcp
}

/// The request at the start of the bytes; `scratch` is for digits to become bytes in.
pub(super) fn heard<'a>(framing: Framing, bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Heard<'a> {
    match framing.start(bytes, |_, pdu| pdu::request_length(pdu)) {
        Err(_) => Heard::Noise,
        Ok(Start::More(_)) => Heard::More,
        Ok(Start::Noise(count)) => Heard::Skip(count),
        Ok(Start::Frame(used)) => {
            let frame = bytes.get(..used).unwrap_or_default();
            let transaction = match (framing, tcp::decode(frame)) {
                (Framing::Tcp, Ok(Some(frame))) => frame.transaction,
                _ => 0,
            };
            match (framing.decode(frame, scratch), framing) {
                (Some((unit, pdu)), _) => Heard::Request(Asked { transaction, unit, pdu, used }),
                // A frame of digits has its end; behind it the next one may begin.
                (None, Framing::Ascii) => Heard::Skip(used),
                (None, _) => Heard::Noise,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(framing: Framing, pdu: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        framing.encode(0, 17, &mut out, |out| out.extend_from_slice(pdu));
        out
    }

    #[test]
    fn a_request_is_told_by_its_length_and_its_check_sum() {
        for framing in [Framing::Rtu, Framing::Ascii, Framing::Tcp] {
            for pdu in [&[3, 0, 1, 0, 2][..], &[16, 0, 1, 0, 2, 4, 0, 10, 1, 2]] {
                let whole = frame(framing, pdu);
                for end in 0..whole.len() {
                    let start = &whole[..end];
                    assert_eq!(heard(framing, start, &mut Vec::new()), Heard::More, "{framing:?} {end}");
                }
                let request = || Heard::Request(Asked { transaction: 0, unit: 17, pdu, used: whole.len() });
                assert_eq!(heard(framing, &whole, &mut Vec::new()), request());
                let two = [whole.clone(), whole.clone()].concat();
                assert_eq!(heard(framing, &two, &mut Vec::new()), request());
            }
        }
    }

    #[test]
    fn what_is_no_request_is_noise() {
        let heard = |framing, bytes: &[u8]| match super::heard(framing, bytes, &mut Vec::new()) {
            Heard::Noise => None,
            Heard::Skip(count) => Some(count),
            other => panic!("{other:?}"),
        };
        let mut damaged = frame(Framing::Rtu, &[3, 0, 1, 0, 2]);
        damaged[3] ^= 1;
        assert_eq!(heard(Framing::Rtu, &damaged), None);
        assert_eq!(heard(Framing::Rtu, &[1, 0x99]), None);
        assert_eq!(heard(Framing::Rtu, &[1, 16, 0, 1, 0, 2, 255]), None);
        assert_eq!(heard(Framing::Tcp, b"GET / HTTP"), None);
        let mut damaged = frame(Framing::Ascii, &[3, 0, 1, 0, 2]);
        damaged[3] ^= 1;
        assert_eq!(heard(Framing::Ascii, &damaged), Some(damaged.len()));
        assert_eq!(heard(Framing::Ascii, b"??:"), Some(2));
    }
}
