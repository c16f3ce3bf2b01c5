//! The faults as they are written on the command line.

use std::str::FromStr;
use std::time::Duration;

use crate::model::Period;
use crate::simulate::modbus::manner::{self, Often};

/// `20s/60s`: silent for the first time of every second one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Silence(pub(super) manner::Silence);

/// `50ms`, or `50ms..80ms` by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Delay {
    pub(super) least: Duration,
    pub(super) jitter: Duration,
}

/// `every=5,by=700ms` or `20%,by=700ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Late {
    pub(super) often: Often,
    /// How long after the master's time-out.
    pub(super) by: Duration,
}

/// `2%`, `every=50`, with `,code=6` for another exception than 4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exceptions(pub(super) manner::Exceptions);

/// `1%` or `every=100`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HowOften(pub(super) Often);

/// `0.1%`
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percent(pub(super) f64);

impl FromStr for Silence {
    type Err = String;

    fn from_str(text: &str) -> Result<Silence, String> {
        let (lasts, every) = text.split_once('/').ok_or("write 20s/60s: silent for 20 s of every 60 s")?;
        let (lasts, every) = (lasts.parse::<Period>()?.0, every.parse::<Period>()?.0);
        // The devices are there at first, so that the change is seen.
        let after = every.checked_sub(lasts).filter(|_| !lasts.is_zero());
        let after = after.ok_or("the silence lasts longer than the time after which it comes again")?;
        Ok(Silence(manner::Silence { after, lasts, every }))
    }
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Delay, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (least.parse::<Period>()?.0, most.parse::<Period>()?.0);
        let jitter = most.checked_sub(least).ok_or("write the shorter time first, as 50ms..80ms")?;
        Ok(Delay { least, jitter })
    }
}

impl FromStr for Late {
    type Err = String;

    fn from_str(text: &str) -> Result<Late, String> {
        let hint = "write every=5,by=700ms: every fifth answer comes 700 ms after the time-out";
        let (often, by) = text.split_once(',').ok_or(hint)?;
        let by = by.trim().strip_prefix("by=").ok_or(hint)?.parse::<Period>()?.0;
        Ok(Late { often: often.parse::<HowOften>()?.0, by })
    }
}

impl FromStr for Exceptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Exceptions, String> {
        let (often, code) = text.split_once(',').unwrap_or((text, "code=4"));
        let code = code.trim().strip_prefix("code=").and_then(|code| code.parse().ok()).filter(|c| *c > 0);
        let code = code.ok_or("write the exception as code=4, 1 to 255")?;
        Ok(Exceptions(manner::Exceptions { often: often.parse::<HowOften>()?.0, code }))
    }
}

impl FromStr for HowOften {
    type Err = String;

    fn from_str(text: &str) -> Result<HowOften, String> {
        let hint = || format!("`{text}` does not say how often: write 2% or every=50");
        match text.trim().strip_prefix("every=") {
            Some(n) => n.parse().ok().filter(|n| *n > 0).map(|n| HowOften(Often::Every(n))).ok_or_else(hint),
            None => text.parse::<Percent>().map(|p| HowOften(Often::Chance(p.0))).map_err(|_| hint()),
        }
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let number = text.trim().strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
        let number = number.filter(|n| (0.0..=100.0).contains(n));
        number.map(|n| Percent(n / 100.0)).ok_or_else(|| format!("`{text}` is no share: write 0% to 100%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        let s = Duration::from_secs;
        let ms = Duration::from_millis;
        let silence = manner::Silence { after: s(40), lasts: s(20), every: s(60) };
        assert_eq!("20s/60s".parse(), Ok(Silence(silence)));
        assert_eq!("50ms".parse(), Ok(Delay { least: ms(50), jitter: ms(0) }));
        assert_eq!("50ms..80ms".parse(), Ok(Delay { least: ms(50), jitter: ms(30) }));
        assert_eq!("every=5,by=700ms".parse(), Ok(Late { often: Often::Every(5), by: ms(700) }));
        assert_eq!("20%, by=1s".parse(), Ok(Late { often: Often::Chance(0.2), by: s(1) }));
        let exceptions = |often, code| Ok(Exceptions(manner::Exceptions { often, code }));
        assert_eq!("2%".parse(), exceptions(Often::Chance(0.02), 4));
        assert_eq!("every=9,code=6".parse(), exceptions(Often::Every(9), 6));
        assert_eq!("0.1%".parse(), Ok(Percent(0.001)));
    }

    #[test]
    fn what_is_no_fault_is_told() {
        for wrong in ["20s", "60s/20s", "0s/1s", "20/60"] {
            assert!(wrong.parse::<Silence>().is_err(), "{wrong}");
        }
        for wrong in ["every=0", "2", "101%", "-1%", "NaN%", "often"] {
            assert!(wrong.parse::<HowOften>().is_err(), "{wrong}");
        }
        assert!("80ms..50ms".parse::<Delay>().is_err());
        assert!("every=5".parse::<Late>().is_err());
        assert!("2%,code=0".parse::<Exceptions>().is_err());
    }
}
