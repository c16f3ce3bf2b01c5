//! The registers of a simulated device: requests in, answers out, and the values that lie in them.

use crate::drivers::modbus::address::Area;
use crate::drivers::modbus::identify::{self, Question};
use crate::drivers::modbus::pdu::{self, Request, exception};
use crate::model::{Order, Raw};

/// The four tables of the data model; an address past the end of one is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bank {
    coils: Vec<bool>,
    discretes: Vec<bool>,
    inputs: Vec<u16>,
    holdings: Vec<u16>,
    card: Vec<(u8, String)>,
}

/// How many of each a device has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// Coils.
    pub coils: u16,
    /// Discrete inputs.
    pub discretes: u16,
    /// Input registers.
    pub inputs: u16,
    /// Holding registers.
    pub holdings: u16,
}

impl Bank {
    /// All zero.
    pub fn new(sizes: Sizes) -> Bank {
        Bank {
            coils: vec![false; usize::from(sizes.coils)],
            discretes: vec![false; usize::from(sizes.discretes)],
            inputs: vec![0; usize::from(sizes.inputs)],
            holdings: vec![0; usize::from(sizes.holdings)],
            card: Vec::new(),
        }
    }

    /// What it says of itself, by the objects of function 43/14 in their order; without any it knows neither
    /// that function nor 17.
    pub fn introduce(&mut self, card: Vec<(u8, String)>) {
        self.card = card;
    }

    /// Does what a request asks and appends the PDU of the answer, an exception where it cannot be done.
    pub fn answer(&mut self, request: &[u8], out: &mut Vec<u8>) {
        let function = request.first().copied().unwrap_or(0);
        let start = out.len();
        if let Err(code) = Request::decode(request).and_then(|request| self.obey(&request, out)) {
            out.truncate(start);
            pdu::encode_exception(function, code, out);
        }
    }

    fn obey(&mut self, request: &Request, out: &mut Vec<u8>) -> Result<(), u8> {
        match request {
            Request::Read { area, start, count } => {
                let mut raw = Raw::default();
                match area {
                    Area::Coil => raw.bits.extend_from_slice(part(&self.coils, *start, *count)?),
                    Area::Discrete => raw.bits.extend_from_slice(part(&self.discretes, *start, *count)?),
                    Area::Input => raw.words.extend_from_slice(part(&self.inputs, *start, *count)?),
                    Area::Holding => raw.words.extend_from_slice(part(&self.holdings, *start, *count)?),
                }
                pdu::encode_read_answer(*area, &raw, request.function(), out);
                return Ok(());
            }
            Request::WriteCoil { at, on } => fill(&mut self.coils, *at, &[*on])?,
            Request::WriteRegister { at, word } => fill(&mut self.holdings, *at, &[*word])?,
            Request::WriteCoils { at, bits } => fill(&mut self.coils, *at, bits)?,
            Request::WriteRegisters { at, words } => fill(&mut self.holdings, *at, words)?,
            Request::MaskRegister { at, and, or } => {
                let [now] = *part(&self.holdings, *at, 1)? else { return Err(exception::ILLEGAL_ADDRESS) };
                fill(&mut self.holdings, *at, &[now & and | or & !and])?;
            }
            Request::WriteThenRead { start, count, at, words } => {
                // What cannot be read is refused before anything is written.
                part(&self.holdings, *start, *count)?;
                fill(&mut self.holdings, *at, words)?;
                let words = part(&self.holdings, *start, *count)?.to_vec();
                let raw = Raw { words, ..Raw::default() };
                pdu::encode_read_answer(Area::Holding, &raw, request.function(), out);
                return Ok(());
            }
            // A simulated device does not say who it is.
            Request::Identify(_) if self.card.is_empty() => return Err(exception::ILLEGAL_FUNCTION),
            Request::Identify(Question::Device(category, from)) => {
                identify::encode_page(*category, *from, &self.card, out);
                return Ok(());
            }
            Request::Identify(Question::ServerId) => {
                let name = self.card.iter().max_by_key(|(object, _)| (*object == 4, *object == 1));
                identify::encode_server_id(name.map_or("", |(_, name)| name), out);
                return Ok(());
            }
        }
        let start = out.len();
        request.encode(out);
        out.truncate(start + request.echoed());
        Ok(())
    }

    /// Puts a bit into coils or discrete inputs.
    pub fn put_bit(&mut self, area: Area, at: u16, on: bool) {
        let table = if area == Area::Coil { &mut self.coils } else { &mut self.discretes };
        let placed = fill(table, at, &[on]);
        debug_assert!(placed.is_ok(), "{}:{at} is past the end", area.name());
    }

    /// Puts words into holding or input registers.
    pub fn put(&mut self, area: Area, at: u16, words: &[u16]) {
        let table = if area == Area::Holding { &mut self.holdings } else { &mut self.inputs };
        let placed = fill(table, at, words);
        debug_assert!(placed.is_ok(), "{}:{at} is past the end", area.name());
    }

    /// A 32-bit float.
    pub fn put_f32(&mut self, area: Area, at: u16, value: f64, order: Order) {
        self.put_u32(area, at, (value as f32).to_bits(), order);
    }

    /// A 32-bit whole number.
    pub fn put_u32(&mut self, area: Area, at: u16, value: u32, order: Order) {
        self.put(area, at, &words(value, order));
    }

    /// `value` divided by `scale`, in a signed or unsigned register that stops at its ends.
    pub fn put_scaled(&mut self, area: Area, at: u16, value: f64, scale: f64) {
        let raw = (value / scale).round();
        let word = if raw < 0.0 { (raw as i16).cast_unsigned() } else { raw as u16 };
        self.put(area, at, &[word]);
    }

    /// Text, two characters a register, the first one in the high byte; the rest is zero.
    pub fn put_text(&mut self, area: Area, at: u16, text: &str, registers: usize) {
        let mut bytes = text.bytes().chain(std::iter::repeat(0));
        let mut next = || u16::from(bytes.next().unwrap_or(0));
        let words: Vec<u16> = (0..registers).map(|_| next() << 8 | next()).collect();
        self.put(area, at, &words);
    }

    /// A coil.
    pub fn coil(&self, at: u16) -> bool {
        part(&self.coils, at, 1).is_ok_and(|bits| bits == [true])
    }

    /// A holding or input register; 0 past the end.
    pub fn word(&self, area: Area, at: u16) -> u16 {
        let table = if area == Area::Holding { &self.holdings } else { &self.inputs };
        part(table, at, 1).ok().and_then(|words| words.first().copied()).unwrap_or(0)
    }

    /// A holding register.
    pub fn holding(&self, at: u16) -> u16 {
        self.word(Area::Holding, at)
    }

    /// A 32-bit float in holding registers.
    pub fn holding_f32(&self, at: u16, order: Order) -> f64 {
        let pair = [self.holding(at), self.holding(at.saturating_add(1))];
        // The orders are their own inverses.
        let [high, low] = arranged(pair, order);
        f64::from(f32::from_bits(u32::from(high) << 16 | u32::from(low)))
    }
}

fn words(value: u32, order: Order) -> [u16; 2] {
    arranged([(value >> 16) as u16, value as u16], order)
}

fn arranged([a, b]: [u16; 2], order: Order) -> [u16; 2] {
    let [a, b] = if order.words_swapped() { [b, a] } else { [a, b] };
    if order.bytes_swapped() { [a.swap_bytes(), b.swap_bytes()] } else { [a, b] }
}

fn part<T>(table: &[T], start: u16, count: u16) -> Result<&[T], u8> {
    let start = usize::from(start);
    table.get(start..start + usize::from(count)).ok_or(exception::ILLEGAL_ADDRESS)
}

fn fill<T: Copy>(table: &mut [T], at: u16, values: &[T]) -> Result<(), u8> {
    let at = usize::from(at);
    let place = table.get_mut(at..at + values.len()).ok_or(exception::ILLEGAL_ADDRESS)?;
    place.copy_from_slice(values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank() -> Bank {
        Bank::new(Sizes { coils: 10, discretes: 10, inputs: 10, holdings: 10 })
    }

    fn ask(bank: &mut Bank, request: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        bank.answer(request, &mut out);
        out
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut bank = bank();
        // The bytes are those of the specification's examples, sections 6.3 and 6.12, at other addresses.
        assert_eq!(ask(&mut bank, &[16, 0, 1, 0, 2, 4, 0, 10, 1, 2]), [16, 0, 1, 0, 2]);
        assert_eq!(ask(&mut bank, &[3, 0, 1, 0, 2]), [3, 4, 0, 10, 1, 2]);
        assert_eq!(ask(&mut bank, &[6, 0, 9, 0xAB, 0xCD]), [6, 0, 9, 0xAB, 0xCD]);
        assert_eq!(bank.holding(9), 0xABCD);
        assert_eq!(ask(&mut bank, &[5, 0, 3, 0xFF, 0]), [5, 0, 3, 0xFF, 0]);
        assert_eq!(ask(&mut bank, &[15, 0, 8, 0, 2, 1, 0b10]), [15, 0, 8, 0, 2]);
        assert_eq!(ask(&mut bank, &[1, 0, 0, 0, 10]), [1, 2, 0b1000, 0b10]);
        assert!(bank.coil(9) && !bank.coil(8));
    }

    #[test]
    fn a_mask_changes_its_bits_alone() {
        let mut bank = bank();
        bank.put(Area::Holding, 4, &[0x12]);
        // The example of section 6.16: 0x12 becomes 0x17.
        let request = [22, 0, 4, 0, 0xF2, 0, 0x25];
        assert_eq!(ask(&mut bank, &request), request);
        assert_eq!(bank.holding(4), 0x17);
    }

    #[test]
    fn what_is_written_and_read_at_once_is_written_first() {
        let mut bank = bank();
        let request = [23, 0, 0, 0, 3, 0, 1, 0, 1, 2, 0xAB, 0xCD];
        assert_eq!(ask(&mut bank, &request), [23, 6, 0, 0, 0xAB, 0xCD, 0, 0]);
        let before = bank.clone();
        assert_eq!(ask(&mut bank, &[23, 0, 9, 0, 2, 0, 1, 0, 1, 2, 1, 1]), [0x97, 2]);
        assert_eq!(ask(&mut bank, &[23, 0, 0, 0, 2, 0, 10, 0, 1, 2, 1, 1]), [0x97, 2]);
        assert_eq!(ask(&mut bank, &[22, 0, 10, 0, 0, 0, 1]), [0x96, 2]);
        assert_eq!(bank, before);
    }

    #[test]
    fn what_is_not_there_is_refused_and_changes_nothing() {
        let mut bank = bank();
        let before = bank.clone();
        assert_eq!(ask(&mut bank, &[3, 0, 9, 0, 2]), [0x83, 2]);
        assert_eq!(ask(&mut bank, &[4, 0xFF, 0xFF, 0, 125]), [0x84, 2]);
        assert_eq!(ask(&mut bank, &[16, 0, 9, 0, 2, 4, 0, 1, 0, 2]), [0x90, 2]);
        assert_eq!(ask(&mut bank, &[3, 0, 0, 0, 0]), [0x83, 3]);
        assert_eq!(ask(&mut bank, &[43, 14, 1, 0]), [0xAB, 1]);
        assert_eq!(ask(&mut bank, &[43, 14, 9, 0]), [0xAB, 3]);
        assert_eq!(ask(&mut bank, &[17]), [0x91, 1]);
        assert_eq!(ask(&mut bank, &[43, 14, 1, 0, 0]), [0xAB, 1]);
        assert_eq!(bank, before);
    }

    #[test]
    fn values_lie_in_registers_as_their_order_says() {
        let mut bank = bank();
        let orders = [
            (Order::Abcd, [0x4148, 0x0000]),
            (Order::Badc, [0x4841, 0x0000]),
            (Order::Cdab, [0x0000, 0x4148]),
            (Order::Dcba, [0x0000, 0x4841]),
        ];
        for (order, words) in orders {
            bank.put_f32(Area::Holding, 2, 12.5, order);
            assert_eq!([bank.holding(2), bank.holding(3)], words, "{order:?}");
            assert_eq!(bank.holding_f32(2, order), 12.5, "{order:?}");
        }
        bank.put_scaled(Area::Holding, 0, -1.5, 0.1);
        assert_eq!(bank.holding(0).cast_signed(), -15);
        bank.put_scaled(Area::Holding, 0, 1e9, 0.1);
        assert_eq!(bank.holding(0), u16::MAX);
        bank.put_text(Area::Holding, 4, "ABC", 3);
        assert_eq!([bank.holding(4), bank.holding(5), bank.holding(6)], [0x4142, 0x4300, 0]);
    }
}
