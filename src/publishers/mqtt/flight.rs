//! What was sent and is not proven to have arrived: pure.
//!
//! A PUBACK proves its message, and all of QoS 0 that went before it on the same connection, since TCP keeps
//! the order. A batch is settled once every message that has a part of it is proven.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::store::Seq;

/// A message that was handed to the wire.
#[derive(Debug)]
struct Message {
    /// The how many-th with QoS 1 it is on this connection; `None`: QoS 0.
    number: Option<u64>,
    /// The data that it brings, as the composer counts; 0: none.
    part: u64,
    proven: bool,
    bytes: u64,
    /// Bytes under way when it was sent, with its own.
    ahead: u64,
    at: Instant,
}

/// A batch of which all parts were composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) seq: Seq,
    pub(super) samples: usize,
    pub(super) history: bool,
    /// Its last part.
    pub(super) last: u64,
    /// False where something of it could not be sent.
    pub(super) whole: bool,
}

/// Messages and batches under way on one connection.
#[derive(Debug, Default)]
pub(super) struct Flight {
    messages: VecDeque<Message>,
    batches: VecDeque<Sent>,
    /// Messages with QoS 1 so far.
    numbered: u64,
    /// Those that are not acknowledged.
    open: usize,
    /// QoS 0 since the last one.
    unnumbered: usize,
    unnumbered_bytes: u64,
    /// Of the messages that are not proven.
    bytes: u64,
    samples: usize,
    /// All parts up to this one are proven.
    part: u64,
}

impl Flight {
    /// Messages with QoS 1 that may be unanswered: what the MQTT client and AWS IoT Core allow.
    const MOST_OPEN: usize = 100;
    /// Messages with QoS 0 between two with QoS 1.
    const MOST_UNNUMBERED: usize = 200;
    /// Messages under way.
    const MOST_MESSAGES: usize = 4096;
    /// Samples under way; beyond it nothing more is taken from the reader.
    const MOST_SAMPLES: usize = 20_000;
    /// Batches under way: one without samples costs memory, too.
    const MOST_BATCHES: usize = 8192;

    /// Whether one more message may be sent, with a window of so many bytes.
    pub(super) fn has_slot(&self, window: u64) -> bool {
        self.open < Self::MOST_OPEN && self.messages.len() < Self::MOST_MESSAGES && self.bytes < window
    }

    /// Whether one more batch may be taken from the reader.
    pub(super) fn has_room(&self, window: u64) -> bool {
        self.has_slot(window) && self.samples < Self::MOST_SAMPLES && self.batches.len() < Self::MOST_BATCHES
    }

    /// Whether the next message, of so many bytes, must have QoS 1 also where QoS 0 is wanted, so that what went
    /// before is proven, and the window never full of what nobody answers.
    pub(super) fn wants_proof(&self, bytes: u64, window: u64) -> bool {
        self.unnumbered >= Self::MOST_UNNUMBERED
            || self.messages.len() + 1 >= Self::MOST_MESSAGES
            || (self.unnumbered_bytes + bytes) * 2 >= window
    }

    /// A message was handed to the wire.
    pub(super) fn message(&mut self, part: u64, acknowledged: bool, bytes: u64, now: Instant) {
        let number = acknowledged.then(|| {
            self.numbered += 1;
            self.numbered
        });
        if acknowledged {
            self.open += 1;
            (self.unnumbered, self.unnumbered_bytes) = (0, 0);
        } else {
            self.unnumbered += 1;
            self.unnumbered_bytes += bytes;
        }
        self.bytes += bytes;
        self.messages.push_back(Message { number, part, proven: false, bytes, ahead: self.bytes, at: now });
    }

    /// All parts of a batch are composed.
    pub(super) fn batch(&mut self, sent: Sent) {
        self.samples += sent.samples;
        self.batches.push_back(sent);
    }

    /// The PUBACK of the n-th message with QoS 1 came; gives the batches that have arrived with it.
    pub(super) fn acknowledged(&mut self, number: u64) -> Vec<Sent> {
        let Some(at) = self.messages.iter().position(|m| m.number == Some(number)) else { return Vec::new() };
        for (i, message) in self.messages.iter_mut().enumerate().take(at + 1) {
            if i == at {
                self.open -= usize::from(!message.proven);
            }
            if !message.proven && (i == at || message.number.is_none()) {
                message.proven = true;
                self.bytes -= message.bytes;
            }
        }
        while self.messages.front().is_some_and(|m| m.proven) {
            self.part = self.messages.pop_front().map_or(0, |m| m.part).max(self.part);
        }
        let mut arrived = Vec::new();
        while self.batches.front().is_some_and(|b| b.last <= self.part) {
            arrived.extend(self.batches.pop_front());
        }
        self.samples -= arrived.iter().map(|b| b.samples).sum::<usize>();
        arrived
    }

    /// When the n-th message with QoS 1 was sent, and how many bytes were under way with it; where it is not proven
    /// yet.
    pub(super) fn sent(&self, number: u64) -> Option<(u64, Instant)> {
        self.messages.iter().find(|m| m.number == Some(number) && !m.proven).map(|m| (m.ahead, m.at))
    }

    /// When the oldest message was sent that is not answered.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.messages.iter().find(|m| m.number.is_some() && !m.proven).map(|m| m.at)
    }

    /// Whether all is proven.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.batches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window that nothing fills.
    const MUCH: u64 = 1 << 20;

    fn sent(seq: u64, last: u64) -> Sent {
        Sent { seq: Seq(seq), samples: 1, history: false, last, whole: true }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_settled_when_all_its_messages_are_acknowledged_and_not_before() {
        let mut flight = Flight::default();
        let now = Instant::now();
        (1..=3).for_each(|part| flight.message(part, true, 10, now));
        flight.batch(sent(10, 2));
        flight.batch(sent(11, 3));
        assert_eq!(flight.acknowledged(2), [], "its first message is not answered");
        assert_eq!(flight.acknowledged(1), [sent(10, 2)]);
        assert_eq!(flight.acknowledged(1), [], "twice is once");
        assert_eq!(flight.acknowledged(3), [sent(11, 3)]);
        assert!(flight.is_empty() && flight.waits_since().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_puback_proves_what_went_before_it_at_qos_0_and_nothing_after_it() {
        let mut flight = Flight::default();
        let now = Instant::now();
        for (part, acknowledged) in [(1, false), (2, true), (3, false)] {
            flight.message(part, acknowledged, 10, now);
            flight.batch(sent(part, part));
        }
        assert_eq!(flight.acknowledged(1), [sent(1, 1), sent(2, 2)]);
        assert!(!flight.is_empty());
        flight.message(0, true, 10, now);
        assert_eq!(flight.acknowledged(1), [], "the old answer proves nothing new");
        assert_eq!(flight.acknowledged(2), [sent(3, 3)], "an answer to a command proves it as well");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_whose_last_part_is_not_sent_yet_stays() {
        let mut flight = Flight::default();
        flight.batch(sent(1, 2));
        flight.message(1, true, 10, Instant::now());
        assert_eq!(flight.acknowledged(1), []);
        flight.message(2, true, 10, Instant::now());
        assert_eq!(flight.acknowledged(2), [sent(1, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_bounded() {
        let mut flight = Flight::default();
        let now = Instant::now();
        (0..Flight::MOST_OPEN as u64).for_each(|part| flight.message(part + 1, true, 10, now));
        assert!(!flight.has_slot(MUCH) && !flight.has_room(MUCH));
        flight.acknowledged(50);
        assert!(flight.has_slot(MUCH), "an answer out of order makes room, too");
        flight.batch(Sent { samples: Flight::MOST_SAMPLES, ..sent(1, 99) });
        assert!(flight.has_slot(MUCH) && !flight.has_room(MUCH));
        let mut flight = Flight::default();
        (0..Flight::MOST_UNNUMBERED).for_each(|_| flight.message(1, false, 10, now));
        assert!(flight.wants_proof(10, MUCH));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_under_way_are_bounded_by_the_window_and_what_fills_it_is_always_answered() {
        let (mut flight, now, window) = (Flight::default(), Instant::now(), 100);
        for part in 1..=10 {
            while flight.has_slot(window) {
                flight.message(part, flight.wants_proof(30, window), 30, now);
            }
            assert_eq!(flight.bytes, 120);
            let numbers: Vec<_> = flight.messages.iter().filter_map(|m| m.number).collect();
            for number in numbers {
                assert_eq!(flight.sent(number).map(|(_, at)| at), Some(now));
                flight.acknowledged(number);
                assert_eq!(flight.sent(number), None);
            }
            assert_eq!(flight.bytes, 0);
        }
        let mut flight = Flight::default();
        assert!(flight.wants_proof(1000, window) && flight.has_slot(window), "one larger than it goes alone");
        flight.message(1, true, 1000, now);
        assert!(!flight.has_slot(window));
    }
}
