//! How a simulated device behaves beyond its registers, as data: slow, or silent now and then.

use std::time::Duration;

/// The manner of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// Time that it takes to answer.
    pub delay: Duration,
    /// When it does not answer at all.
    pub silence: Option<Silence>,
}

/// Silent from `after` on for `lasts`, and again each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Time from the start to the first silence.
    pub after: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// Time from the start of one to the start of the next.
    pub every: Duration,
}

/// What a device does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It answers after this time.
    After(Duration),
    /// It neither answers nor does what was asked.
    Never,
}

impl Manner {
    /// What it does with a request that comes at this time after its start.
    pub fn reply(&self, now: Duration) -> Reply {
        if self.silence.is_some_and(|s| s.covers(now)) { Reply::Never } else { Reply::After(self.delay) }
    }
}

impl Silence {
    fn covers(&self, now: Duration) -> bool {
        let Some(since) = now.checked_sub(self.after) else { return false };
        // A period of nothing would be a silence without end.
        let phase = since.as_nanos().checked_rem(self.every.as_nanos()).unwrap_or(0);
        phase < self.lasts.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_comes_ends_and_comes_again() {
        let s = Duration::from_secs;
        let silence = Some(Silence { after: s(20), lasts: s(8), every: s(40) });
        let manner = Manner { delay: s(1), silence };
        let silent: Vec<_> = (0..120).filter(|t| manner.reply(s(*t)) == Reply::Never).collect();
        assert_eq!(silent, [20..28, 60..68, 100..108].into_iter().flatten().collect::<Vec<_>>());
        assert_eq!(manner.reply(s(0)), Reply::After(s(1)));
    }

    #[test]
    fn without_a_silence_a_device_always_answers() {
        let manner = Manner::default();
        assert!((0..1000).all(|t| manner.reply(Duration::from_secs(t)) == Reply::After(Duration::ZERO)));
    }
}
