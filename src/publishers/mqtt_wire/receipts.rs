//! Which message a PUBACK is for: pure.

use std::collections::HashMap;

use tokio::sync::mpsc;

/// Acknowledgements that may wait to be read; more than there may be messages under way.
pub(super) const RECEIPTS: usize = 1024;

/// Counts the messages with QoS 1 of a connection from 1 and tells the number of each that is acknowledged.
/// Packet ids are used again, the count is not; and not every broker acknowledges in order, as AWS IoT Core says
/// of itself.
#[derive(Debug)]
pub(super) struct Receipts {
    sent: u64,
    /// By packet id.
    numbers: HashMap<u16, u64>,
    to: mpsc::Sender<u64>,
}

impl Receipts {
    pub(super) fn new(to: mpsc::Sender<u64>) -> Receipts {
        Receipts { sent: 0, numbers: HashMap::new(), to }
    }

    /// A PUBLISH was written; id 0 has QoS 0.
    pub(super) fn sent(&mut self, id: u16) {
        if id != 0 {
            self.sent += 1;
            self.numbers.insert(id, self.sent);
        }
    }

    /// A PUBACK came.
    pub(super) fn acknowledged(&mut self, id: u16, taken: bool) {
        if let Some(number) = self.numbers.remove(&id).filter(|_| taken) {
            // Full only where nobody wants to know.
            let _ = self.to.try_send(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_puback_is_told_by_the_number_of_its_message_also_where_ids_are_used_again() {
        let (to, mut told) = mpsc::channel(RECEIPTS);
        let mut receipts = Receipts::new(to);
        [1, 0, 2].into_iter().for_each(|id| receipts.sent(id));
        receipts.acknowledged(2, true);
        receipts.acknowledged(2, true);
        receipts.acknowledged(7, true);
        receipts.sent(2);
        receipts.acknowledged(1, false);
        receipts.acknowledged(2, true);
        drop(receipts);
        assert_eq!((told.recv().await, told.recv().await, told.recv().await), (Some(2), Some(3), None));
    }
}
