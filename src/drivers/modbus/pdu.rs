//! Requests and answers without their frame (Application Protocol V1.1b3, section 6).

use super::address::Area;
use super::identify::Question;
use crate::model::{Fault, Raw};

/// The longest PDU (section 4.1).
pub const MOST: usize = 253;
/// Most registers in one read (sections 6.3 and 6.4).
pub const MOST_REGISTERS: u16 = 125;
/// Most bits in one read (sections 6.1 and 6.2).
pub const MOST_BITS: u16 = 2000;
/// Most registers in one write (section 6.12).
pub const MOST_WRITTEN_REGISTERS: u16 = 123;
/// Most coils in one write (section 6.11).
pub const MOST_WRITTEN_BITS: u16 = 1968;
/// Most registers written by a request that reads too (section 6.17).
pub const MOST_WRITTEN_AND_READ: u16 = 121;

/// Exception codes that are used here by name (section 7).
pub mod exception {
    /// The function is not supported.
    pub const ILLEGAL_FUNCTION: u8 = 1;
    /// The address is not there.
    pub const ILLEGAL_ADDRESS: u8 = 2;
    /// The count or the value is not possible.
    pub const ILLEGAL_VALUE: u8 = 3;
    /// Accepted, takes long.
    pub const ACKNOWLEDGE: u8 = 5;
    /// Busy, try later.
    pub const BUSY: u8 = 6;
    /// A gateway has no way to the unit.
    pub const NO_PATH: u8 = 0x0A;
    /// A gateway had no answer from the unit.
    pub const NO_ANSWER: u8 = 0x0B;
}

/// What a master asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Functions 1 to 4.
    Read {
        /// Which table; decides the function.
        area: Area,
        /// First address.
        start: u16,
        /// How many bits or registers.
        count: u16,
    },
    /// Function 5.
    WriteCoil {
        /// Address.
        at: u16,
        /// Value.
        on: bool,
    },
    /// Function 6.
    WriteRegister {
        /// Address.
        at: u16,
        /// Value.
        word: u16,
    },
    /// Function 15.
    WriteCoils {
        /// First address.
        at: u16,
        /// Values.
        bits: Vec<bool>,
    },
    /// Function 16.
    WriteRegisters {
        /// First address.
        at: u16,
        /// Values.
        words: Vec<u16>,
    },
    /// Function 22: a register becomes `(it & and) | (or & !and)` (section 6.16).
    MaskRegister {
        /// Address.
        at: u16,
        /// Bits that stay.
        and: u16,
        /// What the others become.
        or: u16,
    },
    /// Function 23: registers are written, and then others, or the same, are read (section 6.17).
    WriteThenRead {
        /// First address to read.
        start: u16,
        /// How many registers to read.
        count: u16,
        /// First address to write.
        at: u16,
        /// Values to write.
        words: Vec<u16>,
    },
    /// Functions 43/14 and 17: who it is. The whole PDU of the answer is put into the words, a byte each.
    Identify(Question),
}

impl Request {
    /// The function code.
    pub fn function(&self) -> u8 {
        match self {
            Request::Read { area: Area::Coil, .. } => 1,
            Request::Read { area: Area::Discrete, .. } => 2,
            Request::Read { area: Area::Holding, .. } => 3,
            Request::Read { area: Area::Input, .. } => 4,
            Request::WriteCoil { .. } => 5,
            Request::WriteRegister { .. } => 6,
            Request::WriteCoils { .. } => 15,
            Request::WriteRegisters { .. } => 16,
            Request::MaskRegister { .. } => 22,
            Request::WriteThenRead { .. } => 23,
            Request::Identify(question) => question.function(),
        }
    }

    /// Appends the PDU.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Request::Identify(question) = self {
            return question.encode(out);
        }
        out.push(self.function());
        let mut pair = |a: u16, b: u16| {
            out.extend_from_slice(&a.to_be_bytes());
            out.extend_from_slice(&b.to_be_bytes());
        };
        match self {
            Request::Read { start, count, .. } => pair(*start, *count),
            // Section 6.5: 0xFF00 is on, 0 is off.
            Request::WriteCoil { at, on } => pair(*at, if *on { 0xFF00 } else { 0 }),
            Request::WriteRegister { at, word } => pair(*at, *word),
            Request::WriteCoils { at, bits } => {
                pair(*at, bits.len() as u16);
                pack(bits, out);
            }
            Request::WriteRegisters { at, words } => {
                pair(*at, words.len() as u16);
                from_words(words, out);
            }
            Request::MaskRegister { at, and, or } => {
                pair(*at, *and);
                out.extend_from_slice(&or.to_be_bytes());
            }
            Request::WriteThenRead { start, count, at, words } => {
                pair(*start, *count);
                pair(*at, words.len() as u16);
                from_words(words, out);
            }
            Request::Identify(_) => {}
        }
    }

    /// Reads the PDU of a request, as a device does; an error is the exception to answer.
    pub fn decode(pdu: &[u8]) -> Result<Request, u8> {
        let (function, data) = pdu.split_first().ok_or(exception::ILLEGAL_FUNCTION)?;
        if let Some(question) = Question::decode(pdu) {
            return Ok(Request::Identify(question));
        }
        let [a, b, c, d, rest @ ..] = data else { return Err(exception::ILLEGAL_VALUE) };
        let (at, second) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        let read = |area: Area| {
            let most = if area.is_bits() { MOST_BITS } else { MOST_REGISTERS };
            let fits = (1..=most).contains(&second) && rest.is_empty();
            if fits {
                Ok(Request::Read { area, start: at, count: second })
            } else {
                Err(exception::ILLEGAL_VALUE)
            }
        };
        match function {
            1 => read(Area::Coil),
            2 => read(Area::Discrete),
            3 => read(Area::Holding),
            4 => read(Area::Input),
            5 if rest.is_empty() => match second {
                0xFF00 => Ok(Request::WriteCoil { at, on: true }),
                0 => Ok(Request::WriteCoil { at, on: false }),
                _ => Err(exception::ILLEGAL_VALUE),
            },
            6 if rest.is_empty() => Ok(Request::WriteRegister { at, word: second }),
            15 => {
                let bytes = counted(rest, usize::from(second.div_ceil(8)))?;
                if !(1..=MOST_WRITTEN_BITS).contains(&second) {
                    return Err(exception::ILLEGAL_VALUE);
                }
                let mut bits = Vec::new();
                unpack(bytes, usize::from(second), &mut bits);
                Ok(Request::WriteCoils { at, bits })
            }
            16 => {
                let bytes = counted(rest, usize::from(second) * 2)?;
                if !(1..=MOST_WRITTEN_REGISTERS).contains(&second) {
                    return Err(exception::ILLEGAL_VALUE);
                }
                let mut words = Vec::new();
                to_words(bytes, &mut words);
                Ok(Request::WriteRegisters { at, words })
            }
            22 => match rest {
                [e, f] => Ok(Request::MaskRegister { at, and: second, or: u16::from_be_bytes([*e, *f]) }),
                _ => Err(exception::ILLEGAL_VALUE),
            },
            23 => {
                let [e, f, g, h, rest @ ..] = rest else { return Err(exception::ILLEGAL_VALUE) };
                let (start, count) = (at, second);
                let (at, written) = (u16::from_be_bytes([*e, *f]), u16::from_be_bytes([*g, *h]));
                let bytes = counted(rest, usize::from(written) * 2)?;
                let fits =
                    (1..=MOST_REGISTERS).contains(&count) && (1..=MOST_WRITTEN_AND_READ).contains(&written);
                if !fits {
                    return Err(exception::ILLEGAL_VALUE);
                }
                let mut words = Vec::new();
                to_words(bytes, &mut words);
                Ok(Request::WriteThenRead { start, count, at, words })
            }
            5 | 6 => Err(exception::ILLEGAL_VALUE),
            _ => Err(exception::ILLEGAL_FUNCTION),
        }
    }

    /// Checks the PDU of the answer to this request, and puts what was read into `into`.
    pub fn answer(&self, pdu: &[u8], into: &mut Raw) -> Result<(), Fault> {
        let (function, data) = pdu.split_first().ok_or(Fault::Garbled)?;
        if *function == self.function() | 0x80 {
            return match data {
                [exception::ACKNOWLEDGE | exception::BUSY] => Err(Fault::Busy),
                [code] => Err(Fault::Refused(*code)),
                _ => Err(Fault::Garbled),
            };
        }
        if *function != self.function() {
            return Err(Fault::Garbled);
        }
        match self {
            Request::Read { area, count, .. } => {
                let count = usize::from(*count);
                let length = if area.is_bits() { count.div_ceil(8) } else { count * 2 };
                let bytes = counted(data, length).map_err(|_| Fault::Garbled)?;
                if area.is_bits() {
                    unpack(bytes, count, &mut into.bits);
                } else {
                    to_words(bytes, &mut into.words);
                }
                Ok(())
            }
            Request::Identify(_) => {
                into.words.extend(pdu.iter().map(|byte| u16::from(*byte)));
                Ok(())
            }
            Request::WriteThenRead { count, .. } => {
                let bytes = counted(data, usize::from(*count) * 2).map_err(|_| Fault::Garbled)?;
                to_words(bytes, &mut into.words);
                Ok(())
            }
            _ => {
                let mut echo = Vec::with_capacity(MOST);
                self.encode(&mut echo);
                if echo.get(1..self.echoed()) == Some(data) { Ok(()) } else { Err(Fault::Garbled) }
            }
        }
    }

    /// How many of its first bytes come back as the answer to a write that reads nothing: function, address
    /// and value or count (sections 6.5, 6.6, 6.11, 6.12), of function 22 both masks (section 6.16).
    pub fn echoed(&self) -> usize {
        if matches!(self, Request::MaskRegister { .. }) { 7 } else { 5 }
    }

    /// Bytes of the PDU of its answer where that is no exception.
    pub fn answer_bytes(&self) -> usize {
        match self {
            Request::Read { area, count, .. } if area.is_bits() => 2 + usize::from(count.div_ceil(8)),
            Request::Read { count, .. } | Request::WriteThenRead { count, .. } => 2 + usize::from(*count) * 2,
            // Not known before it is there.
            Request::Identify(_) => MOST,
            _ => self.echoed(),
        }
    }

    /// Length of the PDU of the answer whose first bytes these are, exception or not; `None` where more
    /// bytes are needed to tell, and an error where it is no answer to this request.
    pub fn answer_length(&self, pdu: &[u8]) -> Result<Option<usize>, Fault> {
        match (pdu, self) {
            ([], _) => Ok(None),
            ([function, ..], _) if *function == self.function() | 0x80 => Ok(Some(2)),
            ([function, ..], _) if *function != self.function() => Err(Fault::Garbled),
            (_, Request::Identify(question)) => question.answer_length(pdu),
            ([_], Request::Read { .. } | Request::WriteThenRead { .. }) => Ok(None),
            ([_, length, ..], Request::Read { .. } | Request::WriteThenRead { .. }) => {
                Ok(Some(2 + usize::from(*length)))
            }
            _ => Ok(Some(self.echoed())),
        }
    }
}

/// The answer that a gateway gave in a unit's place: no way to it, or no answer from it (section 7). That is
/// the unit's silence, no refusal, and no trouble of the connection.
pub(super) fn behind_gateway(answer: Result<(), Fault>) -> Result<(), Fault> {
    match answer {
        Err(Fault::Refused(exception::NO_PATH | exception::NO_ANSWER)) => Err(Fault::Timeout),
        answer => answer,
    }
}

/// Length of the PDU of a request whose first bytes these are; `None`: more bytes needed.
/// An error where no function of ours starts like this.
pub fn request_length(pdu: &[u8]) -> Result<Option<usize>, Fault> {
    match pdu {
        [] => Ok(None),
        [1..=6, ..] => Ok(Some(5)),
        [15 | 16, _, _, _, _, length, ..] => Ok(Some(6 + usize::from(*length))),
        [17, ..] => Ok(Some(1)),
        [43, ..] => Ok(Some(4)),
        [22, ..] => Ok(Some(7)),
        [23, _, _, _, _, _, _, _, _, length, ..] => Ok(Some(10 + usize::from(*length))),
        [15 | 16 | 23, ..] => Ok(None),
        _ => Err(Fault::Garbled),
    }
}

/// Appends the answer to a read: all bits or words of `raw`.
pub fn encode_read_answer(area: Area, raw: &Raw, function: u8, out: &mut Vec<u8>) {
    out.push(function);
    if area.is_bits() {
        pack(&raw.bits, out);
    } else {
        from_words(&raw.words, out);
    }
}

/// Appends an exception answer (section 7).
pub fn encode_exception(function: u8, code: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[function | 0x80, code]);
}

/// The bytes behind a byte count that must be right.
fn counted(data: &[u8], length: usize) -> Result<&[u8], u8> {
    match data.split_first() {
        Some((count, bytes)) if usize::from(*count) == length && bytes.len() == length => Ok(bytes),
        _ => Err(exception::ILLEGAL_VALUE),
    }
}

/// Byte count and bits, the first one in the least significant bit (section 6.1).
fn pack(bits: &[bool], out: &mut Vec<u8>) {
    out.push(bits.len().div_ceil(8) as u8);
    for byte in bits.chunks(8) {
        out.push(byte.iter().rev().fold(0, |packed, bit| packed << 1 | u8::from(*bit)));
    }
}

fn unpack(bytes: &[u8], count: usize, bits: &mut Vec<bool>) {
    let all = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    bits.extend(all.take(count));
}

/// Byte count and registers.
fn from_words(words: &[u16], out: &mut Vec<u8>) {
    out.push((words.len() * 2) as u8);
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

fn to_words(bytes: &[u8], words: &mut Vec<u16>) {
    words.extend(bytes.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?))));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request as the bytes of it, and what its answer gives.
    fn both_ways(request: &Request, asked: &[u8], answered: &[u8]) -> Raw {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        assert_eq!(bytes, asked);
        assert_eq!(Request::decode(asked).as_ref(), Ok(request));
        for end in 0..asked.len() {
            assert!(Request::decode(&asked[..end]).is_err(), "{end} bytes");
            assert!(request_length(&asked[..end]).is_ok(), "{end} bytes");
        }
        assert_eq!(request_length(asked), Ok(Some(asked.len())));
        assert_eq!(request.answer_length(answered), Ok(Some(answered.len())));
        let mut raw = Raw::default();
        assert_eq!(request.answer(answered, &mut raw), Ok(()));
        raw
    }

    #[test]
    fn the_specifications_example_of_function_22_is_said_and_understood() {
        // Section 6.16: And_Mask F2, Or_Mask 25 at register 5, which is address 4.
        let bytes = [0x16, 0x00, 0x04, 0x00, 0xF2, 0x00, 0x25];
        let request = Request::MaskRegister { at: 4, and: 0x00F2, or: 0x0025 };
        assert_eq!(both_ways(&request, &bytes, &bytes), Raw::default());
        let mut other = bytes;
        other[6] = 0x24;
        assert_eq!(request.answer(&other, &mut Raw::default()), Err(Fault::Garbled));
        assert_eq!(request.answer(&bytes[..5], &mut Raw::default()), Err(Fault::Garbled));
        assert_eq!(request.answer(&[0x96, 1], &mut Raw::default()), Err(Fault::Refused(1)));
    }

    #[test]
    fn the_specifications_example_of_function_23_is_said_and_understood() {
        // Section 6.17: three registers are written from 15 on, six are read from 4 on.
        let asked = [0x17, 0, 3, 0, 6, 0, 14, 0, 3, 6, 0, 0xFF, 0, 0xFF, 0, 0xFF];
        let answered = [0x17, 12, 0x00, 0xFE, 0x0A, 0xCD, 0, 1, 0, 3, 0, 0x0D, 0, 0xFF];
        let request = Request::WriteThenRead { start: 3, count: 6, at: 14, words: vec![0xFF; 3] };
        let raw = both_ways(&request, &asked, &answered);
        assert_eq!(raw.words, [0x00FE, 0x0ACD, 1, 3, 0x0D, 0xFF]);
        assert_eq!(request.answer(&answered[..12], &mut Raw::default()), Err(Fault::Garbled));
    }

    #[test]
    fn function_23_takes_no_more_than_the_specification_allows() {
        let request = |count, written: usize| {
            let mut bytes = Vec::new();
            Request::WriteThenRead { start: 0, count, at: 0, words: vec![7; written] }.encode(&mut bytes);
            (bytes.len(), Request::decode(&bytes).map(|_| ()))
        };
        assert_eq!(request(125, 121), (252, Ok(())));
        for (count, written) in [(0, 1), (126, 1), (1, 0), (1, 122)] {
            assert_eq!(request(count, written).1, Err(exception::ILLEGAL_VALUE), "{count} {written}");
        }
    }
}
