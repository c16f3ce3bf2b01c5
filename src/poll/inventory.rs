//! Which devices of a link are to be asked who they are, and when: pure.
//!
//! It is never urgent, so it waits for a moment in which nothing else is due; on a line without such moments it
//! is done after a while all the same.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// The devices that wait, by their number.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    waiting: Vec<(usize, Instant)>,
    /// Did not answer when they were asked: some devices hang on a function that they do not know, so these
    /// are not asked again as long as the task lives.
    silent: BTreeSet<usize>,
}

impl Inventory {
    /// How long a device waits for an idle moment.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// The same for another list of devices: `place` gives where a device stands in it.
    pub(crate) fn moved(self, place: impl Fn(usize) -> Option<usize>) -> Inventory {
        Inventory {
            waiting: self.waiting.into_iter().filter_map(|(at, since)| Some((place(at)?, since))).collect(),
            silent: self.silent.into_iter().filter_map(place).collect(),
        }
    }

    /// A device answers, and did not before: it may be another one now.
    pub(crate) fn born(&mut self, device: usize, now: Instant) {
        if !self.silent.contains(&device) && !self.waiting.iter().any(|(d, _)| *d == device) {
            self.waiting.push((device, now));
        }
    }

    /// It answers no more: it is asked when it does.
    pub(crate) fn died(&mut self, device: usize) {
        self.waiting.retain(|(d, _)| *d != device);
    }

    /// It was silent when asked.
    pub(crate) fn was_silent(&mut self, device: usize) {
        self.silent.insert(device);
    }

    /// The device to be asked now, if any of those that are free.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        idle: bool,
        is_free: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let due = |since: Instant| idle || now.saturating_duration_since(since) >= Self::PATIENCE;
        let at = self.waiting.iter().position(|(device, since)| due(*since) && is_free(*device))?;
        Some(self.waiting.remove(at).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_asked_once_a_birth_in_an_idle_moment_or_after_a_while() {
        let (mut inventory, start) = (Inventory::default(), Instant::now());
        inventory.born(1, start);
        inventory.born(1, start);
        assert_eq!(inventory.next(start, false, |_| true), None);
        assert_eq!(inventory.next(start, true, |_| true), Some(1));
        assert_eq!(inventory.next(start, true, |_| true), None);
        inventory.born(1, start);
        inventory.born(2, start);
        inventory.died(1);
        assert_eq!(inventory.next(start + Inventory::PATIENCE, false, |_| true), Some(2));
        assert_eq!(inventory.next(start + Inventory::PATIENCE, true, |_| true), None);
    }

    #[test]
    fn a_device_that_was_silent_is_not_asked_again() {
        let (mut inventory, start) = (Inventory::default(), Instant::now());
        inventory.was_silent(1);
        inventory.born(1, start);
        assert_eq!(inventory.next(start, true, |_| true), None);
    }

    #[test]
    fn a_device_with_a_request_under_way_waits_and_another_goes_ahead() {
        let (mut inventory, start) = (Inventory::default(), Instant::now());
        inventory.born(1, start);
        inventory.born(2, start);
        assert_eq!(inventory.next(start, true, |device| device == 2), Some(2));
        assert_eq!(inventory.next(start, true, |_| false), None);
        assert_eq!(inventory.next(start, true, |_| true), Some(1));
    }
}
