//! The publisher's task: one connection after the other, from birth to death.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::command::{Origin, WriteOutcome};
use crate::model::{DeviceState, TagId, Value};
use crate::publishers::publisher::{Context, PublishError, Publisher};
use crate::store::{Next, Reader, ReaderOptions, Settled};
use crate::telemetry::Connection;

use super::backoff::Backoff;
use super::bdseq::BdSeq;
use super::client::{Credentials, Down, Inbound, Will, Wire};
use super::commands::{self, Asked};
use super::config::Spec;
use super::delivery::{Fence, Held, Sent};
use super::session::{Kind, Message, Session, Taken};

/// Publishes as a Sparkplug B edge node.
#[derive(Debug)]
pub struct Sparkplug {
    spec: Spec,
}

/// How long the first birth waits for the first answers of the devices.
const FIRST_POLL: Duration = Duration::from_secs(3);
/// Shortest time between two fences while little is under way.
const FENCE_EVERY: Duration = Duration::from_millis(250);
/// With a budget: so often it is looked whether live values that were put off may go again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for any answer of the broker; shorter with a short keep-alive.
const PATIENCE: Duration = Duration::from_secs(15);
/// Births at most so often, however many are asked for.
const REBIRTH_EVERY: Duration = Duration::from_secs(1);
/// Writes that may wait for their devices; more are refused.
const MOST_WRITES: usize = 64;
/// Batches put into one go, so that commands are met in between.
const MOST_BATCHES: usize = 256;
/// A connection that lasts so long was a good one.
const LASTING: Duration = Duration::from_secs(10);
/// How long a message under way may take when the stop comes.
const STUCK: Duration = Duration::from_millis(300);
/// What a farewell may take after that; the supervisor waits 1.5 s.
const FAREWELL: Duration = Duration::from_millis(1000);
/// Part of it in which the broker may acknowledge the NDEATH.
const LAST_ACK: Duration = Duration::from_millis(600);

impl Sparkplug {
    /// A publisher as the plan wants it.
    pub fn new(spec: Spec) -> Sparkplug {
        Sparkplug { spec }
    }
}

impl Publisher for Sparkplug {
    async fn run(self, cx: Context) -> Result<(), PublishError> {
        let spec = self.spec;
        let scheme = if spec.tls { "mqtts" } else { "mqtt" };
        let address = format!("{scheme}://{}:{}", spec.host, spec.port);
        *cx.stats.address.lock().unwrap_or_else(|e| e.into_inner()) = address.clone();
        let mut reader = cx.store.reader(&cx.name, ReaderOptions { durable: true, rules: Some(cx.outbox) });
        let mut bd_seq = BdSeq::load(&cx.folder).await;
        let mut backoff = Backoff::new();
        let first_poll_until = Instant::now() + FIRST_POLL;
        let mut closed_soon = 0;
        cx.stats.state.set(Connection::Connecting);
        while !cx.stop.is_cancelled() {
            let started = Instant::now();
            let mut down = match connection(&spec, &cx, &mut reader, &mut bd_seq, first_poll_until).await {
                Ok(()) => break,
                Err(down) => down,
            };
            let lasted = started.elapsed() >= LASTING;
            if lasted {
                backoff.reset();
            }
            closed_soon = if down.closed && !lasted { closed_soon + 1 } else { 0 };
            if closed_soon >= 3 {
                down.why += "; it did so several times soon after connecting: another client with the same \
                             client id takes its place, or the broker forbids a topic; give each gateway its own `client-id`";
            }
            let pause = backoff.pause();
            if cx.stats.state.down(down.why.clone()) {
                tracing::warn!(publisher = cx.name, %address, next_try = ?pause, "{}", down.why);
            } else {
                tracing::debug!(publisher = cx.name, %address, next_try = ?pause, "{}", down.why);
            }
            tokio::select! {
                () = cx.stop.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        cx.stats.state.set(Connection::Stopped);
        Ok(())
    }
}

/// One connection; `Ok` after a clean stop.
async fn connection(
    spec: &Spec,
    cx: &Context,
    reader: &mut Reader,
    bd_seq: &mut BdSeq,
    first_poll_until: Instant,
) -> Result<(), Down> {
    // Before the bdSeq: a failure here burns none.
    let credentials =
        credentials(spec, cx).await.map_err(|why| Down { why, connect_sent: false, closed: false })?;
    let session = Session::new(cx.directory.clone(), bd_seq.next().await, spec.max_packet);
    let will = session.death(cx.clock.now());
    let will_bytes = will.bytes();
    // tck-id-payloads-ndeath-will-message-retain
    let will = Will { topic: will.topic, payload: will.payload, retain: false };
    let wire = tokio::select! {
        () = cx.stop.cancelled() => return Ok(()),
        wire = Wire::open(spec, credentials, Some(will), cx.stats.clone()) => match wire {
            Ok(wire) => wire,
            Err(down) => {
                if !down.connect_sent {
                    bd_seq.not_used();
                }
                return Err(down);
            }
        },
    };
    cx.stats.connects.bump();
    let now = Instant::now();
    let mut live = Live {
        filters: [session.topics().node("NCMD"), session.topics().device("DCMD", "+")],
        spec,
        cx,
        session,
        wire,
        fence: Fence::default(),
        held: Held::default(),
        out: Vec::new(),
        writes: JoinSet::new(),
        fences: 0,
        fence_raised: now,
        ping_seen: (0, now),
        born_at: now,
        born_turns: cx.clock.turns(),
        rebirth: false,
        flush_at: None,
        // The CONNECT with its will.
        spent: will_bytes + 64,
        looked_at: now,
    };
    let met = tokio::select! {
        () = cx.stop.cancelled() => None,
        met = live.meet(reader, first_poll_until) => Some(met),
    };
    let ended = match met {
        Some(Ok(())) => live.serve(reader).await,
        Some(Err(down)) => Err(down),
        None => Ok(()),
    };
    match ended {
        Ok(()) => live.farewell(reader).await,
        Err(down) => {
            // The event loop knows better why a message could not be handed over.
            let known = timeout(Duration::from_millis(100), live.wire_ended()).await.ok().flatten();
            return Err(known.unwrap_or(down));
        }
    }
    Ok(())
}

pub(in crate::publishers) async fn credentials(spec: &Spec, cx: &Context) -> Result<Credentials, String> {
    let default = || format!("{}-{}-{}", cx.directory.group, cx.directory.node, cx.name);
    let client_id = spec.client_id.clone().unwrap_or_else(default);
    let spec = spec.clone();
    let read = move || -> Result<Credentials, String> {
        let password = spec.password.as_ref().map(crate::model::Secret::reveal).transpose();
        #[cfg(feature = "tls")]
        let tls = if spec.tls { Some(crate::tls::client_config(spec.ca.as_deref(), None)?) } else { None };
        Ok(Credentials {
            client_id,
            password: password.map_err(|error| error.to_string())?,
            #[cfg(feature = "tls")]
            tls,
        })
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// A little after the stop: what is not handed over by then will not be.
async fn stopped_and_stuck(stop: &tokio_util::sync::CancellationToken) {
    stop.cancelled().await;
    sleep(STUCK).await;
}

/// A connection that is open.
struct Live<'a> {
    spec: &'a Spec,
    cx: &'a Context,
    session: Session,
    wire: Wire,
    filters: [Arc<str>; 2],
    fence: Fence,
    held: Held,
    out: Vec<Message>,
    writes: JoinSet<WriteOutcome>,
    /// SUBSCRIBEs sent.
    fences: u64,
    fence_raised: Instant,
    /// PINGREQs seen, and when the last was.
    ping_seen: (u64, Instant),
    born_at: Instant,
    /// The clock's turns when it was born.
    born_turns: usize,
    rebirth: bool,
    flush_at: Option<Instant>,
    /// Bytes sent that the reader was not told of.
    spent: u64,
    /// When it was last looked whether live values were put off.
    looked_at: Instant,
}

impl Live<'_> {
    /// Subscribes, waits for the first poll, and is born.
    async fn meet(&mut self, reader: &mut Reader, first_poll_until: Instant) -> Result<(), Down> {
        self.subscribe(2).await?;
        self.fences = 1;
        // tck-id-message-flow-edge-node-birth-publish-subscribe: subscribed before the birth.
        let patience = self.patience();
        let granted = timeout(patience, self.wire.heard.wait_for(|h| h.subacks >= 1)).await;
        let refused = granted.map(|heard| heard.map(|h| h.refused));
        match refused {
            Err(_) => return Err(self.silent("SUBSCRIBE")),
            Ok(Err(_)) => return Err(Down::new("the connection was lost")),
            Ok(Ok(true)) => {
                return Err(Down::new(
                    "the broker refuses the subscription to NCMD and DCMD; check its access list",
                ));
            }
            Ok(Ok(false)) => {}
        }
        let unknown = |d: &crate::model::Device| self.cx.store.device_state(d.id) == DeviceState::Unknown;
        while Instant::now() < first_poll_until && self.cx.directory.devices().iter().any(unknown) {
            sleep(Duration::from_millis(10)).await;
        }
        self.rewind(reader);
        self.births(reader).await?;
        self.report(reader);
        if self.cx.stats.state.set(Connection::Up) {
            tracing::info!(publisher = self.cx.name, broker = self.spec.host, port = self.spec.port, "born");
        }
        Ok(())
    }

    /// All that is not settled comes again as history: births must be made after this, so that
    /// what is left out as live is in them.
    fn rewind(&mut self, reader: &mut Reader) {
        reader.rewind();
        self.fence = Fence::default();
        self.held = Held::default();
    }

    async fn births(&mut self, reader: &mut Reader) -> Result<(), Down> {
        self.rebirth = false;
        if self.session.has_pending() {
            // It is not settled and comes again.
            self.rewind(reader);
        }
        self.born_at = Instant::now();
        self.born_turns = self.cx.clock.turns();
        self.session.births(&self.cx.store, self.cx.clock.now(), &mut self.out);
        self.send().await?;
        self.release(reader).await
    }

    /// Until the connection ends (`Err`) or the gateway stops (`Ok`).
    async fn serve(&mut self, reader: &mut Reader) -> Result<(), Down> {
        loop {
            let pull = !self.rebirth && self.fence.has_room();
            let at = self.next_timer();
            tokio::select! {
                () = self.cx.stop.cancelled() => return Ok(()),
                Some(inbound) = self.wire.commands.recv() => self.command(inbound).await?,
                heard = self.wire.heard.changed() => {
                    if heard.is_err() {
                        return Err(Down::new("the connection was lost"));
                    }
                    self.heard(reader);
                }
                Some(done) = self.writes.join_next(), if !self.writes.is_empty() => {
                    if !matches!(done, Ok(Ok(()))) {
                        self.cx.stats.refused.bump();
                    }
                }
                () = sleep_until(at) => {}
                next = reader.next(), if pull => self.pass(next, reader).await?,
            }
            self.timers(reader).await?;
            self.report(reader);
        }
    }

    /// Passes a batch on, and all others that are there already.
    async fn pass(&mut self, next: Next, reader: &mut Reader) -> Result<(), Down> {
        self.take(next, reader);
        for _ in 1..MOST_BATCHES {
            if !self.fence.has_room() {
                break;
            }
            let Some(next) = reader.next().now_or_never() else { break };
            self.take(next, reader);
        }
        let full = self.fence.is_urgent() || !self.fence.has_room();
        if self.spec.max_delay.is_zero() || full {
            self.flush_at = None;
            self.session.flush(self.cx.clock.now(), &mut self.out);
        } else if self.session.has_pending() && self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + self.spec.max_delay);
        }
        self.send().await?;
        self.release(reader).await
    }

    fn take(&mut self, next: Next, reader: &mut Reader) {
        let (seq, batch, history) = match next {
            Next::Live(seq, batch) => (seq, batch, false),
            Next::History(seq, batch) => (seq, batch, true),
        };
        match self.session.take(&batch, history, &self.cx.store, self.cx.clock.now(), &mut self.out) {
            Taken::Told => self.fence.sent(Sent { seq, samples: batch.samples.len(), history }),
            Taken::Unborn => self.held.hold(seq, batch),
            Taken::Never => reader.settle(seq, Settled::Rejected),
        }
    }

    /// Sends what was held for devices that are born now.
    async fn release(&mut self, reader: &mut Reader) -> Result<(), Down> {
        let born: Vec<_> = self.held.devices().filter(|d| self.session.is_born(*d)).collect();
        for device in born {
            for (seq, batch) in self.held.release(device) {
                self.take(Next::History(seq, batch), reader);
            }
            self.session.flush(self.cx.clock.now(), &mut self.out);
            self.send().await?;
        }
        if self.held.must_rewind() {
            self.rewind(reader);
            self.rebirth = true;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Down> {
        for message in std::mem::take(&mut self.out) {
            let stats = &self.cx.stats;
            match message.kind {
                Kind::Birth => stats.births.bump(),
                Kind::Death => stats.deaths.bump(),
                Kind::Data => {}
            }
            stats.messages.bump();
            self.spent += message.bytes();
            // A dead socket must not hold up a clean stop.
            tokio::select! {
                sent = self.wire.publish(message) => sent?,
                () = stopped_and_stuck(&self.cx.stop) => {
                    return Err(Down::new("stopped while the broker took no data"));
                }
            }
        }
        Ok(())
    }

    /// SUBSCRIBE to the first filters.
    async fn subscribe(&mut self, filters: usize) -> Result<(), Down> {
        let filters = self.filters.get(..filters).unwrap_or_default();
        self.spent += filters.iter().map(|f| f.len() as u64 + 3).sum::<u64>() + 4;
        self.wire.subscribe(filters).await
    }

    /// What was sent counts against the budget.
    fn report(&mut self, reader: &mut Reader) {
        if self.spent > 0 {
            self.cx.stats.sent_bytes.add(self.spent);
            reader.spent(std::mem::take(&mut self.spent));
        }
    }

    /// Tells what is so now where live values were put off for want of budget.
    async fn catch_up(&mut self, reader: &mut Reader) -> Result<(), Down> {
        for class in reader.missed() {
            self.session.catch_up(class, &self.cx.store, self.cx.clock.now(), &mut self.out);
            self.session.flush(self.cx.clock.now(), &mut self.out);
            self.send().await?;
            self.release(reader).await?;
        }
        Ok(())
    }

    fn heard(&mut self, reader: &mut Reader) {
        let heard = *self.wire.heard.borrow_and_update();
        if self.fence.is_under_way() && heard.subacks >= self.fences {
            let arrived = self.fence.answered();
            self.settle(arrived, reader);
        }
        if heard.pings != self.ping_seen.0 {
            self.ping_seen = (heard.pings, Instant::now());
        }
    }

    fn settle(&self, arrived: Vec<Sent>, reader: &mut Reader) {
        for sent in arrived {
            reader.settle(sent.seq, Settled::Sent);
            let samples = sent.samples as u64;
            self.cx.stats.delivered.add(samples);
            if sent.history {
                self.cx.stats.history.add(samples);
            }
        }
    }

    /// What is due by time.
    async fn timers(&mut self, reader: &mut Reader) -> Result<(), Down> {
        // An answer that has come is met before its lateness is judged.
        self.heard(reader);
        let now = Instant::now();
        // The clock was put right, and with it the time of all that the births said.
        self.rebirth |= self.cx.clock.turns() != self.born_turns;
        if self.rebirth && now >= self.born_at + REBIRTH_EVERY {
            self.births(reader).await?;
        }
        if self.flush_at.is_some_and(|at| now >= at) {
            self.flush_at = None;
            self.session.flush(self.cx.clock.now(), &mut self.out);
            self.send().await?;
        }
        if self.cx.outbox.budget.is_some() && !self.rebirth && now >= self.looked_at + LOOK_EVERY {
            self.looked_at = now;
            self.catch_up(reader).await?;
        }
        // What waits for `max-delay` is not sent yet, and no fence may cover it.
        let may_fence = !self.session.has_pending();
        if may_fence
            && self.fence.is_wanted()
            && (self.fence.is_urgent() || now >= self.fence_raised + FENCE_EVERY)
        {
            self.subscribe(1).await?;
            self.fences += 1;
            self.fence_raised = now;
            self.fence.raise();
        }
        if self.fence.is_under_way() && now >= self.fence_raised + self.patience() {
            return Err(self.silent("SUBSCRIBE"));
        }
        if self.ping_open() && now >= self.ping_seen.1 + self.ping_patience() {
            return Err(self.silent("PINGREQ"));
        }
        Ok(())
    }

    fn next_timer(&self) -> Instant {
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
        if self.fence.is_under_way() {
            due(self.fence_raised + self.patience());
        }
        if self.ping_open() {
            due(self.ping_seen.1 + self.ping_patience());
        }
        at
    }

    /// Whether a PINGREQ waits for its answer.
    fn ping_open(&self) -> bool {
        let heard = self.wire.heard.borrow();
        heard.pongs < heard.pings
    }

    /// How long any answer but that to a ping may take.
    fn patience(&self) -> Duration {
        self.spec.keep_alive.min(PATIENCE)
    }

    /// With one keep-alive until the ping, a dead connection is noticed within one and a half.
    fn ping_patience(&self) -> Duration {
        (self.spec.keep_alive / 2).min(PATIENCE)
    }

    fn silent(&self, what: &str) -> Down {
        Down::new(format!(
            "broker {}:{}: it did not answer a {what} in time; the link or the broker is stuck; connecting anew",
            self.spec.host, self.spec.port
        ))
    }

    async fn command(&mut self, inbound: Inbound) -> Result<(), Down> {
        let now = self.cx.clock.now();
        let Inbound { topic, payload, retained } = inbound;
        let asked = commands::read(self.session.topics(), &topic, &payload, retained, now, &self.session);
        for asked in asked {
            self.cx.stats.commands.bump();
            match asked {
                Asked::Rebirth => {
                    tracing::debug!(publisher = self.cx.name, "a host asks for a rebirth");
                    // No data until the births, not even what waits
                    // (tck-id-operational-behavior-data-commands-rebirth-action-1).
                    self.flush_at = None;
                    self.rebirth = true;
                }
                Asked::Write(tag, value) => self.write(tag, value),
                Asked::Refused(why) => {
                    self.cx.stats.refused.bump();
                    tracing::debug!(publisher = self.cx.name, topic, why, "command refused");
                }
            }
        }
        Ok(())
    }

    /// Starts a write; its value comes home as data.
    fn write(&mut self, tag: TagId, value: Value) {
        if self.writes.len() >= MOST_WRITES {
            self.cx.stats.refused.bump();
            tracing::warn!(target: "audit", publisher = self.cx.name, tag = tag.0, %value, "write refused: too many writes");
            return;
        }
        let (gate, publisher) = (self.cx.gate.clone(), self.cx.name.clone());
        let mut write =
            Box::pin(async move { gate.write(tag, value, &Origin { publisher, who: String::new() }).await });
        // The first poll puts it into the link's mailbox: so writes keep their order.
        match write.as_mut().now_or_never() {
            Some(Ok(())) => {}
            Some(Err(_)) => self.cx.stats.refused.bump(),
            None => drop(self.writes.spawn(write)),
        }
    }

    /// Why the connection ended, where it has.
    async fn wire_ended(&mut self) -> Option<Down> {
        if self.wire.is_over() { Some(self.wire.ended().await) } else { None }
    }

    /// NDEATH, then DISCONNECT (tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath).
    async fn farewell(mut self, reader: &mut Reader) {
        let name = self.cx.name.clone();
        let said = timeout(FAREWELL, async {
            let now = self.cx.clock.now();
            self.session.flush(now, &mut self.out);
            for message in std::mem::take(&mut self.out) {
                self.wire.publish(message).await?;
            }
            self.wire.publish_acknowledged(self.session.death(now)).await?;
            // Its PUBACK proves all that was sent before it.
            let acknowledged = timeout(LAST_ACK, self.wire.heard.wait_for(|h| h.pubacks >= 1)).await;
            if acknowledged.is_ok_and(|heard| heard.is_ok()) {
                let arrived = self.fence.all_arrived();
                self.settle(arrived, reader);
            }
            self.wire.disconnect().await;
            Ok::<(), Down>(())
        });
        match said.await {
            Ok(Ok(())) => tracing::info!(publisher = name, "said good-bye"),
            _ => tracing::warn!(
                publisher = name,
                "could not say good-bye in time; the broker publishes the will"
            ),
        }
    }
}
