//! How values, times and errors look on a terminal; what devices say is shown without control characters.

use std::borrow::Cow;
use std::io::Write;

use crate::model::{Bad, Quality, Timestamp, Value};

/// A text from a device: a terminal obeys control characters, so none goes through.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains(is_unsafe) {
        Cow::Owned(text.replace(is_unsafe, "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Control characters, and those that turn the direction of what follows.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A line on standard output; whoever has closed it does not want it.
pub(super) fn say(text: &str) {
    if !text.is_empty() {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

/// A value, or a dash.
pub(super) fn value(value: Option<&Value>) -> String {
    value.map_or("-".into(), |value| clean(&value.to_string()).into_owned())
}

/// `2026-11-24T19:41:02.123Z`
pub(super) fn utc(at: Timestamp) -> String {
    format!("{}.{:03}Z", seconds(at), at.0.rem_euclid(1_000_000) / 1000)
}

/// `2026-11-24T19:41:02.123456Z` (RFC 3339)
pub(super) fn utc_micros(at: Timestamp) -> String {
    format!("{}.{:06}Z", seconds(at), at.0.rem_euclid(1_000_000))
}

fn seconds(at: Timestamp) -> String {
    let (days, micros) = (at.0.div_euclid(86_400_000_000), at.0.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let seconds = micros / 1_000_000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day counted from 1970-01-01, by the rules of the Gregorian calendar: 400 years
/// have 146,097 days; a year that starts in March has its leap day last.
fn civil(days: i64) -> (i64, i64, i64) {
    let since_march_0 = days + 719_468;
    let (era, day) = (since_march_0.div_euclid(146_097), since_march_0.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day - first + 1)
}

/// What somebody can do about a bad quality; empty where there is nothing to say.
pub(super) fn advice(quality: Quality) -> &'static str {
    match quality {
        Quality::Bad(Bad::NoAnswer) => {
            "check power, wiring and unit number; a slow device needs a longer `timeout`"
        }
        Quality::Bad(Bad::Garbled) => {
            "check speed, parity and termination, and that no other master is on the line"
        }
        Quality::Bad(Bad::Refused(code)) => exception(code),
        Quality::Bad(Bad::NotANumber) => "these registers hold no such float: try another `order` or type",
        Quality::Bad(Bad::NotText) => "these registers hold no text: try another `order`, address or type",
        Quality::Bad(Bad::Busy) => "try again later",
        Quality::Bad(Bad::NeverRead) => "its `access` is \"write-only\"",
        _ => "",
    }
}

/// What an exception code says (Modbus Application Protocol V1.1b3, section 7).
pub(super) fn exception(code: u8) -> &'static str {
    match code {
        1 => "the device does not know this function: try another area (holding, input, coil, discrete)",
        2 => "the device has no such register: is the map counted from 1?",
        3 => "the device does not take this count or value",
        4 => "the device failed while it worked on it",
        10 => "the gateway has no path to this unit",
        11 => "the unit behind the gateway does not answer",
        _ => "",
    }
}

/// Lines of columns as wide as their widest cell; the last column is as it comes.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_utc_also_before_1970_and_on_a_leap_day() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_795_000_000_123_456, "2026-11-18T11:06:40.123Z"),
            (4_107_542_399_000_000, "2100-02-28T23:59:59.000Z"),
        ] {
            assert_eq!(utc(Timestamp(micros)), text);
        }
        assert_eq!(utc_micros(Timestamp(-1)), "1969-12-31T23:59:59.999999Z");
        assert_eq!(utc_micros(Timestamp(1_795_000_000_123_456)), "2026-11-18T11:06:40.123456Z");
    }

    #[test]
    fn a_device_cannot_speak_to_the_terminal() {
        assert_eq!(clean("ok\u{1b}[2J\u{202E}"), "ok\u{FFFD}[2J\u{FFFD}");
        assert_eq!(clean("µ-Meter"), "µ-Meter");
    }
}
