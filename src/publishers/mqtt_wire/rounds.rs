//! One connection after the other: when the next is made, and what is told of the one that ended.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::publishers::publisher::Context;
use crate::telemetry::Connection;

use super::address::Address;
use super::takeover::Takeover;
use super::walk::{Walk, up_to};

/// The life of a publisher, connection by connection.
pub(in crate::publishers) struct Rounds<'a> {
    cx: &'a Context,
    brokers: &'a [Address],
    takeover: Takeover,
    pause: Duration,
    began: Instant,
}

impl<'a> Rounds<'a> {
    /// A connection that lasts so long was a good one.
    const LASTING: Duration = Duration::from_secs(5);

    /// Begins after a random wait of up to `start_delay`.
    pub(in crate::publishers) fn new(
        cx: &'a Context,
        brokers: &'a [Address],
        start_delay: Duration,
    ) -> Rounds<'a> {
        cx.stats.state.set(Connection::Connecting);
        Rounds {
            cx,
            brokers,
            takeover: Takeover::default(),
            pause: up_to(start_delay),
            began: Instant::now(),
        }
    }

    /// The broker whose turn it is, once the pause is over; `None` when the gateway stops.
    pub(in crate::publishers) async fn next(&mut self, walk: &Walk) -> Option<&'a Address> {
        tokio::select! {
            () = self.cx.stop.cancelled() => return None,
            () = sleep(self.pause) => {}
        }
        let broker = self.brokers.get(walk.at())?;
        *self.cx.stats.address.lock().unwrap_or_else(|e| e.into_inner()) = broker.to_string();
        self.began = Instant::now();
        Some(broker)
    }

    /// It is made anew at once, with the same broker, because what it is made with was replaced.
    pub(in crate::publishers) fn again(&mut self) {
        self.pause = Duration::ZERO;
        self.cx.stats.state.set(Connection::Connecting);
    }

    /// A connection ended, or could not be made: why, whether the broker closed it, and whether it served, so that
    /// its lasting says that all is well.
    pub(in crate::publishers) fn ended(
        &mut self,
        walk: &mut Walk,
        mut why: String,
        closed: bool,
        served: bool,
    ) {
        let lasted = self.began.elapsed();
        let address = self.brokers.get(walk.at()).map(Address::to_string);
        self.takeover.ended(closed, lasted);
        if self.takeover.is_likely() {
            why = format!("{why}; {}", Takeover::WHY);
        } else if served && lasted >= Self::LASTING {
            walk.lasted();
        }
        self.pause = walk.on();
        let (publisher, next_try) = (&self.cx.name, self.pause);
        if self.cx.stats.state.down(why.clone()) {
            tracing::warn!(publisher, address, ?next_try, "{why}");
        } else {
            tracing::debug!(publisher, address, ?next_try, "{why}");
        }
    }
}
