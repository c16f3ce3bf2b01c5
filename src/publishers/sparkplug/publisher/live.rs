//! A connection that is open: subscribed, born, and passing on what the store has.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::command::WriteOutcome;
use crate::model::{DeviceState, Sample};
use crate::publishers::mqtt_wire::address::Address;
use crate::publishers::mqtt_wire::{
    Asked, Down, Qos, Renewal, Walk, Watchdog, Window, Wire, stopped_and_stuck,
};
use crate::publishers::publisher::{Context, Directories};
use crate::publishers::sparkplug::config::Spec;
use crate::publishers::sparkplug::delivery::{Fence, Held, Sent};
use crate::publishers::sparkplug::session::{Kind, Message, Session, Taken};
use crate::store::{Next, Reader, Settled};
use crate::telemetry::Connection;

use super::primary::Primary;
use super::{End, publish};

/// Batches put into one go, so that commands are met in between.
const MOST_BATCHES: usize = 256;

/// A connection that is open.
pub(super) struct Live<'a> {
    pub(super) spec: &'a Spec,
    pub(super) broker: &'a Address,
    pub(super) cx: &'a Context,
    pub(super) directories: Directories,
    pub(super) reader: &'a mut Reader,
    pub(super) walk: &'a mut Walk,
    pub(super) window: &'a mut Window,
    pub(super) first_poll_until: Instant,
    pub(super) session: Session,
    pub(super) wire: Wire,
    /// NCMD, by which the fence is made, first.
    pub(super) filters: Vec<Arc<str>>,
    pub(super) primary: Option<Primary<'a>>,
    pub(super) fence: Fence,
    pub(super) held: Held,
    pub(super) watchdog: Watchdog,
    pub(super) out: Vec<Message>,
    pub(super) writes: JoinSet<WriteOutcome>,
    /// SUBSCRIBEs sent.
    pub(super) fences: u64,
    pub(super) fence_raised: Instant,
    /// PINGREQs seen.
    pub(super) pings: u64,
    /// An NBIRTH was sent.
    pub(super) is_born: bool,
    pub(super) born_at: Instant,
    /// The clock's turns when it was born.
    pub(super) born_turns: usize,
    pub(super) rebirth: bool,
    pub(super) flush_at: Option<Instant>,
    /// Bytes sent that the reader was not told of.
    pub(super) spent: u64,
    /// When it was last looked whether live values were put off.
    pub(super) looked_at: Instant,
}

impl Live<'_> {
    /// Until the connection ends, or is to end.
    pub(super) async fn run(&mut self, renewal: &mut Renewal) -> End {
        let stop = self.cx.stop.clone();
        let met = tokio::select! {
            () = stop.cancelled() => Err(End::Stopped),
            () = renewal.due() => Err(End::Renewed),
            met = self.meet() => met,
        };
        if let Err(end) = met {
            // It may have been cut off between messages: no batch of theirs counts as sent.
            self.fence.forget();
            return end;
        }
        loop {
            if let Err(end) = self.serve(renewal).await {
                return end;
            }
        }
    }

    /// Subscribes, waits for the first poll and the primary host, and is born.
    async fn meet(&mut self) -> Result<(), End> {
        // tck-id-message-flow-edge-node-birth-publish-subscribe: subscribed before the birth.
        self.subscribe(self.filters.len()).await?;
        while self.wire.heard.borrow().subacks < 1 {
            let due = self.next_timer();
            tokio::select! {
                heard = self.wire.heard.changed() => self.is_heard(heard.is_ok())?,
                () = sleep_until(due) => {}
            }
            self.watch()?;
        }
        if self.wire.heard.borrow().refused {
            let what = if self.primary.is_some() { "NCMD, DCMD or STATE" } else { "NCMD and DCMD" };
            let why =
                format!("{}: it refuses the subscription to {what}; check its access list", self.broker);
            return Err(Down::new(why).into());
        }
        let unknown = |d: &crate::model::Device| self.cx.store.device_state(d.id) == DeviceState::Unknown;
        while Instant::now() < self.first_poll_until && self.cx.directory.now().devices().iter().any(unknown)
        {
            sleep(Duration::from_millis(10)).await;
            self.watch()?;
        }
        self.await_host().await?;
        self.rewind();
        self.births().await?;
        self.report();
        if self.cx.stats.state.set(Connection::Up) {
            tracing::info!(publisher = self.cx.name, broker = %self.broker, "born");
        }
        Ok(())
    }

    /// All that is not settled comes again as history: births must be made after this, so that
    /// what is left out as live is in them.
    fn rewind(&mut self) {
        self.reader.rewind();
        self.fence.forget();
        self.held = Held::default();
    }

    pub(super) async fn births(&mut self) -> Result<(), End> {
        self.rebirth = false;
        if let Some(directory) = self.directories.news() {
            self.session.follow(directory, &self.cx.store, self.cx.clock.now(), &mut self.out);
        }
        if self.session.has_pending() {
            // It is not settled and comes again.
            self.rewind();
        }
        self.born_at = Instant::now();
        self.born_turns = self.cx.clock.turns();
        self.session.births(&self.cx.store, self.cx.clock.now(), &mut self.out);
        self.is_born = true;
        self.send().await?;
        self.release().await
    }

    /// Meets the next thing that comes or is due.
    async fn serve(&mut self, renewal: &mut Renewal) -> Result<(), End> {
        let pull = !self.rebirth && self.fence.has_room(self.window.bytes());
        let at = self.next_timer();
        tokio::select! {
            () = self.cx.stop.cancelled() => return Err(End::Stopped),
            () = renewal.due() => return Err(End::Renewed),
            Some(inbound) = self.wire.commands.recv() => self.inbound(inbound)?,
            heard = self.wire.heard.changed() => self.is_heard(heard.is_ok())?,
            Some(done) = self.writes.join_next(), if !self.writes.is_empty() => {
                if !matches!(done, Ok(Ok(()))) {
                    self.cx.stats.refused.bump();
                }
            }
            () = sleep_until(at) => {}
            () = self.directories.changed() => self.follow().await?,
            next = self.reader.next(), if pull => self.pass(next).await?,
        }
        self.timers().await?;
        self.report();
        Ok(())
    }

    /// Goes on with other devices and tags, where there are.
    async fn follow(&mut self) -> Result<(), End> {
        let Some(directory) = self.directories.news() else { return Ok(()) };
        self.flush_at = None;
        self.rebirth |= !self.session.follow(directory, &self.cx.store, self.cx.clock.now(), &mut self.out);
        self.send().await?;
        if self.rebirth {
            // What was given and is not told is not lost: all that is not settled comes again.
            self.rewind();
        }
        for device in self.held.devices().filter(|device| !self.session.knows(*device)).collect::<Vec<_>>() {
            for (seq, _) in self.held.release(device) {
                self.reader.settle(seq, Settled::Rejected);
            }
        }
        self.release().await
    }

    /// Passes a batch on, and all others that are there already.
    async fn pass(&mut self, next: Next) -> Result<(), End> {
        // A batch of what is new came after word of it.
        self.follow().await?;
        if self.rebirth {
            // No data until the births. It is not settled, and comes again after them.
            return Ok(());
        }
        let window = self.window.bytes();
        let mut bytes = self.take(next);
        for _ in 1..MOST_BATCHES {
            if self.fence.bytes() + bytes >= window || !self.fence.has_room(window) {
                break;
            }
            let Some(next) = self.reader.next().now_or_never() else { break };
            self.follow().await?;
            if self.rebirth {
                break;
            }
            bytes += self.take(next);
        }
        let full = self.fence.is_urgent(window) || !self.fence.has_room(window) || bytes >= window;
        if self.spec.max_delay.is_zero() || full {
            self.flush_at = None;
            self.session.flush(self.cx.clock.now(), &mut self.out);
        } else if self.session.has_pending() && self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + self.spec.max_delay);
        }
        self.send().await?;
        self.release().await
    }

    /// Gives about how many bytes it will be.
    fn take(&mut self, next: Next) -> u64 {
        let (seq, batch, history) = match next {
            Next::Live(seq, batch) => (seq, batch, false),
            Next::History(seq, batch) => (seq, batch, true),
        };
        self.session.cut_to(self.window.packet());
        let bytes = batch.samples.iter().map(weight).sum();
        match self.session.take(&batch, history, &self.cx.store, self.cx.clock.now(), &mut self.out) {
            Taken::Told => self.fence.sent(Sent { seq, samples: batch.samples.len(), history }),
            Taken::Unborn => self.held.hold(seq, batch),
            Taken::Never => self.reader.settle(seq, Settled::Rejected),
        }
        bytes
    }

    /// Sends what was held for devices that are born now.
    async fn release(&mut self) -> Result<(), End> {
        let born: Vec<_> = self.held.devices().filter(|d| self.session.is_born(*d)).collect();
        for device in born {
            for (seq, batch) in self.held.release(device) {
                self.take(Next::History(seq, batch));
            }
            self.session.flush(self.cx.clock.now(), &mut self.out);
            self.send().await?;
        }
        if self.held.must_rewind() {
            self.rewind();
            self.rebirth = true;
        }
        Ok(())
    }

    pub(super) async fn send(&mut self) -> Result<(), End> {
        let mut messages = std::mem::take(&mut self.out).into_iter();
        while let Some(message) = messages.next() {
            if let Err(end) = self.pace().await {
                // A stop: they are sent before the farewell, or their batches would count as sent.
                self.out = std::iter::once(message).chain(messages).collect();
                return Err(end);
            }
            let stats = &self.cx.stats;
            match message.kind {
                Kind::Birth => stats.births.bump(),
                Kind::Death => stats.deaths.bump(),
                Kind::Data => {}
            }
            stats.messages.bump();
            self.spent += message.bytes();
            self.fence.wrote(message.bytes(), Instant::now());
            // A dead socket must not hold up a clean stop.
            tokio::select! {
                sent = self.wire.publish(publish(message, Qos::AtMostOnce)) => sent?,
                () = stopped_and_stuck(&self.cx.stop) => {
                    return Err(Down::new("stopped while the broker took no data").into());
                }
            }
        }
        Ok(())
    }

    /// Waits until less is under way than the window.
    async fn pace(&mut self) -> Result<(), End> {
        while !self.fence.may_write(self.window.bytes()) {
            if !self.fence.is_under_way() {
                self.subscribe(1).await?;
                self.fence_raised = Instant::now();
                self.fence.mark();
            }
            let due = self.watchdog.next().map_or_else(Instant::now, |(at, _)| at);
            tokio::select! {
                () = self.cx.stop.cancelled() => return Err(End::Stopped),
                heard = self.wire.heard.changed() => self.is_heard(heard.is_ok())?,
                () = sleep_until(due) => {}
            }
            self.watch()?;
        }
        Ok(())
    }

    /// SUBSCRIBE to the first filters.
    pub(super) async fn subscribe(&mut self, filters: usize) -> Result<(), End> {
        let filters = self.filters.get(..filters).unwrap_or_default();
        self.spent += filters.iter().map(|f| f.len() as u64 + 3).sum::<u64>() + 4;
        self.wire.subscribe(filters).await?;
        self.fences += 1;
        self.watchdog.asked(Asked::Subscribe, Instant::now());
        Ok(())
    }

    /// What was sent counts against the budget.
    pub(super) fn report(&mut self) {
        if self.spent > 0 {
            self.cx.stats.sent_bytes.add(self.spent);
            self.reader.spent(std::mem::take(&mut self.spent));
        }
    }

    /// Tells what is so now where live values were put off for want of budget.
    pub(super) async fn catch_up(&mut self) -> Result<(), End> {
        for class in self.reader.missed() {
            self.session.catch_up(class, &self.cx.store, self.cx.clock.now(), &mut self.out);
            self.session.flush(self.cx.clock.now(), &mut self.out);
            self.send().await?;
            self.release().await?;
        }
        Ok(())
    }
}

/// About how many bytes a sample takes in a payload: alias, time stamp, flag and value.
fn weight(sample: &Sample) -> u64 {
    24 + sample.value.as_ref().map_or(0, |value| value.bytes() as u64)
}
