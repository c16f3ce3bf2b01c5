//! When the log tells that a link went or came back: one that does nothing else would fill the disk with it.

use std::time::Duration;

use tokio::time::Instant;

/// Of one link.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// When it was last said that the link is down.
    last: Option<Instant>,
    /// It is down, and that was said.
    is_told: bool,
    /// How often it broke since without a line.
    unsaid: u32,
}

impl Said {
    /// Between two lines of one link.
    const PAUSE: Duration = Duration::from_secs(60);

    /// The link is down: `Some` where that is to be said, with how often it broke meanwhile. `broke`: it was up before.
    pub(super) fn down(&mut self, broke: bool, now: Instant) -> Option<u32> {
        if !broke && self.is_told {
            return None;
        }
        if self.last.is_some_and(|last| now.duration_since(last) < Self::PAUSE) {
            self.unsaid += u32::from(broke);
            self.is_told = false;
            return None;
        }
        (self.last, self.is_told) = (Some(now), true);
        Some(std::mem::take(&mut self.unsaid))
    }

    /// The link is up: whether that is to be said, which is where the last word was that it is down.
    pub(super) fn up(&mut self) -> bool {
        std::mem::take(&mut self.is_told) || self.last.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_comes_and_goes_is_told_once_a_minute_with_how_often() {
        let (mut said, began) = (Said::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(said.up(), "the first time");
        let mut told = Vec::new();
        for second in 0..=120 {
            told.extend(said.down(true, at(second)).map(|often| (second, often)));
            assert_eq!(said.up(), second % 60 == 0, "{second}");
        }
        assert_eq!(told, [(0, 0), (60, 59), (120, 59)]);
    }

    #[test]
    fn the_last_word_on_a_link_that_stays_down_is_that_it_is() {
        let (mut said, began) = (Said::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(said.down(true, at(0)), Some(0));
        assert_eq!(said.down(false, at(70)), None, "once is enough");
        assert!(said.up());
        assert_eq!(said.down(true, at(100)), Some(0));
        assert!(said.up());
        assert_eq!(said.down(true, at(101)), None);
        assert_eq!(said.down(false, at(130)), None);
        assert_eq!(said.down(false, at(170)), Some(1), "tried again after the minute");
        assert_eq!(said.down(false, at(300)), None);
        assert!(said.up());
    }
}
