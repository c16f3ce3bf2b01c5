//! Which block is due next: pure, earliest deadline first.

use std::time::Duration;

use tokio::time::Instant;

/// When each block of a link is due. A block's deadline is one period after it is due, so that a fast
/// class goes first, and under overload a slow one is served once its deadline is the earliest.
#[derive(Debug)]
pub(crate) struct Schedule {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    due: Instant,
    period: Duration,
}

impl Schedule {
    /// All blocks are due at once.
    pub(crate) fn new(periods: impl IntoIterator<Item = Duration>, now: Instant) -> Schedule {
        Schedule { entries: periods.into_iter().map(|period| Entry { due: now, period }).collect() }
    }

    /// The block to read now: due, allowed, and with the earliest deadline. `allowed` says from when on a
    /// block may be read, or `None`: not at all.
    pub(crate) fn next(&self, now: Instant, allowed: impl Fn(usize) -> Option<Instant>) -> Option<usize> {
        let may = |block| allowed(block).is_some_and(|from| from <= now);
        let due = self.entries.iter().enumerate().filter(|(block, e)| e.due <= now && may(*block));
        due.min_by_key(|(_, e)| e.due + e.period).map(|(block, _)| block)
    }

    /// When the next of the allowed blocks is due.
    pub(crate) fn wake(&self, allowed: impl Fn(usize) -> Option<Instant>) -> Option<Instant> {
        let due = |(block, entry): (usize, &Entry)| Some(entry.due.max(allowed(block)?));
        self.entries.iter().enumerate().filter_map(due).min()
    }

    /// Block `at` is as due as block `old_at` of an earlier schedule was.
    pub(crate) fn take_over(&mut self, at: usize, old: &Schedule, old_at: usize) {
        if let (Some(entry), Some(old)) = (self.entries.get_mut(at), old.entries.get(old_at)) {
            entry.due = old.due;
        }
    }

    /// The block was started at `now`. Gives how many periods were missed; the next one keeps the
    /// beat of the first, so that a late poll does not shift all later ones.
    pub(crate) fn started(&mut self, block: usize, now: Instant) -> u64 {
        let Some(entry) = self.entries.get_mut(block) else { return 0 };
        let late = now.saturating_duration_since(entry.due);
        let missed = u32::try_from(late.as_nanos() / entry.period.as_nanos().max(1)).unwrap_or(u32::MAX);
        entry.due += entry.period.saturating_mul(missed.saturating_add(1));
        u64::from(missed)
    }

    /// The block was started and not read: it is due at once.
    pub(crate) fn again(&mut self, block: usize, now: Instant) {
        if let Some(entry) = self.entries.get_mut(block) {
            entry.due = now;
        }
    }

    /// The block was read out of turn: its beat starts anew.
    pub(crate) fn restart(&mut self, block: usize, now: Instant) {
        if let Some(entry) = self.entries.get_mut(block) {
            entry.due = now + entry.period;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[tokio::test(start_paused = true)]
    async fn a_fast_class_goes_first_and_a_slow_one_never_starves() {
        let start = Instant::now();
        let mut schedule = Schedule::new([MS(10), MS(100)], start);
        // Every read takes 10 ms: the fast class alone would fill the link.
        let mut served = [0, 0];
        for step in 0..100 {
            let now = start + MS(step * 10);
            let block = schedule.next(now, |_| Some(start)).unwrap();
            schedule.started(block, now);
            served[block] += 1;
        }
        assert!(served[1] >= 4, "{served:?}");
        assert!(served[0] >= 90, "{served:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_poll_is_counted_and_keeps_the_beat() {
        let start = Instant::now();
        let mut schedule = Schedule::new([MS(100)], start);
        assert_eq!(schedule.started(0, start + MS(250)), 2);
        assert_eq!(schedule.wake(|_| Some(start)), Some(start + MS(300)));
        assert_eq!(schedule.started(0, start + MS(300)), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_that_is_not_wanted_is_not_read() {
        let start = Instant::now();
        let schedule = Schedule::new([MS(10), MS(100)], start);
        assert_eq!(schedule.next(start, |block| (block == 1).then_some(start)), Some(1));
        assert_eq!(schedule.next(start, |_| None), None);
        assert_eq!(schedule.wake(|_| None), None);
    }
}
