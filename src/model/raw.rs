//! What the wire gave: words and bits, and how values lie in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The buffer that a driver fills; kept and used again, so that polling allocates nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raw {
    /// 16-bit registers, in the order of their addresses.
    pub words: Vec<u16>,
    /// Single bits, in the order of their addresses.
    pub bits: Vec<bool>,
    /// Where words or bits hold nothing, since the device refuses to give them.
    pub missing: Vec<Missing>,
}

/// Words or bits that the device refused, with the exception code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Index of the first.
    pub at: usize,
    /// How many.
    pub count: usize,
    /// The exception code.
    pub code: u8,
}

impl Raw {
    /// Empties both lists and keeps their memory.
    pub fn clear(&mut self) {
        self.words.clear();
        self.bits.clear();
        self.missing.clear();
    }

    /// The exception code with which the device refused what lies at `place`, where it did.
    pub fn refused(&self, place: Place) -> Option<u8> {
        let (at, count) = match place {
            Place::Bit { at } | Place::WordBit { at, .. } | Place::HalfWord { at, .. } => (at, 1),
            Place::Words { at, count } | Place::Bits { at, count } => (at, count),
        };
        let hit = |m: &&Missing| m.at < at.saturating_add(count) && at < m.at.saturating_add(m.count);
        self.missing.iter().find(hit).map(|missing| missing.code)
    }
}

/// Where a value lies within the [`Raw`] of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// `bits[at]`.
    Bit {
        /// Index into the bits.
        at: usize,
    },
    /// `bits[at .. at + count]`.
    Bits {
        /// Index of the first bit.
        at: usize,
        /// How many.
        count: usize,
    },
    /// One bit of `words[at]`; bit 0 is the least significant.
    WordBit {
        /// Index into the words.
        at: usize,
        /// 0 to 15.
        bit: u8,
    },
    /// One byte of `words[at]`.
    HalfWord {
        /// Index into the words.
        at: usize,
        /// The more significant byte.
        high: bool,
    },
    /// `words[at .. at + count]`.
    Words {
        /// Index of the first word.
        at: usize,
        /// How many.
        count: usize,
    },
}

/// How the bytes of a 32- or 64-bit value lie in its registers, by the usual letters:
/// A is the most significant byte (of four; for 64 bits the pattern goes on over all words).
/// For text, the first letter pair says whether the first character is the high byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Order {
    /// Big-endian words and bytes: the Modbus specification's own.
    #[default]
    Abcd,
    /// Bytes swapped within each word.
    Badc,
    /// Words swapped, bytes in order.
    Cdab,
    /// Little-endian altogether.
    Dcba,
}

impl Order {
    /// The word in a configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Order::Abcd => "abcd",
            Order::Badc => "badc",
            Order::Cdab => "cdab",
            Order::Dcba => "dcba",
        }
    }

    /// Whether the least significant word comes first.
    pub fn words_swapped(self) -> bool {
        matches!(self, Order::Cdab | Order::Dcba)
    }

    /// Whether the less significant byte of each word comes first.
    pub fn bytes_swapped(self) -> bool {
        matches!(self, Order::Badc | Order::Dcba)
    }
}
