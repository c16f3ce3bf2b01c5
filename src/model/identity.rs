//! Who a device says that it is.

use serde::Serialize;

use super::{Stamp, Timestamp};

/// What a device tells of itself; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Who made it.
    pub vendor: Option<String>,
    /// The maker's number for it.
    pub product_code: Option<String>,
    /// Version of its software.
    pub revision: Option<String>,
    /// Where to find the maker.
    pub vendor_url: Option<String>,
    /// What it is called.
    pub product_name: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// What its user calls it.
    pub application: Option<String>,
    /// Its identifier, where it has one that can be read.
    pub server_id: Option<String>,
    /// Whether it runs.
    pub running: Option<bool>,
}

/// The longest text of a device, in characters.
const LONGEST: usize = 200;

impl Identity {
    /// Whether it says nothing at all.
    pub fn is_unknown(&self) -> bool {
        *self == Identity::default()
    }

    /// A device's text as it may be shown: no control characters, nor those that turn the direction of what
    /// follows, of at most 200 characters; `None` where nothing is left.
    pub fn text(said: &str) -> Option<String> {
        let is_unsafe = |c: char| {
            c.is_control()
                || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        };
        let said = said.trim_matches(|c: char| c == '\0' || c.is_whitespace());
        let clean: String = said
            .chars()
            .take(LONGEST)
            .map(|c| if is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        (!clean.is_empty()).then_some(clean)
    }
}

/// An identity and when the device told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// What it said.
    pub identity: std::sync::Arc<Identity>,
    /// When (UTC).
    pub at: Timestamp,
    /// What was known of the clock then.
    pub stamp: Stamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_device_can_be_shown_whatever_it_is() {
        assert_eq!(Identity::text(" Pump \u{1b}[2J\0\0").as_deref(), Some("Pump \u{FFFD}[2J"));
        assert_eq!(Identity::text("a\u{202E}b").as_deref(), Some("a\u{FFFD}b"));
        assert_eq!(Identity::text(" \0\0 "), None);
        assert_eq!(Identity::text(&"ü".repeat(1000)).unwrap().chars().count(), LONGEST);
    }
}
