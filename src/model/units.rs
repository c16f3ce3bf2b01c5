//! Durations and sizes as strings with units.

use std::time::Duration;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration: `"250ms"`, `"30s"`, `"5m"`, `"1h"`, `"7d"`, `"1.5s"`; units us, ms, s, m, h, d.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Period(pub Duration);

/// A size in bytes: `"512B"`, `"64KiB"`, `"16MB"`, `"1GiB"`; units B, kB, KiB, MB, MiB, GB, GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

/// Splits `1.5s` into 1.5 and `s`.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

impl std::str::FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Period, String> {
        let hint = || {
            format!(
                "`{text}` is no duration: write a number and a unit, as \"250ms\", \"30s\", \"5m\", \"1h\", \"7d\""
            )
        };
        let (number, unit) = number_and_unit(text).ok_or_else(hint)?;
        let seconds = match unit {
            "us" => number / 1e6,
            "ms" => number / 1e3,
            "s" => number,
            "m" | "min" => number * 60.0,
            "h" => number * 3600.0,
            "d" => number * 86400.0,
            _ => return Err(hint()),
        };
        // Ten years: beyond it something else was meant, and sums of periods never overflow.
        if seconds > 10.0 * 366.0 * 86400.0 {
            return Err(format!("`{text}` is longer than ten years"));
        }
        Ok(Period(Duration::from_nanos((seconds * 1e9).round() as u64)))
    }
}

impl Period {
    /// As it is written in a configuration file, exactly.
    pub fn in_units(self) -> String {
        let nanos = self.0.as_nanos();
        let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
        match units.iter().find(|(unit, _)| nanos.is_multiple_of(*unit)) {
            Some((unit, name)) => format!("{}{name}", nanos / unit),
            None => format!("{}.{:03}us", nanos / 1000, nanos % 1000),
        }
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        if text == "0" {
            return Ok(Size(0));
        }
        let hint =
            || format!("`{text}` is no size: write a number and a unit, as \"64KiB\", \"16MiB\", \"1GB\"");
        let (number, unit) = number_and_unit(text).ok_or_else(hint)?;
        let factor = match unit {
            "B" => 1.0,
            "kB" | "KB" => 1e3,
            "KiB" => 1024.0,
            "MB" => 1e6,
            "MiB" => 1048576.0,
            "GB" => 1e9,
            "GiB" => 1073741824.0,
            _ => return Err(hint()),
        };
        Ok(Size((number * factor).round() as u64))
    }
}

macro_rules! from_text {
    ($type:ident, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_i64<E: Error>(self, v: i64) -> Result<$type, E> {
                        Err(E::invalid_type(Unexpected::Signed(v), &self))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}
from_text!(Period, "a duration with its unit, as \"250ms\"");
from_text!(Size, "a size with its unit, as \"16MiB\"");

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.in_units())
    }
}

/// Says of a text with a unit what `number_and_unit` reads.
macro_rules! schema_of_text {
    ($type:ident, $name:literal, $pattern:literal) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "x-type": $name, "pattern": $pattern })
            }
        }
    };
}
schema_of_text!(Period, "duration", r"^\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*(us|ms|s|m|min|h|d)\s*$");
schema_of_text!(Size, "size", r"^(0|\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*(B|kB|KB|KiB|MB|MiB|GB|GiB)\s*)$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_number_and_a_unit() {
        let ok = |t: &str| t.parse::<Period>().unwrap().0;
        assert_eq!(ok("250ms"), Duration::from_millis(250));
        assert_eq!(ok("1.5 s"), Duration::from_millis(1500));
        assert_eq!(ok("7d"), Duration::from_secs(7 * 86400));
        for bad in ["", "5", "s", "-1s", "1.2.3s", "5 parsecs", "100000d", "NaNs"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_size_knows_decimal_and_binary_units() {
        let ok = |t: &str| t.parse::<Size>().unwrap().0;
        assert_eq!(ok("64KiB"), 65536);
        assert_eq!(ok("2MB"), 2_000_000);
        assert!("64".parse::<Size>().is_err());
    }
}
