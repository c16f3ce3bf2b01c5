//! A connection that is open.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::command::Origin;
use crate::model::{Class, TagId};
use crate::publishers::mqtt_wire::address::Address;
use crate::publishers::mqtt_wire::{
    Asked, Down, FAREWELL, Inbound, LAST_ACK, Publish, Qos, Renewal, Watchdog, Window, Wire,
    stopped_and_stuck,
};
use crate::publishers::publisher::{Context, Directories};
use crate::store::{Next, Reader, Settled};
use crate::telemetry::Connection;

use super::commands::{self, Answer};
use super::compose::{Composer, Message, Taken};
use super::config::Spec;
use super::flight::{Flight, Sent};

/// What the status topic says while the publisher is connected.
const ONLINE: &[u8] = b"online";
/// What it says otherwise.
pub(super) const OFFLINE: &[u8] = b"offline";

/// Why a connection is ended.
pub(super) enum Parted {
    /// The gateway stops.
    Stopped,
    /// What it is made with was replaced.
    Renewed,
}

/// Messages that are composed ahead of what may be sent.
const AHEAD: usize = 100;
/// Batches put into one go, so that commands are met in between.
const MOST_BATCHES: usize = 256;
/// Writes that may wait for their devices; more are refused.
const MOST_WRITES: usize = 64;
/// Answers that may wait to be sent; while so many do, no command is read.
const MOST_ANSWERS: usize = 64;
/// With a budget: so often it is looked whether live values that were put off may go again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One connection.
pub(super) struct Live<'a> {
    spec: &'a Spec,
    broker: &'a Address,
    cx: &'a Context,
    directories: Directories,
    wire: Wire,
    composer: &'a mut Composer,
    window: &'a mut Window,
    flight: Flight,
    /// Composed and not sent.
    out: VecDeque<Message>,
    /// Tags of which the latest value is still to be told, in the order of the file.
    untold: VecDeque<TagId>,
    answers: VecDeque<Answer>,
    writes: JoinSet<Answer>,
    commands: Option<String>,
    flush_at: Option<Instant>,
    watchdog: Watchdog,
    /// PINGREQs seen.
    pings: u64,
    /// The clock's turns when all was told.
    turns: usize,
    /// Bytes sent that the reader was not told of.
    spent: u64,
    /// When it was last looked whether live values were put off.
    looked_at: Instant,
    /// Samples too large for a packet that were told of.
    too_large: u64,
}

impl<'a> Live<'a> {
    pub(super) fn new(
        spec: &'a Spec,
        broker: &'a Address,
        cx: &'a Context,
        wire: Wire,
        composer: &'a mut Composer,
        window: &'a mut Window,
    ) -> Live<'a> {
        let now = Instant::now();
        Live {
            spec,
            broker,
            cx,
            directories: cx.directory.clone(),
            wire,
            window,
            flight: Flight::default(),
            out: VecDeque::new(),
            untold: VecDeque::new(),
            answers: VecDeque::new(),
            writes: JoinSet::new(),
            commands: spec.commands.as_ref().map(|topic| topic.names(&cx.directory.now(), None, None)),
            flush_at: None,
            watchdog: Watchdog::new(spec.ack_timeout, spec.mqtt.keep_alive),
            pings: 0,
            turns: cx.clock.turns(),
            // The CONNECT, nearly.
            spent: 64,
            looked_at: now,
            too_large: composer.too_large,
            composer,
        }
    }

    /// Subscribes to commands, says that it is there, and begins with what is so now.
    pub(super) async fn meet(&mut self, reader: &mut Reader) -> Result<(), Down> {
        if let Some(topic) = &self.commands {
            self.spent += topic.len() as u64 + 8;
            self.wire.subscribe(&[topic.as_str().into()]).await?;
            let heard = timeout(self.spec.ack_timeout, self.wire.heard.wait_for(|h| h.subacks >= 1)).await;
            match heard.map(|heard| heard.map(|h| h.refused)) {
                Err(_) => return Err(self.silent("SUBSCRIBE")),
                Ok(Err(_)) => return Err(Down::new("the connection was lost")),
                Ok(Ok(true)) => {
                    return Err(Down::new(
                        "the broker refuses the subscription to `commands`; check its access list",
                    ));
                }
                Ok(Ok(false)) => {}
            }
        }
        // What is not settled comes again as history; after that the image, which is at least as new.
        reader.rewind();
        self.follow();
        self.composer.reset();
        self.status(ONLINE).await?;
        self.tell_all(|_| true);
        self.report(reader);
        if self.cx.stats.state.set(Connection::Up) {
            tracing::info!(publisher = self.cx.name, broker = %self.broker, "connected");
        }
        Ok(())
    }

    /// Until the connection ends (`Err`) or is to end (`Ok`).
    pub(super) async fn serve(&mut self, reader: &mut Reader, renewal: &mut Renewal) -> Result<Parted, Down> {
        loop {
            self.timers(reader)?;
            self.fill();
            self.send().await?;
            self.report(reader);
            let pull = self.untold.is_empty() && self.out.is_empty() && self.has_room();
            let listen = self.answers.len() + self.writes.len() < MOST_ANSWERS;
            let at = self.next_timer();
            tokio::select! {
                () = self.cx.stop.cancelled() => return Ok(Parted::Stopped),
                () = renewal.due() => return Ok(Parted::Renewed),
                Some(number) = self.wire.acknowledged.recv() => self.acknowledged(number, reader),
                Some(inbound) = self.wire.commands.recv(), if listen => self.command(&inbound),
                heard = self.wire.heard.changed() => {
                    if heard.is_err() {
                        return Err(Down::new("the connection was lost"));
                    }
                }
                Some(answer) = self.writes.join_next(), if !self.writes.is_empty() => {
                    if let Ok(answer) = answer {
                        self.answer(answer);
                    }
                }
                () = sleep_until(at) => {}
                () = self.directories.changed() => self.follow(),
                next = reader.next(), if pull => self.pass(next, reader),
            }
        }
    }

    /// Takes a batch, and all others that are there already.
    fn pass(&mut self, next: Next, reader: &mut Reader) {
        self.take(next, reader);
        for _ in 1..MOST_BATCHES {
            if self.out.len() >= AHEAD || !self.has_room() {
                break;
            }
            let Some(next) = reader.next().now_or_never() else { break };
            self.take(next, reader);
        }
        let full = !self.has_room();
        if self.spec.max_delay.is_zero() || full {
            self.flush();
        } else if self.composer.has_open() && self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + self.spec.max_delay);
        }
    }

    /// Goes on with other devices and tags, where there are.
    fn follow(&mut self) {
        if let Some(directory) = self.directories.news() {
            self.untold.retain(|tag| directory.tag(*tag).is_some());
            self.composer.follow(directory, &mut self.out);
        }
    }

    fn take(&mut self, next: Next, reader: &mut Reader) {
        // A batch of what is new came after word of it.
        self.follow();
        let (seq, batch, history) = match next {
            Next::Live(seq, batch) => (seq, batch, false),
            Next::History(seq, batch) => (seq, batch, true),
        };
        let samples = batch.samples.len();
        self.composer.cut_to(self.window.packet());
        let (last, whole) = match self.composer.take(&batch, history, &mut self.out) {
            Taken::Empty => return reader.settle(seq, Settled::Sent),
            Taken::Never => return reader.settle(seq, Settled::Rejected),
            Taken::Upto(last) => (last, true),
            Taken::Torn(last) => (last, false),
        };
        self.flight.batch(Sent { seq, samples, history, last, whole });
        if self.composer.too_large > self.too_large {
            let lost = self.composer.too_large - self.too_large;
            self.too_large = self.composer.too_large;
            tracing::warn!(publisher = self.cx.name, samples = lost, "larger than `max-packet`, not sent");
        }
    }

    /// Whether one more batch may be taken from the reader.
    fn has_room(&self) -> bool {
        self.flight.has_room(self.window.bytes())
    }

    fn flush(&mut self) {
        self.flush_at = None;
        self.composer.flush(&mut self.out);
    }

    /// The latest value of these tags is to be told as live.
    fn tell_all(&mut self, which: impl Fn(TagId) -> bool) {
        self.turns = self.cx.clock.turns();
        self.untold = self.cx.directory.now().tags().iter().map(|t| t.id).filter(|id| which(*id)).collect();
    }

    /// Composes from what is still to be told.
    fn fill(&mut self) {
        while self.out.len() < AHEAD {
            let Some(tag) = self.untold.pop_front() else { return };
            if let Some(sample) = self.cx.store.latest(tag) {
                self.composer.show(&sample, &mut self.out);
            }
            if self.untold.is_empty() {
                self.flush();
            }
        }
    }

    /// Sends what may be sent; never waits for an acknowledgement.
    async fn send(&mut self) -> Result<(), Down> {
        while self.flight.has_slot(self.window.bytes()) {
            let message = match self.answers.pop_front() {
                Some(answer) => self.result(&answer),
                None => match self.out.pop_front() {
                    Some(message) => message,
                    None => break,
                },
            };
            // With QoS 0 the last of a run is acknowledged, and proves the others.
            let last = self.answers.is_empty() && self.out.is_empty();
            let proof = self.flight.wants_proof(message.bytes(), self.window.bytes());
            let acknowledged = self.spec.acknowledged || last || proof;
            self.hand(message, acknowledged).await?;
        }
        Ok(())
    }

    async fn hand(&mut self, message: Message, acknowledged: bool) -> Result<(), Down> {
        self.cx.stats.messages.bump();
        self.spent += message.bytes();
        self.flight.message(message.part, acknowledged, message.bytes(), Instant::now());
        let Message { topic, payload, retain, .. } = message;
        let qos = if acknowledged { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let message = Publish { topic, payload: payload.into(), qos, retain };
        tokio::select! {
            sent = self.wire.publish(message) => sent,
            // A dead socket must not hold up a clean stop.
            () = stopped_and_stuck(&self.cx.stop) => Err(Down::new("stopped while the broker took no data")),
        }
    }

    /// Tells the status topic, if there is one.
    async fn status(&mut self, what: &[u8]) -> Result<(), Down> {
        let Some(topic) = &self.spec.status_topic else { return Ok(()) };
        let topic = topic.names(&self.cx.directory.now(), None, None).into();
        self.hand(Message { topic, payload: what.into(), retain: true, part: 0 }, true).await
    }

    fn acknowledged(&mut self, number: u64, reader: &mut Reader) {
        let mut next = Some(number);
        while let Some(number) = next {
            if let Some((bytes, sent)) = self.flight.sent(number) {
                self.window.answered(bytes, sent, Instant::now());
            }
            for sent in self.flight.acknowledged(number) {
                if !sent.whole {
                    reader.settle(sent.seq, Settled::Rejected);
                    continue;
                }
                reader.settle(sent.seq, Settled::Sent);
                let samples = sent.samples as u64;
                self.cx.stats.delivered.add(samples);
                if sent.history {
                    self.cx.stats.history.add(samples);
                }
            }
            next = self.wire.acknowledged.try_recv().ok();
        }
    }

    /// What was sent counts against the budget.
    fn report(&mut self, reader: &mut Reader) {
        if self.spent > 0 {
            self.cx.stats.sent_bytes.add(self.spent);
            reader.spent(std::mem::take(&mut self.spent));
        }
    }

    /// What is due by time.
    fn timers(&mut self, reader: &mut Reader) -> Result<(), Down> {
        // Answers that have come are met before their lateness is judged.
        if let Ok(number) = self.wire.acknowledged.try_recv() {
            self.acknowledged(number, reader);
        }
        let now = Instant::now();
        self.heard()?;
        if self.flush_at.is_some_and(|at| now >= at) {
            self.flush();
        }
        if self.cx.clock.turns() != self.turns {
            // The clock was put right, and with it the time of all that was told.
            self.flush();
            self.composer.forget();
            self.tell_all(|_| true);
        }
        if self.cx.outbox.budget.is_some() && self.untold.is_empty() && now >= self.looked_at + LOOK_EVERY {
            self.looked_at = now;
            let missed: Vec<Class> = reader.missed();
            if !missed.is_empty() {
                let directory = self.cx.directory.now();
                self.tell_all(|tag| missed.contains(&directory.class(tag)));
            }
        }
        if self.flight.waits_since().is_some_and(|since| now >= since + self.spec.ack_timeout) {
            return Err(self.silent("PUBLISH"));
        }
        if let Some((asked, _)) = self.watchdog.overdue(now) {
            return Err(self.silent(asked.packet()));
        }
        Ok(())
    }

    /// What the broker answered.
    fn heard(&mut self) -> Result<(), Down> {
        let heard = *self.wire.heard.borrow_and_update();
        if heard.rejected > 0 {
            // Only MQTT 5 says so. What it was is not settled, and comes again.
            return Err(Down::new(format!(
                "broker {}: it refuses a message; check that it allows the topic, its quota, and the size",
                self.broker
            )));
        }
        if heard.pongs >= heard.pings || heard.pings != self.pings {
            self.watchdog.answered(Asked::Ping);
        }
        if heard.pongs < heard.pings {
            self.watchdog.asked(Asked::Ping, Instant::now());
        }
        self.pings = heard.pings;
        Ok(())
    }

    fn next_timer(&self) -> Instant {
        let mut at = Instant::now() + Duration::from_secs(3600);
        let mut due = |when: Option<Instant>| at = when.map_or(at, |when| at.min(when));
        due(self.flush_at);
        due(self.flight.waits_since().map(|since| since + self.spec.ack_timeout));
        due(self.watchdog.next().map(|(at, _)| at));
        due(self.cx.outbox.budget.map(|_| self.looked_at + LOOK_EVERY));
        at
    }

    fn silent(&self, what: &str) -> Down {
        Down::new(format!(
            "broker {}: it did not answer a {what} in time; the link or the broker is stuck; connecting anew",
            self.broker
        ))
    }

    fn command(&mut self, inbound: &Inbound) {
        self.cx.stats.commands.bump();
        let now = self.cx.clock.now();
        let asked = commands::read(&inbound.payload, inbound.retained, now, &self.cx.directory.now());
        let Some((tag, value)) = asked.write else { return self.answer(asked.answer) };
        if self.writes.len() >= MOST_WRITES {
            tracing::warn!(target: "audit", publisher = self.cx.name, tag = tag.0, %value, "write refused: too many writes");
            return self.answer(asked.answer.refused("too many writes"));
        }
        let (gate, publisher) = (self.cx.gate.clone(), self.cx.name.clone());
        let mut write = Box::pin(async move {
            let outcome = gate.write(tag, value, &Origin { publisher, who: String::new() }).await;
            asked.answer.with(outcome)
        });
        // The first poll puts it into the link's mailbox: so writes keep their order.
        match write.as_mut().now_or_never() {
            Some(answer) => self.answer(answer),
            None => drop(self.writes.spawn(write)),
        }
    }

    fn answer(&mut self, answer: Answer) {
        if !answer.ok {
            self.cx.stats.refused.bump();
            tracing::debug!(publisher = self.cx.name, ?answer, "command refused");
        }
        self.answers.push_back(answer);
    }

    /// An answer as it goes to the topic of the results.
    fn result(&self, answer: &Answer) -> Message {
        let topic = format!("{}/result", self.commands.as_deref().unwrap_or_default());
        let payload = serde_json::to_vec(answer).unwrap_or_default();
        Message { topic: topic.into(), payload, retain: false, part: 0 }
    }

    /// Why the connection ended.
    pub(super) async fn why(&mut self, down: Down) -> Down {
        self.window.lost(self.flight.waits_since().map(|since| since.elapsed()));
        self.wire.why(down).await
    }

    /// What is under way, `offline`, then DISCONNECT.
    pub(super) async fn farewell(mut self, reader: &mut Reader) {
        let name = self.cx.name.clone();
        let said = timeout(FAREWELL, async {
            self.flush();
            self.send().await?;
            self.status(OFFLINE).await?;
            let last = Instant::now() + LAST_ACK;
            while !self.flight.is_empty() {
                match tokio::time::timeout_at(last, self.wire.acknowledged.recv()).await {
                    Ok(Some(number)) => self.acknowledged(number, reader),
                    _ => break,
                }
                self.send().await?;
            }
            self.report(reader);
            self.wire.disconnect().await;
            Ok::<(), Down>(())
        });
        match said.await {
            Ok(Ok(())) => tracing::info!(publisher = name, "said good-bye"),
            _ => tracing::warn!(
                publisher = name,
                "could not say good-bye in time; what is not acknowledged is sent again"
            ),
        }
    }
}
