//! What is due by time: births, flushes, the fence, and answers that stay out.

use std::time::Duration;

use tokio::time::Instant;

use crate::publishers::mqtt_wire::{Asked, Down};
use crate::publishers::sparkplug::delivery::Sent;
use crate::store::Settled;

use super::End;
use super::live::Live;

/// Shortest time between two fences while little is under way.
const FENCE_EVERY: Duration = Duration::from_millis(250);
/// With a budget: so often it is looked whether live values that were put off may go again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Births at most so often, however many are asked for.
const REBIRTH_EVERY: Duration = Duration::from_secs(1);

impl Live<'_> {
    /// What the broker answered.
    pub(super) fn heard(&mut self) {
        let heard = *self.wire.heard.borrow_and_update();
        if heard.subacks >= self.fences {
            self.watchdog.answered(Asked::Subscribe);
            if self.fence.is_under_way() {
                if let Some((bytes, since)) = self.fence.fenced() {
                    self.window.answered(bytes, since, Instant::now());
                }
                let arrived = self.fence.answered();
                self.settle(arrived);
            }
        }
        if heard.pongs >= heard.pings || heard.pings != self.pings {
            self.watchdog.answered(Asked::Ping);
        }
        if heard.pongs < heard.pings {
            self.watchdog.asked(Asked::Ping, Instant::now());
        }
        self.pings = heard.pings;
    }

    /// The same, where it is not sure that the connection is there.
    pub(super) fn is_heard(&mut self, is_open: bool) -> Result<(), End> {
        if !is_open {
            return Err(Down::new("the connection was lost").into());
        }
        self.heard();
        Ok(())
    }

    pub(super) fn settle(&mut self, arrived: Vec<Sent>) {
        for sent in arrived {
            self.reader.settle(sent.seq, Settled::Sent);
            let samples = sent.samples as u64;
            self.cx.stats.delivered.add(samples);
            if sent.history {
                self.cx.stats.history.add(samples);
            }
        }
    }

    /// Does what is due.
    pub(super) async fn timers(&mut self) -> Result<(), End> {
        let now = Instant::now();
        // The clock was put right, and with it the time of all that the births said.
        self.rebirth |= self.cx.clock.turns() != self.born_turns;
        if self.rebirth && now >= self.born_at + REBIRTH_EVERY {
            self.births().await?;
        }
        if self.flush_at.is_some_and(|at| now >= at) {
            self.flush_at = None;
            self.session.flush(self.cx.clock.now(), &mut self.out);
            self.send().await?;
        }
        if self.cx.outbox.budget.is_some() && !self.rebirth && now >= self.looked_at + LOOK_EVERY {
            self.looked_at = now;
            self.catch_up().await?;
        }
        // What waits for `max-delay` is not sent yet, and no fence may cover it.
        let may_fence = !self.session.has_pending();
        if may_fence
            && self.fence.is_wanted()
            && (self.fence.is_urgent(self.window.bytes()) || now >= self.fence_raised + FENCE_EVERY)
        {
            self.subscribe(1).await?;
            self.fence_raised = now;
            self.fence.raise();
        }
        self.watch()
    }

    /// Whether the broker still answers.
    pub(super) fn watch(&mut self) -> Result<(), End> {
        // An answer that has come is met before its lateness is judged.
        self.heard();
        let Some((asked, had)) = self.watchdog.overdue(Instant::now()) else { return Ok(()) };
        Err(Down::new(format!(
            "{}: it did not answer a {} within {had:?}; the link or the broker is stuck; connecting anew",
            self.broker,
            asked.packet()
        ))
        .into())
    }

    pub(super) fn next_timer(&self) -> Instant {
        let mut at = Instant::now() + Duration::from_secs(3600);
        let mut due = |when: Instant| at = at.min(when);
        if self.rebirth {
            due(self.born_at + REBIRTH_EVERY);
        }
        if let Some(flush_at) = self.flush_at {
            due(flush_at);
        } else if self.fence.is_wanted() {
            due(self.fence_raised + FENCE_EVERY);
        }
        if self.cx.outbox.budget.is_some() {
            due(self.looked_at + LOOK_EVERY);
        }
        if let Some((overdue, _)) = self.watchdog.next() {
            due(overdue);
        }
        at
    }
}
