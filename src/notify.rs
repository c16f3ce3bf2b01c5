//! Tells the service manager (systemd's sd_notify(3)) how the gateway stands; without one, nobody is told.
//!
//! A message is one datagram to the socket in `$NOTIFY_SOCKET`. One that cannot be sent is a word in the log and no
//! more: the gateway's work does not depend on who watches it.

use std::time::Duration;

use sd_notify::NotifyState;

/// The first plan runs.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// What `systemctl status` shows.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// Another configuration is taken over from here on, until [`reloaded`]; also where the whole program is about to be
/// started again in its own place, which to the service manager is the same.
pub fn reloading() {
    // systemd 253 and later relate the message to the reload that they asked for by its time. Not by the crate's own
    // clock, which overflows where a `time_t` has 32 bits.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    send(&[NotifyState::Reloading, NotifyState::MonotonicUsec(micros), NotifyState::Status("reloading")]);
}

/// The reload is over, whether the configuration was taken or not; `status` says which.
pub fn reloaded(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// An orderly stop began. The watchdog counts no more.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// All that must come on does: the watchdog counts anew.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is wanted at least, where a watchdog is set for this process (sd_watchdog_enabled(3)).
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|within| !within.is_zero())
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
