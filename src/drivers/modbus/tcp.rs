//! Modbus TCP frames: the MBAP header and a PDU (Messaging on TCP/IP V1.0b, section 3.1.3).

use super::pdu;

/// Length of the header.
pub const HEADER: usize = 7;

/// A frame found at the start of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Transaction identifier.
    pub transaction: u16,
    /// Unit identifier.
    pub unit: u8,
    /// The PDU.
    pub pdu: &'a [u8],
    /// Bytes that it took.
    pub used: usize,
}

/// These bytes are no Modbus TCP; where the next frame starts nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFrame;

/// Appends the frame around a PDU that `pdu` appends.
pub fn encode(transaction: u16, unit: u8, out: &mut Vec<u8>, pdu: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&transaction.to_be_bytes());
    // Protocol identifier 0 is Modbus; the length comes when it is known.
    out.extend_from_slice(&[0, 0, 0, 0, unit]);
    pdu(out);
    let length = (out.len() - start - 6) as u16;
    if let Some(place) = out.get_mut(start + 4..start + 6) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// The frame at the start of the buffer; `None`: more bytes needed.
pub fn decode(buffer: &[u8]) -> Result<Option<Frame<'_>>, NoFrame> {
    let Some(([t1, t2, p1, p2, l1, l2, unit], rest)) = buffer.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*l1, *l2]));
    // The length counts unit and PDU: at least one byte of PDU, at most a whole one.
    if [*p1, *p2] != [0, 0] || !(2..=pdu::MOST + 1).contains(&length) {
        return Err(NoFrame);
    }
    let frame = rest.get(..length - 1).map(|pdu| Frame {
        transaction: u16::from_be_bytes([*t1, *t2]),
        unit: *unit,
        pdu,
        used: HEADER + length - 1,
    });
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_bytewise_and_two_in_a_row_are_told_apart() {
        let mut bytes = Vec::new();
        encode(0x1234, 7, &mut bytes, |out| out.extend_from_slice(&[3, 2, 0xAB, 0xCD]));
        assert_eq!(bytes, [0x12, 0x34, 0, 0, 0, 5, 7, 3, 2, 0xAB, 0xCD]);
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None));
        }
        let one = bytes.len();
        encode(0x1235, 7, &mut bytes, |out| out.push(0x83));
        let first = decode(&bytes).unwrap().unwrap();
        assert_eq!((first.transaction, first.unit, first.used), (0x1234, 7, one));
        assert_eq!(decode(&bytes[one..]).unwrap().unwrap().pdu, [0x83]);
    }

    #[test]
    fn a_wrong_protocol_or_length_is_no_frame() {
        for header in [
            [0, 1, 0, 1, 0, 5, 1],
            [0, 1, 0, 0, 0, 1, 1],
            [0, 1, 0, 0, 0, 255, 1],
            [0, 1, 0, 0, 0xFF, 0xFF, 1],
        ] {
            assert_eq!(decode(&header), Err(NoFrame), "{header:?}");
        }
    }
}
