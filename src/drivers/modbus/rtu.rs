//! RTU frames on a serial line: unit, PDU, CRC (Modbus over Serial Line V1.02, section 2.5.1).

use std::time::Duration;

use super::config::Parity;

/// The longest frame (section 2.5.1.1).
pub const MOST: usize = 256;
/// What there is in a frame around the PDU: unit and CRC.
pub const AROUND: usize = 3;

/// Appends the frame around a PDU that `pdu` appends.
pub fn encode(unit: u8, out: &mut Vec<u8>, pdu: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(unit);
    pdu(out);
    let sum = crc(out.get(start..).unwrap_or_default());
    // The low byte goes first (section 2.5.1.2).
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Unit and PDU of a whole frame; `None` where its CRC is wrong or it is too short.
pub fn decode(frame: &[u8]) -> Option<(u8, &[u8])> {
    let (body, sum) = frame.split_last_chunk::<2>()?;
    let (unit, pdu) = body.split_first()?;
    (!pdu.is_empty() && crc(body) == u16::from_le_bytes(*sum)).then_some((*unit, pdu))
}

/// CRC-16 with the reversed polynomial 0xA001 (appendix B).
pub fn crc(bytes: &[u8]) -> u16 {
    // Made by the compiler, where an index that is wrong would not compile.
    #[allow(clippy::indexing_slicing)]
    const TABLE: [u16; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut sum = byte as u16;
            let mut bit = 0;
            while bit < 8 {
                sum = if sum & 1 == 1 { sum >> 1 ^ 0xA001 } else { sum >> 1 };
                bit += 1;
            }
            table[byte] = sum;
            byte += 1;
        }
        table
    };
    bytes.iter().fold(0xFFFF, |sum: u16, byte| {
        // The index is one byte, the table has an entry for each.
        #[allow(clippy::indexing_slicing)]
        let entry = TABLE[usize::from(sum as u8 ^ byte)];
        sum >> 8 ^ entry
    })
}

/// How long things take on a line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    character: Duration,
    silence: Duration,
    within: Duration,
}

impl Pace {
    /// Of a port with these settings and RTU frames.
    pub fn new(baud: u32, parity: Parity, stop_bits: u8) -> Pace {
        let character = character(baud, 8, parity, stop_bits);
        // Section 2.5.1.1: 3.5 and 1.5 characters, fixed above 19200 baud.
        let fixed = baud > 19_200;
        Pace {
            character,
            silence: if fixed { Duration::from_micros(1750) } else { character * 7 / 2 },
            within: if fixed { Duration::from_micros(750) } else { character * 3 / 2 },
        }
    }

    /// Of a port with these settings and ASCII frames, which need no silence between them.
    pub fn ascii(baud: u32, data_bits: u8, parity: Parity, stop_bits: u8) -> Pace {
        Pace { character: character(baud, data_bits, parity, stop_bits), ..Pace::network() }
    }

    /// Of a network: what a byte costs there is nothing beside a round trip.
    pub fn network() -> Pace {
        Pace::default()
    }

    /// Time of so many bytes.
    pub fn bytes(self, count: usize) -> Duration {
        self.character * u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The silence between frames: 3.5 characters, above 19200 baud fixed at 1.75 ms (section 2.5.1.1).
    pub fn silence(self) -> Duration {
        self.silence
    }

    /// The longest pause within a frame: 1.5 characters, above 19200 baud fixed at 750 µs (section 2.5.1.1).
    pub fn within(self) -> Duration {
        self.within
    }
}

fn character(baud: u32, data_bits: u8, parity: Parity, stop_bits: u8) -> Duration {
    let bits = 1 + u32::from(data_bits) + u32::from(parity != Parity::None) + u32::from(stop_bits);
    Duration::from_secs(1) * bits / baud.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_frame_has_its_known_crc() {
        // Read holding registers 0x6B..0x6D of unit 17, worked out with an independent calculator.
        let mut frame = Vec::new();
        encode(0x11, &mut frame, |out| out.extend_from_slice(&[3, 0, 0x6B, 0, 3]));
        assert_eq!(frame, [0x11, 3, 0, 0x6B, 0, 3, 0x76, 0x87]);
        assert_eq!(decode(&frame), Some((0x11, &[3, 0, 0x6B, 0, 3][..])));
    }

    #[test]
    fn one_flipped_bit_is_found() {
        let mut frame = Vec::new();
        encode(1, &mut frame, |out| out.extend_from_slice(&[3, 2, 0x12, 0x34]));
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn the_silence_is_three_and_a_half_characters_and_fixed_above_19200_baud() {
        let at = |baud| Pace::new(baud, Parity::Even, 1).silence();
        assert_eq!(at(9600).as_micros(), 4010);
        assert_eq!(at(115_200).as_micros(), 1750);
        let within = |baud| Pace::new(baud, Parity::Even, 1).within();
        assert_eq!(within(9600).as_micros(), 1718);
        assert_eq!(within(115_200).as_micros(), 750);
    }

    #[test]
    fn ascii_has_ten_bits_a_character_and_no_silence() {
        let pace = Pace::ascii(9600, 7, Parity::Even, 1);
        assert_eq!(pace.bytes(960).as_millis(), 999);
        assert_eq!(pace.silence(), Duration::ZERO);
    }
}
