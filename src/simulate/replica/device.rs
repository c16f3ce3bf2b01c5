//! The registers of one simulated unit, laid out as the tags of a plan want them.

use std::collections::HashMap;

use super::course::Course;
use crate::drivers::modbus::Extent;
use crate::drivers::modbus::address::Area;
use crate::model::{Access, Array, DataType, Place, Raw, Tag, Value};
use crate::normalize::PlacedRule;
use crate::normalize::encode::encode;
use crate::simulate::modbus::bank::{Bank, Sizes};

/// A unit before it is served: its values, and how far its tables reach.
#[derive(Debug, Default)]
pub(super) struct Draft {
    cells: Vec<Cell>,
    /// First address behind each table.
    ends: HashMap<Area, u16>,
}

/// One tag and where it lies.
#[derive(Debug)]
struct Cell {
    area: Area,
    at: u16,
    placed: PlacedRule,
    course: Course,
    writable: bool,
}

/// What moves in a unit.
#[derive(Debug)]
pub(super) struct Movement(Vec<Cell>);

impl Draft {
    /// Adds a tag that lies in what is asked in one read.
    pub(super) fn add(&mut self, asked: &Extent, placed: &PlacedRule, tag: &Tag, seed: u64) {
        let Some(at) = self.reach(asked, placed.place) else { return };
        let writable = tag.access != Access::Read;
        let course = Course::of(tag, &placed.rule, writable, seed);
        self.cells.push(Cell { area: asked.area, at, placed: placed.clone(), course, writable });
    }

    /// Makes sure that a place is there; gives its address. The table of a bank ends before 65535.
    pub(super) fn reach(&mut self, extent: &Extent, place: Place) -> Option<u16> {
        let (offset, count) = match place {
            Place::Bit { at } | Place::WordBit { at, .. } | Place::HalfWord { at, .. } => (at, 1),
            Place::Words { at, count } | Place::Bits { at, count } => (at, count),
        };
        let at = usize::from(extent.start) + offset;
        let behind = u16::try_from(at + count).ok()?;
        let end = self.ends.entry(extent.area).or_default();
        *end = (*end).max(behind);
        u16::try_from(at).ok()
    }

    /// The registers at the start, and what moves in them from then on.
    pub(super) fn finish(mut self) -> (Bank, Movement) {
        let end = |area| self.ends.get(&area).copied().unwrap_or(0);
        let mut bank = Bank::new(Sizes {
            coils: end(Area::Coil),
            discretes: end(Area::Discrete),
            inputs: end(Area::Input),
            holdings: end(Area::Holding),
        });
        // What can be written is never moved, not by another tag in the same registers either.
        self.cells.sort_by_key(|cell| !cell.writable);
        let mut taken: HashMap<(Area, u16), u16> = HashMap::new();
        self.cells.retain(|cell| {
            let bits = cell.bits();
            let free =
                bits.iter().all(|(at, mask)| taken.get(&(cell.area, *at)).is_none_or(|t| t & mask == 0));
            if free {
                bits.iter().for_each(|(at, mask)| *taken.entry((cell.area, *at)).or_default() |= mask);
            }
            free
        });
        let mut raw = Raw::default();
        self.cells.iter().for_each(|cell| cell.show(0.0, &mut bank, &mut raw));
        self.cells.retain(|cell| !cell.writable);
        (bank, Movement(self.cells))
    }
}

impl Movement {
    /// Puts all values of this moment.
    pub(super) fn show(&self, seconds: f64, bank: &mut Bank, raw: &mut Raw) {
        self.0.iter().for_each(|cell| cell.show(seconds, bank, raw));
    }
}

impl Cell {
    /// Which bits of which addresses it takes.
    fn bits(&self) -> Vec<(u16, u16)> {
        match self.placed.place {
            Place::Bit { .. } => vec![(self.at, 1)],
            Place::Bits { count, .. } => (self.at..).take(count).map(|at| (at, 1)).collect(),
            Place::WordBit { bit, .. } => vec![(self.at, 1 << (bit & 15))],
            Place::HalfWord { high, .. } => vec![(self.at, if high { 0xFF00 } else { 0x00FF })],
            Place::Words { count, .. } => (self.at..).take(count).map(|at| (at, 0xFFFF)).collect(),
        }
    }

    fn show(&self, seconds: f64, bank: &mut Bank, raw: &mut Raw) {
        let rule = &self.placed.rule;
        let Some(value) = self.course.value(rule, seconds) else { return };
        let word = match self.placed.place {
            // A part of a register: the rest of it stays.
            Place::WordBit { bit, .. } => {
                let mask = 1 << (bit & 15);
                let on = value == Value::Bool(true);
                bank.word(self.area, self.at) & !mask | if on { mask } else { 0 }
            }
            Place::HalfWord { high, .. } => {
                let raw = value.as_f64().map_or(0.0, |v| rule.scaling.map_or(v, |s| s.back(v).round()));
                let [_, byte] = (raw as i16).to_be_bytes().map(u16::from);
                let word = bank.word(self.area, self.at);
                if high { word & 0x00FF | byte << 8 } else { word & 0xFF00 | byte }
            }
            place => {
                if encode(rule, place, &cut(value, place, rule.kind.length()), raw).is_ok() {
                    if self.area.is_bits() {
                        (self.at..).zip(&raw.bits).for_each(|(at, on)| bank.put_bit(self.area, at, *on));
                    } else {
                        bank.put(self.area, self.at, &raw.words);
                    }
                }
                return;
            }
        };
        bank.put(self.area, self.at, &[word]);
    }
}

/// A text that its registers hold; of an array, each.
fn cut(value: Value, place: Place, length: Option<u16>) -> Value {
    match (value, place) {
        (Value::Array(array), Place::Words { at, count }) if array.of() == DataType::Text => {
            let place = Place::Words { at, count: count / usize::from(length.unwrap_or(1)).max(1) };
            let elements = array.iter().map(|text| cut(text, place, None));
            Array::collect(DataType::Text, elements).map_or(Value::Array(array.clone()), Value::Array)
        }
        (Value::Text(text), Place::Words { count, .. }) => {
            let mut end = text.len().min(2 * count);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            Value::Text(text.get(..end).unwrap_or_default().into())
        }
        (value, _) => value,
    }
}
