//! Waits to within a few microseconds: the runtime's own timer counts in milliseconds, and the silence
//! before each request on a serial line is of that order.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A timer of the kernel's own, waited for like a socket. Without one it waits by the runtime's timer,
/// which is never early and up to a millisecond late.
#[derive(Debug, Default)]
pub(super) struct Pause(Option<AsyncFd<OwnedFd>>);

impl Pause {
    /// Within a runtime; a system without such timers gets the coarse one.
    pub(super) fn new() -> Pause {
        // `AsyncFd::register` has its caller promise, in unsafe code, that the descriptor is owned and never
        // exchanged. It is, as the type below shows; unsafe code is kept to one file of this crate.
        #[allow(deprecated)]
        let register = AsyncFd::new;
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC);
        Pause(fd.ok().and_then(|fd| register(fd).ok()))
    }

    /// A thread that sleeps wakes late by about so much at most.
    pub(super) const LATE: Duration = Duration::from_micros(250);

    /// Returns at that moment or a little later, never before.
    pub(super) async fn until(&mut self, at: Instant) {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if self.precise(left).await.is_err() {
                self.0 = None;
                return tokio::time::sleep_until(at).await;
            }
        }
    }

    /// The same within a few microseconds: awake for the last of it. Only where somebody waits for the line, which
    /// is where it is full: then these microseconds are the line's, before every request.
    pub(super) async fn sharply(&mut self, at: Instant) {
        if let Some(sleeps) = at.checked_sub(Self::LATE) {
            self.until(sleeps).await;
        }
        while Instant::now() < at {
            std::hint::spin_loop();
        }
    }

    async fn precise(&mut self, left: Duration) -> io::Result<()> {
        let Some(timer) = &mut self.0 else { return Err(io::ErrorKind::Unsupported.into()) };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        let once = Itimerspec { it_interval: zero, it_value: left };
        timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut ready = timer.readable().await?;
        let mut expirations = [0; 8];
        // A wait that was cancelled may have left its expiry behind: whoever calls looks at the clock.
        let _ = rustix::io::read(ready.get_inner(), &mut expirations);
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_never_early_also_after_a_wait_that_was_cancelled() {
        let mut pause = Pause::new();
        let long = Instant::now() + Duration::from_secs(60);
        let cancelled = tokio::time::timeout(Duration::from_millis(2), pause.until(long)).await;
        assert!(cancelled.is_err());
        for micros in [1, 300, 1750, 4000] {
            let at = Instant::now() + Duration::from_micros(micros);
            pause.until(at).await;
            assert!(Instant::now() >= at, "{micros} µs");
            let at = Instant::now() + Duration::from_micros(micros);
            pause.sharply(at).await;
            assert!(Instant::now() >= at, "{micros} µs, sharply");
        }
    }

    #[tokio::test]
    async fn without_a_timer_of_the_kernel_it_still_waits() {
        let at = Instant::now() + Duration::from_millis(3);
        Pause::default().until(at).await;
        assert!(Instant::now() >= at);
    }
}
