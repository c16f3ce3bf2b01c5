//! Registers that a device has not: what is never read over. Pure.

use std::collections::BTreeMap;

use super::address::{Address, Area};
use super::planner::Item;
use crate::drivers::driver::AddressError;

/// Neighbours in one area that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hole {
    /// The table.
    pub area: Area,
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl Hole {
    /// Reads `holding:100..102` (both are in it), `input:7`, or conventional numbers as `40101..40103`.
    pub fn parse(text: &str) -> Result<Hole, AddressError> {
        let (from, to) = text.split_once("..").unwrap_or((text, ""));
        let wrong = |why: &str| {
            AddressError {
            code: "bad-hole",
            message: format!("`{text}`: {why}"),
            help: "write the first and the last address that is not there, as `holding:100..102`, or one as `input:7`"
                .to_owned(),
        }
        };
        let (area, first) = Address::parse_start(from).map_err(|error| wrong(&told(&error, from)))?;
        let last = match (to, from.contains(':')) {
            ("", _) if !text.contains("..") => first,
            ("", _) => return Err(wrong("the last address is missing")),
            (number, true) if number.bytes().all(|b| b.is_ascii_digit()) => {
                number.parse().map_err(|_| wrong(&format!("{number} is past 65535")))?
            }
            (number, false) => {
                let (other, last) =
                    Address::parse_start(number).map_err(|error| wrong(&told(&error, number)))?;
                if other != area {
                    return Err(wrong("its two ends are in different areas"));
                }
                last
            }
            (number, _) => return Err(wrong(&format!("`{number}` is no address"))),
        };
        if last < first {
            return Err(wrong("it ends before it begins"));
        }
        Ok(Hole { area, first, last })
    }

    /// Whether any of these registers or bits lies in it.
    pub fn meets(&self, area: Area, start: u16, count: u16) -> bool {
        let end = u32::from(start) + u32::from(count);
        area == self.area && start <= self.last && u32::from(self.first) < end
    }
}

/// Without the address said twice.
fn told(error: &AddressError, address: &str) -> String {
    error.message.trim_start_matches(&format!("`{address}`: ")).to_owned()
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.area.name(), self.first)?;
        if self.last > self.first { write!(f, "..{}", self.last) } else { Ok(()) }
    }
}

/// In order, and those that touch as one.
pub fn joined(mut holes: Vec<Hole>) -> Vec<Hole> {
    holes.sort_unstable();
    let mut joined: Vec<Hole> = Vec::new();
    for hole in holes {
        match joined.last_mut() {
            Some(last) if last.area == hole.area && u32::from(hole.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(hole.last);
            }
            _ => joined.push(hole),
        }
    }
    joined
}

/// The values of one area in groups between which no read may reach. A value within a hole is by itself, so
/// that what the device says of it costs no other.
pub(super) fn apart(items: Vec<Item>, holes: &[Hole], area: Area) -> Vec<Vec<Item>> {
    let holes: Vec<&Hole> = holes.iter().filter(|h| h.area == area).collect();
    if holes.is_empty() {
        return vec![items];
    }
    let mut groups: BTreeMap<(usize, Option<u32>), Vec<Item>> = BTreeMap::new();
    for item in items {
        let before = holes.iter().filter(|h| u32::from(h.last) < item.start).count();
        let within = holes.iter().any(|h| u32::from(h.first) < item.end && item.start <= u32::from(h.last));
        groups.entry((before, within.then_some(item.start))).or_default().push(item);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_hole_is_read_as_it_is_shown() {
        for text in ["holding:100..102", "input:7", "coil:0..65535", "discrete:3..4"] {
            assert_eq!(Hole::parse(text).unwrap().to_string(), text);
        }
        let hole = |area, first, last| Ok(Hole { area, first, last });
        assert_eq!(Hole::parse("40101..40103"), hole(Area::Holding, 100, 102));
        assert_eq!(Hole::parse("30008"), hole(Area::Input, 7, 7));
        assert_eq!(Hole::parse("input:7..7"), hole(Area::Input, 7, 7));
    }

    #[test]
    fn what_is_no_hole_says_why() {
        for (text, why) in [
            ("holding:102..100", "ends before it begins"),
            ("holding:100..", "the last address is missing"),
            ("holding:100..holding:102", "`holding:102` is no address"),
            ("holding:100..70000", "past 65535"),
            ("holding:100..99999999999999999999", "past 65535"),
            ("40101..30103", "different areas"),
            ("40101..", "the last address is missing"),
            ("..5", "no address"),
            ("", "no address"),
            ("register:1..2", "there is no area `register`"),
            ("holding:100.3", "no address"),
        ] {
            let error = Hole::parse(text).unwrap_err();
            assert!(error.message.contains(why), "{text}: {}", error.message);
        }
    }

    #[test]
    fn neighbours_are_one_hole() {
        let hole = |text| Hole::parse(text).unwrap();
        let all = ["holding:5", "coil:6", "holding:3..4", "holding:7", "holding:0..20", "input:65535"];
        let texts: Vec<_> = joined(all.map(hole).to_vec()).iter().map(Hole::to_string).collect();
        assert_eq!(texts, ["coil:6", "input:65535", "holding:0..20"]);
    }

    #[test]
    fn values_on_two_sides_of_a_hole_are_apart_and_one_within_is_by_itself() {
        let item = |(index, (start, count)): (usize, (u32, u32))| Item {
            start,
            end: start + count,
            period: Duration::from_secs(1),
            index,
        };
        let items: Vec<_> =
            [(0, 2), (8, 2), (10, 2), (13, 1), (20, 4)].into_iter().enumerate().map(item).collect();
        let holes = ["holding:11..12", "holding:18", "input:0"].map(|t| Hole::parse(t).unwrap());
        let groups = apart(items, &holes, Area::Holding);
        let indices: Vec<Vec<_>> = groups.iter().map(|g| g.iter().map(|i| i.index).collect()).collect();
        assert_eq!(indices, [vec![0, 1], vec![2], vec![3], vec![4]]);
    }
}
