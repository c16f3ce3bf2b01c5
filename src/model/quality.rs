//! How far a sample can be trusted.

/// The quality of a sample. Decided in `normalize/quality.rs` and nowhere else, but for what a clock that was
/// not set takes from it (`model/clock.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quality {
    /// The value is what the device said.
    Good,
    /// There is a value, to be used with care.
    Uncertain(Uncertain),
    /// There is no value.
    Bad(Bad),
}

/// Why a value is to be used with care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Uncertain {
    /// Outside the tag's `low` … `high`.
    OutOfLimits,
    /// It is not known when it was taken: the clock was not synchronised, and cannot be put right any more.
    TimeUnknown,
    /// It is of before: what it is made from has no value now. So alarms keep their state.
    LastKnown,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bad {
    /// Not read yet since the start.
    Waiting,
    /// The port or the socket is not open.
    NotConnected,
    /// The device did not answer in time.
    NoAnswer,
    /// What came was no valid answer.
    Garbled,
    /// The device refused the request with this exception code.
    Refused(u8),
    /// The device says that it is busy.
    Busy,
    /// The driver or the device cannot do this.
    Unsupported,
    /// The registers hold a float that is no finite number.
    NotANumber,
    /// The bytes are no valid text.
    NotText,
    /// The tag is no longer polled (its link was stopped or removed).
    Stopped,
    /// The tag is only written.
    NeverRead,
}

impl Quality {
    /// Whether the value can be used without care.
    pub fn is_good(self) -> bool {
        self == Quality::Good
    }

    /// Whether there is no value.
    pub fn is_bad(self) -> bool {
        matches!(self, Quality::Bad(_))
    }

    /// Two bytes for the spool; [`Quality::from_code`] is the inverse.
    pub fn code(self) -> u16 {
        match self {
            Quality::Good => 0x0000,
            Quality::Uncertain(Uncertain::OutOfLimits) => 0x4001,
            Quality::Uncertain(Uncertain::TimeUnknown) => 0x4002,
            Quality::Uncertain(Uncertain::LastKnown) => 0x4003,
            Quality::Bad(bad) => match bad {
                Bad::Waiting => 0x8001,
                Bad::NotConnected => 0x8002,
                Bad::NoAnswer => 0x8003,
                Bad::Garbled => 0x8004,
                Bad::Busy => 0x8005,
                Bad::Unsupported => 0x8006,
                Bad::NotANumber => 0x8007,
                Bad::NotText => 0x8008,
                Bad::Stopped => 0x8009,
                Bad::NeverRead => 0x800A,
                Bad::Refused(code) => 0x8100 | u16::from(code),
            },
        }
    }

    /// The quality that has this code, `None` for a code that no version of this program wrote.
    pub fn from_code(code: u16) -> Option<Quality> {
        Some(match code {
            0x0000 => Quality::Good,
            0x4001 => Quality::Uncertain(Uncertain::OutOfLimits),
            0x4002 => Quality::Uncertain(Uncertain::TimeUnknown),
            0x4003 => Quality::Uncertain(Uncertain::LastKnown),
            0x8001 => Quality::Bad(Bad::Waiting),
            0x8002 => Quality::Bad(Bad::NotConnected),
            0x8003 => Quality::Bad(Bad::NoAnswer),
            0x8004 => Quality::Bad(Bad::Garbled),
            0x8005 => Quality::Bad(Bad::Busy),
            0x8006 => Quality::Bad(Bad::Unsupported),
            0x8007 => Quality::Bad(Bad::NotANumber),
            0x8008 => Quality::Bad(Bad::NotText),
            0x8009 => Quality::Bad(Bad::Stopped),
            0x800A => Quality::Bad(Bad::NeverRead),
            0x8100..=0x81FF => Quality::Bad(Bad::Refused((code & 0xFF) as u8)),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Quality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Quality::Good => write!(f, "good"),
            Quality::Uncertain(Uncertain::OutOfLimits) => write!(f, "uncertain: out of limits"),
            Quality::Uncertain(Uncertain::TimeUnknown) => write!(f, "uncertain: time not known"),
            Quality::Uncertain(Uncertain::LastKnown) => write!(f, "uncertain: last known value"),
            Quality::Bad(bad) => match bad {
                Bad::Waiting => write!(f, "bad: not read yet"),
                Bad::NotConnected => write!(f, "bad: not connected"),
                Bad::NoAnswer => write!(f, "bad: no answer"),
                Bad::Garbled => write!(f, "bad: garbled answer"),
                Bad::Refused(code) => write!(f, "bad: refused with exception {code}"),
                Bad::Busy => write!(f, "bad: device busy"),
                Bad::Unsupported => write!(f, "bad: not supported"),
                Bad::NotANumber => write!(f, "bad: not a number"),
                Bad::NotText => write!(f, "bad: not valid text"),
                Bad::Stopped => write!(f, "bad: no longer polled"),
                Bad::NeverRead => write!(f, "bad: never read"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quality_comes_back_from_its_code() {
        for code in 0..=u16::MAX {
            if let Some(quality) = Quality::from_code(code) {
                assert_eq!(quality.code(), code);
            }
        }
    }
}
