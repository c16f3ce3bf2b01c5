//! Time stamps as text: RFC 3339, in UTC and to the microsecond; read with any offset.

use super::Timestamp;

const DAY: i64 = 86_400_000_000;

/// `2026-11-25T19:07:33.123456Z`; years beyond 0 to 9999 cannot be said and are the nearest that can.
pub fn text(at: Timestamp) -> String {
    let at = at.0.clamp(-62_167_219_200_000_000, 253_402_300_799_999_999);
    let (year, month, day) = civil(at.div_euclid(DAY));
    let micros = at.rem_euclid(DAY);
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The time that a text says; digits beyond the microsecond are cut off, a leap second is the one after it.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_at_checked(10)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let time = time.strip_prefix(['T', 't', ' '])?;
    let end = time.find(['Z', 'z', '+', '-'])?;
    let (clock, offset) = time.split_at_checked(end)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let east = match offset {
        "Z" | "z" => 0,
        _ => {
            let [hours, minutes] = numbers(offset.get(1..)?, ':', [2, 2])?;
            let minutes = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
            if offset.starts_with('-') { -minutes } else { minutes }
        }
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + (minute - east) * 60 + second;
    Some(Timestamp(seconds * 1_000_000 + micros))
}

/// Numbers of a fixed count of digits each.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(between);
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next().filter(|p| p.len() == digits && p.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar. Counted from March on, so that
/// the leap day is the last of its year; 400 years have 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (of_year, day) = (if month < 10 { month + 3 } else { month - 9 }, day - (153 * month + 2) / 5 + 1);
    (era * 400 + year + i64::from(of_year <= 2), of_year, day)
}

/// The inverse of [`civil`].
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times_are_said_and_read() {
        for (at, said) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_760_000_000_123_457, "2025-10-09T08:53:20.123457Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(text(Timestamp(at)), said);
            assert_eq!(parse(said), Some(Timestamp(at)));
        }
        assert_eq!(text(Timestamp(i64::MAX)), "9999-12-31T23:59:59.999999Z");
        assert_eq!(text(Timestamp(i64::MIN)), "0000-01-01T00:00:00.000000Z");
    }

    #[test]
    fn offsets_and_short_forms_are_read() {
        let at = |text| parse(text).map(|at| at.0);
        assert_eq!(at("2025-10-09T08:53:20Z"), Some(1_760_000_000_000_000));
        assert_eq!(at("2025-10-09 10:53:20.5+02:00"), Some(1_760_000_000_500_000));
        assert_eq!(at("2025-10-08t22:53:20.1234567-10:00"), Some(1_760_000_000_123_456));
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for bad in [
            "",
            "now",
            "2025-10-09",
            "2025-10-09T08:53:20",
            "2025-13-09T08:53:20Z",
            "2025-02-29T08:53:20Z",
            "2025-10-09T24:00:00Z",
            "2025-10-09T08:60:20Z",
            "2025-10-09T08:53Z",
            "2025-10-09T08:53:20.Z",
            "2025-10-09T08:53:20+2",
            "+025-10-09T08:53:20Z",
            "2025-10-09T08:53:20.-1Z",
            "2025-10-0é:53:20Z",
            "2025-10-09T08:53:20+99:00",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_time_comes_back_from_its_text(at in -62_167_219_200_000_000_i64..=253_402_300_799_999_999) {
            prop_assert_eq!(parse(&text(Timestamp(at))), Some(Timestamp(at)));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = parse(&text);
        }
    }
}
