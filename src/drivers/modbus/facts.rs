//! What a device taught: the reads that it refuses and the longest that it answers, as text that outlives a
//! restart. Pure.
//!
//! A fact is of a device and an area, not of a block, so it holds for another plan too: a read that covers one
//! that was refused is refused as well, whatever the reason.

use serde::{Deserialize, Serialize};

use super::address::Area;
use super::pdu::exception;

/// The only version of the text that there is.
const VERSION: u32 = 1;
/// Refused reads kept of one area; more than that is no map with holes but another device.
const MOST: usize = 512;
/// The longest text that is read, in bytes.
const LONGEST_TEXT: usize = 256 * 1024;

/// What is known of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    version: u32,
    /// The unit that they were learned of; another one is another box.
    pub unit: u8,
    #[serde(default, skip_serializing_if = "Known::is_nothing")]
    coil: Known,
    #[serde(default, skip_serializing_if = "Known::is_nothing")]
    discrete: Known,
    #[serde(default, skip_serializing_if = "Known::is_nothing")]
    input: Known,
    #[serde(default, skip_serializing_if = "Known::is_nothing")]
    holding: Known,
}

/// What is known of one area.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Registers or bits of the longest read that was answered.
    #[serde(default)]
    pub longest: u16,
    /// Refused reads, none of which covers another, by their start.
    #[serde(default)]
    pub refused: Vec<Refusal>,
}

/// A read that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// First register or bit.
    pub start: u16,
    /// How many.
    pub count: u16,
    /// Exception 2 or 3.
    pub code: u8,
    /// When, in seconds since 1970.
    pub at: i64,
    /// Both sides of this were read by themselves: one past the last of the left side, first of the right one.
    /// Without it the read was of one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<(u16, u16)>,
}

/// What a refusal says of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The value is not there.
    NoSuchValue,
    /// Between two values that are there lies something that is not: first register or bit, and how many.
    Gap(u16, u16),
    /// Two neighbours cannot be read in one go.
    Seam(u16),
    /// So many are too many.
    TooLong,
}

impl Refusal {
    fn is_within(&self, start: u16, count: u16) -> bool {
        let end = |start: u16, count: u16| u32::from(start) + u32::from(count);
        start <= self.start && end(self.start, self.count) <= end(start, count)
    }

    /// Of an area whose longest answered read was that long.
    pub fn reason(&self, longest: u16) -> Reason {
        let Some((left, right)) = self.between else { return Reason::NoSuchValue };
        let gap = right.saturating_sub(left);
        // Application Protocol V1.1b3, section 6.3: exception 3 is about the quantity, 2 about the addresses.
        match self.count > longest && (self.code == exception::ILLEGAL_VALUE || gap == 0) {
            true => Reason::TooLong,
            false if gap > 0 => Reason::Gap(left, gap),
            false => Reason::Seam(right),
        }
    }
}

impl Known {
    fn is_nothing(&self) -> bool {
        *self == Known::default()
    }

    /// The most registers or bits that one read may have, where the device was seen to have such a limit.
    pub fn limit(&self) -> Option<u16> {
        let is_limited = self.refused.iter().any(|r| r.reason(self.longest) == Reason::TooLong);
        is_limited.then_some(self.longest).filter(|longest| *longest > 0)
    }

    /// The refusal that a read of this runs into for its addresses.
    pub fn refusal_of(&self, start: u16, count: u16) -> Option<&Refusal> {
        self.refused.iter().find(|r| r.is_within(start, count))
    }

    /// Whether a read of this is sure to be refused, as far as is known.
    pub fn refuses(&self, start: u16, count: u16) -> bool {
        self.refusal_of(start, count).is_some() || self.limit().is_some_and(|limit| count > limit)
    }
}

impl Facts {
    /// Nothing is known yet.
    pub fn new(unit: u8) -> Facts {
        let nothing = Known::default;
        Facts {
            version: VERSION,
            unit,
            coil: nothing(),
            discrete: nothing(),
            input: nothing(),
            holding: nothing(),
        }
    }

    /// The text of an earlier run; an error says what is wrong with it.
    pub fn read(text: &str) -> Result<Facts, String> {
        if text.len() > LONGEST_TEXT {
            return Err(format!("{} bytes are more than there can be", text.len()));
        }
        let facts: Facts = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if facts.version != VERSION {
            return Err(format!("version {} is not known", facts.version));
        }
        for (area, known) in facts.areas() {
            let whole =
                |r: &Refusal| r.count > 0 && u32::from(r.start) + u32::from(r.count) <= 65_536 && r.parted();
            if known.refused.len() > MOST || !known.refused.iter().all(whole) {
                return Err(format!("what it says of {} cannot be", area.name()));
            }
        }
        Ok(facts)
    }

    /// As text for a later run; `None` where it cannot be told.
    pub fn text(&self) -> Option<String> {
        let text = toml::to_string(self).ok()?;
        Some(format!(
            "# What fieldgate learned of this device. Without this file it is found out anew.\n{text}"
        ))
    }

    /// All areas.
    pub fn areas(&self) -> [(Area, &Known); 4] {
        [Area::Coil, Area::Discrete, Area::Input, Area::Holding].map(|area| (area, self.of(area)))
    }

    /// One area.
    pub fn of(&self, area: Area) -> &Known {
        match area {
            Area::Coil => &self.coil,
            Area::Discrete => &self.discrete,
            Area::Input => &self.input,
            Area::Holding => &self.holding,
        }
    }

    fn of_mut(&mut self, area: Area) -> &mut Known {
        match area {
            Area::Coil => &mut self.coil,
            Area::Discrete => &mut self.discrete,
            Area::Input => &mut self.input,
            Area::Holding => &mut self.holding,
        }
    }

    /// A read was answered; true where that is news.
    pub(super) fn accepted(&mut self, area: Area, start: u16, count: u16) -> bool {
        let known = self.of_mut(area);
        let before = known.refused.len();
        known.refused.retain(|r| !r.is_within(start, count));
        let longer = count > known.longest;
        known.longest = known.longest.max(count);
        longer || known.refused.len() < before
    }

    /// A read was refused; true where that is news.
    pub(super) fn refused(&mut self, area: Area, refusal: Refusal) -> bool {
        let known = self.of_mut(area);
        if known.refused.iter().any(|r| r.is_within(refusal.start, refusal.count)) {
            return false;
        }
        known.refused.retain(|r| !refusal.is_within(r.start, r.count));
        if known.refused.len() >= MOST {
            return false;
        }
        known.refused.push(refusal);
        known.refused.sort_by_key(|r| (r.start, r.count));
        true
    }
}

impl Refusal {
    /// Whether what lies between its sides lies within it.
    fn parted(&self) -> bool {
        self.between.is_none_or(|(left, right)| {
            let end = u32::from(self.start) + u32::from(self.count);
            self.start < left && left <= right && u32::from(right) < end
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(start: u16, count: u16, code: u8, between: Option<(u16, u16)>) -> Refusal {
        Refusal { start, count, code, at: 1_764_000_000, between }
    }

    #[test]
    fn what_was_learned_comes_back_from_its_text() {
        let mut facts = Facts::new(7);
        assert!(facts.accepted(Area::Holding, 0, 60));
        assert!(facts.refused(Area::Holding, refusal(100, 2, 2, None)));
        assert!(facts.refused(Area::Coil, refusal(0, 20, 3, Some((8, 12)))));
        let text = facts.text().unwrap();
        assert_eq!(Facts::read(&text), Ok(facts), "{text}");
        assert!(text.starts_with("# What"), "{text}");
    }

    #[test]
    fn what_this_program_never_wrote_is_an_error_and_no_fall() {
        for text in [
            "",
            "version = 2\nunit = 1\n",
            "version = 1\nunit = 300\n",
            "version = 1\nunit = 1\ncolour = 3\n",
            "version = 1\nunit = 1\n[holding]\nlongest = 70000\n",
            "version = 1\nunit = 1\n[holding]\nrefused = [{ start = 65535, count = 2, code = 2, at = 0 }]\n",
            "version = 1\nunit = 1\n[holding]\nrefused = [{ start = 5, count = 0, code = 2, at = 0 }]\n",
            "version = 1\nunit = 1\n[input]\nrefused = [{ start = 5, count = 9, code = 2, at = 0, between = [9, 7] }]\n",
            "\u{0}\u{1}",
        ] {
            assert!(Facts::read(text).is_err(), "{text}");
        }
        assert!(Facts::read(&" ".repeat(LONGEST_TEXT + 1)).is_err());
    }

    #[test]
    fn a_read_that_covers_a_refused_one_is_refused_and_one_beside_it_is_not() {
        let mut facts = Facts::new(1);
        facts.refused(Area::Holding, refusal(100, 2, 2, None));
        let known = facts.of(Area::Holding);
        assert!(known.refuses(100, 2) && known.refuses(90, 12) && known.refuses(100, 50));
        assert!(!known.refuses(101, 2) && !known.refuses(90, 11) && !known.refuses(0, 100));
        assert!(!facts.of(Area::Input).refuses(100, 2));
    }

    #[test]
    fn only_the_smallest_refused_read_is_kept_and_an_answer_takes_it_back() {
        let mut facts = Facts::new(1);
        assert!(facts.refused(Area::Input, refusal(0, 50, 2, Some((20, 30)))));
        assert!(facts.refused(Area::Input, refusal(10, 2, 2, None)));
        assert!(!facts.refused(Area::Input, refusal(8, 4, 2, None)));
        assert_eq!(facts.of(Area::Input).refused, [refusal(10, 2, 2, None)]);
        assert!(!facts.accepted(Area::Coil, 0, 0));
        assert!(facts.accepted(Area::Input, 10, 2));
        assert!(facts.of(Area::Input).refused.is_empty());
        assert!(!facts.accepted(Area::Input, 10, 2));
    }

    #[test]
    fn a_refusal_is_for_its_length_only_where_no_longer_read_was_answered() {
        let long = refusal(0, 62, 2, Some((31, 31)));
        assert_eq!(long.reason(32), Reason::TooLong);
        assert_eq!(long.reason(62), Reason::Seam(31));
        let gap = refusal(0, 62, 2, Some((20, 30)));
        assert_eq!(gap.reason(32), Reason::Gap(20, 10));
        assert_eq!(Refusal { code: 3, ..gap }.reason(32), Reason::TooLong);
        assert_eq!(refusal(5, 2, 3, None).reason(1), Reason::NoSuchValue);
        let mut facts = Facts::new(1);
        facts.accepted(Area::Holding, 0, 32);
        assert_eq!(facts.of(Area::Holding).limit(), None);
        facts.refused(Area::Holding, long);
        assert_eq!(facts.of(Area::Holding).limit(), Some(32));
        assert!(facts.of(Area::Holding).refuses(200, 33) && !facts.of(Area::Holding).refuses(200, 32));
        facts.accepted(Area::Holding, 200, 70);
        assert_eq!(facts.of(Area::Holding).limit(), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut facts = Facts::new(1);
        for start in 0..2000 {
            facts.refused(Area::Holding, refusal(start * 2, 1, 2, None));
        }
        assert_eq!(facts.of(Area::Holding).refused.len(), MOST);
        assert!(facts.text().unwrap().len() < LONGEST_TEXT);
    }
}
