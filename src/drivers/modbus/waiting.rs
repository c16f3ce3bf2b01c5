//! The transactions in flight on one connection: pure; an answer finds who asked by its identifier.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::tcp::Frame;
use crate::model::Fault;

/// What comes of a transaction: the PDU of its answer.
pub(super) type Outcome = Result<Vec<u8>, Fault>;

/// Who waits on a connection.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    last: u16,
    by_transaction: HashMap<u16, (u8, oneshot::Sender<Outcome>)>,
    timeouts_in_a_row: u32,
    /// Answers that came too late since this was last taken.
    late: u64,
}

impl Waiting {
    /// A new transaction with this unit. Messaging guide V1.0b section 4.4.1.2: its identifier is that of no
    /// other one in flight.
    pub(super) fn enter(&mut self, unit: u8) -> (u16, oneshot::Receiver<Outcome>) {
        // At most a few are in flight, so one of the next few is free.
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.by_transaction.contains_key(&self.last) {
                break;
            }
        }
        let (sender, answer) = oneshot::channel();
        self.by_transaction.insert(self.last, (unit, sender));
        (self.last, answer)
    }

    /// An answer is there. One that nobody waits for is late, and dropped.
    pub(super) fn answer(&mut self, frame: &Frame<'_>) {
        let Some((unit, sender)) = self.by_transaction.remove(&frame.transaction) else {
            tracing::debug!("a late answer was dropped");
            self.late += 1;
            return;
        };
        self.timeouts_in_a_row = 0;
        let outcome = if frame.unit == unit { Ok(frame.pdu.to_vec()) } else { Err(Fault::Garbled) };
        // Who asked may have gone meanwhile.
        let _ = sender.send(outcome);
    }

    /// How many answers came too late since this was last asked.
    pub(super) fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// Nobody waits for this one any more. Gives how many in a row were not answered.
    pub(super) fn give_up(&mut self, transaction: u16) -> u32 {
        self.by_transaction.remove(&transaction);
        self.timeouts_in_a_row += 1;
        self.timeouts_in_a_row
    }

    /// The connection is gone, and all that was in flight on it.
    pub(super) fn end(&mut self, fault: Fault) {
        self.timeouts_in_a_row = 0;
        for (_, (_, sender)) in self.by_transaction.drain() {
            let _ = sender.send(Err(fault));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Frame<'_> {
        Frame { transaction, unit, pdu, used: 7 + pdu.len() }
    }

    #[test]
    fn each_answer_finds_who_asked_in_whatever_order_they_come() {
        let mut waiting = Waiting::default();
        let (first, mut one) = waiting.enter(1);
        let (second, mut two) = waiting.enter(1);
        assert_ne!(first, second);
        waiting.answer(&frame(second, 1, &[3, 2, 0, 2]));
        assert!(one.try_recv().is_err());
        assert_eq!(two.try_recv(), Ok(Ok(vec![3, 2, 0, 2])));
        waiting.answer(&frame(first, 1, &[3, 2, 0, 1]));
        assert_eq!(one.try_recv(), Ok(Ok(vec![3, 2, 0, 1])));
    }

    #[test]
    fn a_late_answer_finds_nobody_and_one_of_another_unit_is_no_value() {
        let mut waiting = Waiting::default();
        let (late, _) = waiting.enter(1);
        assert_eq!(waiting.give_up(late), 1);
        let (next, mut answer) = waiting.enter(1);
        waiting.answer(&frame(late, 1, &[3, 2, 0, 9]));
        assert!(answer.try_recv().is_err());
        assert_eq!((waiting.take_late(), waiting.take_late()), (1, 0));
        waiting.answer(&frame(next, 2, &[3, 2, 0, 9]));
        assert_eq!(answer.try_recv(), Ok(Err(Fault::Garbled)));
    }

    #[test]
    fn an_identifier_in_flight_is_not_given_again() {
        let mut waiting = Waiting::default();
        let (held, _answer) = waiting.enter(1);
        for _ in 0..=u32::from(u16::MAX) {
            let (next, _) = waiting.enter(1);
            assert_ne!(next, held);
            waiting.give_up(next);
        }
    }
}
