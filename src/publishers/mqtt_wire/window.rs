//! How many bytes may be under way, so that the answer to them comes in time however slow the link is. Pure.
//!
//! What the broker is to answer stands in line behind all that was sent before it. Were that more than the link
//! carries within the patience, the connection would be dropped, all sent again, and so on for ever.

use std::time::Duration;

use tokio::time::Instant;

/// The window of one publisher. It outlives connections: a slow link is no faster after a new CONNECT.
#[derive(Debug)]
pub(in crate::publishers) struct Window {
    bytes: u64,
    /// How long an answer may take: that to a ping, too, which stands in the same line.
    patience: Duration,
    /// When it was changed last: what was sent before says nothing of the window as it is now.
    changed: Option<Instant>,
}

impl Window {
    /// At the start: what takes 8 s at 2 kB/s, and on a good link grows to the most within seven answers.
    const FIRST: u64 = 16 << 10;
    /// A few metrics.
    const LEAST: u64 = 512;
    /// So much is lost with a connection at most.
    const MOST: u64 = 2 << 20;

    /// `patience` as the watchdog has it.
    pub(in crate::publishers) fn new(patience: Duration, keep_alive: Duration) -> Window {
        Window { bytes: Self::FIRST, patience: patience.min(keep_alive / 2), changed: None }
    }

    /// More is sent while less than this is under way.
    pub(in crate::publishers) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets are no larger where they can be cut: so much more than the window is under way at most.
    pub(in crate::publishers) fn packet(&self) -> u64 {
        self.bytes / 4
    }

    /// So many bytes, of which the first was sent at `sent`, were answered: the window grows while answers come soon,
    /// and shrinks before they come too late. Half of it tells enough: with one twice as large five times as many
    /// bytes may be under way, in five eighths of the patience.
    pub(in crate::publishers) fn answered(&mut self, answered: u64, sent: Instant, now: Instant) {
        let is_of_now = self.changed.is_none_or(|changed| sent >= changed);
        if answered * 2 < self.bytes || !is_of_now {
            return;
        }
        let took = now.saturating_duration_since(sent);
        let bytes = if took * 8 <= self.patience {
            (self.bytes * 2).min(Self::MOST)
        } else if took * 2 > self.patience {
            (self.bytes / 2).max(Self::LEAST)
        } else {
            self.bytes
        };
        if bytes != self.bytes {
            self.bytes = bytes;
            self.changed = Some(now);
        }
    }

    /// The connection was lost while an answer was out for so long: finally what is under way fits.
    pub(in crate::publishers) fn lost(&mut self, waited: Option<Duration>) {
        if waited.is_some_and(|waited| waited * 2 > self.patience) {
            self.bytes = (self.bytes / 2).clamp(Self::LEAST, Self::FIRST);
        }
        self.changed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Rounds of a link, each as much as the window allows: how the window is at the end, and how many were lost.
    fn link(window: &mut Window, bytes_a_second: u64, rounds: usize) -> usize {
        let (mut now, mut lost) = (Instant::now(), 0);
        for _ in 0..rounds {
            // Filled up to the window, and one more packet.
            let under_way = window.bytes() + window.packet();
            let took = Duration::from_millis(1000 * under_way / bytes_a_second);
            if took > window.patience {
                lost += 1;
                window.lost(Some(window.patience));
            } else {
                window.answered(under_way, now, now + took);
            }
            now += took;
        }
        lost
    }

    #[test]
    fn it_shrinks_until_an_answer_comes_in_time_and_then_nothing_is_lost_anymore() {
        for bytes_a_second in [1100, 2_000, 5_000, 50_000] {
            let mut window = Window::new(SECOND, SECOND * 5);
            assert!(link(&mut window, bytes_a_second, 20) <= 5, "{bytes_a_second}");
            assert_eq!(link(&mut window, bytes_a_second, 1000), 0, "{bytes_a_second}");
        }
    }

    #[test]
    fn it_grows_on_a_good_link_to_its_bound_and_a_link_that_becomes_slow_is_met() {
        let mut window = Window::new(SECOND * 30, SECOND * 30);
        assert_eq!(link(&mut window, 100 << 20, 20), 0);
        assert_eq!(window.bytes(), Window::MOST);
        assert!(link(&mut window, 1000, 20) <= 2, "one jump down to what it began with");
        assert_eq!(link(&mut window, 1000, 100), 0);
    }

    #[test]
    fn only_a_round_that_filled_it_and_began_after_its_last_change_says_something_of_it() {
        let (mut window, start) = (Window::new(SECOND * 4, SECOND * 60), Instant::now());
        window.answered(100, start, start);
        assert_eq!(window.bytes(), Window::FIRST);
        window.answered(Window::FIRST, start, start + SECOND / 2);
        assert_eq!(window.bytes(), Window::FIRST * 2);
        (0..9).for_each(|_| window.answered(Window::FIRST * 2, start, start + SECOND / 2));
        assert_eq!(window.bytes(), Window::FIRST * 2, "they were sent before it grew");
        window.answered(Window::FIRST * 2, start + SECOND, start + SECOND * 4);
        assert_eq!(window.bytes(), Window::FIRST, "halved while there is time");
        window.lost(None);
        window.lost(Some(SECOND));
        assert_eq!(window.bytes(), Window::FIRST, "a broker that closes says nothing of the link");
        (0..99).for_each(|_| window.lost(Some(SECOND * 4)));
        assert_eq!(window.bytes(), Window::LEAST);
    }
}
