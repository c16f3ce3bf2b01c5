//! Where a tag lies in a Modbus device: `holding:40`, `coil:7`, `holding:40.3`, `40041`.

use crate::drivers::driver::AddressError;
use crate::model::{DataType, Place};

/// The four tables of the data model (Application Protocol V1.1b3, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// Single bits, read and write.
    Coil,
    /// Single bits, read only.
    Discrete,
    /// Registers, read only.
    Input,
    /// Registers, read and write.
    Holding,
}

impl Area {
    /// Bits or registers.
    pub fn is_bits(self) -> bool {
        matches!(self, Area::Coil | Area::Discrete)
    }

    /// What it is made of, for people.
    pub fn units(self) -> &'static str {
        if self.is_bits() { "bits" } else { "registers" }
    }

    /// The word in an address.
    pub fn name(self) -> &'static str {
        match self {
            Area::Coil => "coil",
            Area::Discrete => "discrete",
            Area::Input => "input",
            Area::Holding => "holding",
        }
    }
}

/// Which part of the registers the value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Bit,
    Bits(u16),
    RegisterBit(u8),
    Byte { high: bool },
    Registers(u16),
}

/// A parsed address: an area, the zero-based protocol address of its first register or bit, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The table.
    pub area: Area,
    /// Zero-based (section 4.4: register 1 of the data model is address 0 of the protocol).
    pub start: u16,
    part: Part,
}

fn error(code: &'static str, message: String, help: &str) -> AddressError {
    AddressError { code, message, help: help.to_owned() }
}

const HELP: &str = "write area and zero-based address as `holding:40`, `input:40`, `coil:7`, `discrete:7`, \
                    a bit as `holding:40.3`, a byte as `holding:40.hi`, or the conventional number as `40041`";

impl Address {
    /// Reads an address for a tag of this type; `length` is that of a string in bytes.
    pub fn parse(text: &str, kind: DataType, length: u16) -> Result<Address, AddressError> {
        let (base, suffix) = match text.split_once('.') {
            Some((base, suffix)) => (base, Some(suffix)),
            None => (text, None),
        };
        let (area, start) = Address::parse_start(base)?;
        let part = match (area.is_bits(), suffix) {
            (true, None) => kind.length().map_or(Part::Bit, Part::Bits),
            (true, Some(_)) => {
                let message = format!("`{text}`: a {} is one bit and has no parts", area.name());
                return Err(error("bad-address", message, "remove what follows the dot"));
            }
            (false, suffix) => register_part(text, suffix, kind, length)?,
        };
        let address = Address { area, start, part };
        address.check_type(text, kind)?;
        let last = u32::from(start) + u32::from(address.count()) - 1;
        if last > 65_535 {
            let (count, what) = (address.count(), area.units());
            let message = format!("`{text}`: {count} {what} from {start} on end at {last}, past 65535");
            let help = format!("{what} go from 0 to 65535; correct the address or the type");
            return Err(error("past-the-end", message, &help));
        }
        Ok(address)
    }

    /// Area and first address, without a part.
    pub fn parse_start(text: &str) -> Result<(Area, u16), AddressError> {
        let bad = |why: String| error("bad-address", format!("`{text}`: {why}"), HELP);
        let Some((area, number)) = text.split_once(':') else { return conventional(text) };
        let area = match area {
            "coil" => Area::Coil,
            "discrete" => Area::Discrete,
            "input" => Area::Input,
            "holding" => Area::Holding,
            other => return Err(bad(format!("there is no area `{other}`"))),
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad(format!("`{number}` is no address")));
        }
        let start = number.parse().map_err(|_| bad(format!("{number} is past 65535")))?;
        Ok((area, start))
    }

    fn check_type(&self, text: &str, kind: DataType) -> Result<(), AddressError> {
        let byte = matches!(kind.element(), DataType::I8 | DataType::U8);
        let is_array = kind.length().is_some();
        let fits = match self.part {
            Part::Bit | Part::RegisterBit(_) => kind == DataType::Bool,
            Part::Bits(_) => kind.element() == DataType::Bool,
            Part::Byte { .. } => byte && !is_array,
            Part::Registers(_) => kind.element() != DataType::Bool && (is_array || !byte),
        };
        if fits {
            return Ok(());
        }
        let help = match (self.part, kind) {
            (Part::RegisterBit(_) | Part::Byte { .. }, DataType::Array(..)) => {
                "an array begins with a whole register; remove what follows the dot"
            }
            (Part::Registers(_), DataType::Array(..)) => {
                "an array of bits lies in coils or discrete inputs; name single bits of a register as `holding:40.3`"
            }
            (Part::Bit | Part::Bits(_) | Part::RegisterBit(_), _) => {
                "a bit is a `bool`; numbers and strings need whole registers"
            }
            (Part::Registers(_), DataType::Bool) => {
                "name the bit as `holding:40.3`, or use a coil or a discrete input"
            }
            _ => "a byte of a register is an `i8` or `u8`",
        };
        let message = format!("`{text}` holds no {kind}");
        Err(error("type-does-not-fit", message, help))
    }

    /// Why it cannot be written, if so.
    pub fn check_writable(&self, text: &str) -> Result<(), AddressError> {
        match self.area {
            Area::Input | Area::Discrete => Err(error(
                "not-writable",
                format!(
                    "`{text}`: {} is read-only by its nature",
                    if self.area == Area::Input { "an input register" } else { "a discrete input" }
                ),
                "remove `access`, or use a holding register or a coil",
            )),
            _ => Ok(()),
        }
    }

    /// The bits of its register that are the value, where it is only a part of one.
    pub fn mask(&self) -> Option<u16> {
        match self.part {
            Part::RegisterBit(bit) => Some(1 << (bit & 15)),
            Part::Byte { high } => Some(if high { 0xFF00 } else { 0x00FF }),
            Part::Bit | Part::Bits(_) | Part::Registers(_) => None,
        }
    }

    /// Registers or bits that it takes.
    pub fn count(&self) -> u16 {
        match self.part {
            Part::Registers(count) | Part::Bits(count) => count,
            Part::Bit | Part::RegisterBit(_) | Part::Byte { .. } => 1,
        }
    }

    /// Where the value lies in an answer that starts `at` registers or bits before it.
    pub fn place(&self, at: usize) -> Place {
        match self.part {
            Part::Bit => Place::Bit { at },
            Part::Bits(count) => Place::Bits { at, count: usize::from(count) },
            Part::RegisterBit(bit) => Place::WordBit { at, bit },
            Part::Byte { high } => Place::HalfWord { at, high },
            Part::Registers(count) => Place::Words { at, count: usize::from(count) },
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.area.name(), self.start)?;
        match self.part {
            Part::RegisterBit(bit) => write!(f, ".{bit}"),
            Part::Byte { high: true } => write!(f, ".hi"),
            Part::Byte { high: false } => write!(f, ".lo"),
            Part::Bit | Part::Bits(_) | Part::Registers(_) => Ok(()),
        }
    }
}

fn register_part(
    text: &str,
    suffix: Option<&str>,
    kind: DataType,
    length: u16,
) -> Result<Part, AddressError> {
    match suffix {
        Some("lo") => Ok(Part::Byte { high: false }),
        Some("hi") => Ok(Part::Byte { high: true }),
        Some(bit) => match bit.parse() {
            Ok(number) if number <= 15 && bit.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Part::RegisterBit(number))
            }
            _ => Err(error(
                "bad-address",
                format!("`{text}`: a register has no part `{bit}`"),
                "write a bit from 0 (least significant) to 15, or `lo` or `hi` for a byte",
            )),
        },
        None => Ok(match kind {
            DataType::I8 | DataType::U8 => Part::Byte { high: false },
            DataType::Bool | DataType::I16 | DataType::U16 => Part::Registers(1),
            DataType::I32 | DataType::U32 | DataType::F32 => Part::Registers(2),
            DataType::I64 | DataType::U64 | DataType::F64 => Part::Registers(4),
            DataType::Text => Part::Registers(length.div_ceil(2).max(1)),
            // Bytes lie two in a register.
            DataType::Array(DataType::I8 | DataType::U8, count) => Part::Registers(count.div_ceil(2)),
            DataType::Array(of, count) => match register_part(text, None, *of, length)? {
                Part::Registers(one) => Part::Registers(one.saturating_mul(count)),
                other => other,
            },
        }),
    }
}

/// `40041` is holding register 41, protocol address 40; five or six digits, the first one the area.
fn conventional(text: &str) -> Result<(Area, u16), AddressError> {
    let bad = |why: &str| error("bad-address", format!("`{text}`: {why}"), HELP);
    if !matches!(text.len(), 5 | 6) || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad("this is no address"));
    }
    let (area, number) = text.split_at(1);
    let area = match area {
        "0" => Area::Coil,
        "1" => Area::Discrete,
        "3" => Area::Input,
        "4" => Area::Holding,
        _ => {
            return Err(bad(
                "conventional numbers start with 0 (coil), 1 (discrete), 3 (input) or 4 (holding)",
            ));
        }
    };
    match number.parse::<u32>() {
        Ok(number @ 1..=65_536) => Ok((area, u16::try_from(number - 1).unwrap_or(u16::MAX))),
        _ => Err(bad("conventional numbers count from 1 to 65536")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, kind: DataType) -> Result<String, &'static str> {
        Address::parse(text, kind, 10).map(|a| a.to_string()).map_err(|e| e.code)
    }

    #[test]
    fn protocol_addresses_and_conventional_numbers_mean_the_same() {
        for (conventional, protocol, kind) in [
            ("40041", "holding:40", DataType::U16),
            ("400041", "holding:40", DataType::U16),
            ("465536", "holding:65535", DataType::U16),
            ("30001", "input:0", DataType::I16),
            ("10001", "discrete:0", DataType::Bool),
            ("00008", "coil:7", DataType::Bool),
            ("40041.3", "holding:40.3", DataType::Bool),
        ] {
            assert_eq!(parse(conventional, kind), Ok(protocol.to_owned()));
            assert_eq!(parse(protocol, kind), Ok(protocol.to_owned()));
        }
    }

    #[test]
    fn a_byte_without_a_part_is_the_low_one() {
        assert_eq!(parse("input:3", DataType::U8), Ok("input:3.lo".to_owned()));
        assert_eq!(parse("input:3.hi", DataType::I8), Ok("input:3.hi".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_told_apart() {
        let cases = [
            ("", DataType::U16, "bad-address"),
            ("holding", DataType::U16, "bad-address"),
            ("holding:", DataType::U16, "bad-address"),
            ("holding:-1", DataType::U16, "bad-address"),
            ("holding:+1", DataType::U16, "bad-address"),
            ("holding:65536", DataType::U16, "bad-address"),
            ("register:1", DataType::U16, "bad-address"),
            ("40000", DataType::U16, "bad-address"),
            ("20001", DataType::U16, "bad-address"),
            ("4004é", DataType::U16, "bad-address"),
            ("holding:1.16", DataType::Bool, "bad-address"),
            ("holding:1.+3", DataType::Bool, "bad-address"),
            ("coil:1.1", DataType::Bool, "bad-address"),
            ("holding:65535", DataType::F32, "past-the-end"),
            ("holding:65533", DataType::U64, "past-the-end"),
            ("coil:1", DataType::U16, "type-does-not-fit"),
            ("holding:1", DataType::Bool, "type-does-not-fit"),
            ("holding:1.3", DataType::U16, "type-does-not-fit"),
            ("holding:1.hi", DataType::U16, "type-does-not-fit"),
        ];
        for (text, kind, code) in cases {
            assert_eq!(parse(text, kind), Err(code), "{text}");
        }
    }
}
