//! What came and waits to be read: bounded, with room kept for what must not be lost in a flood.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::telemetry::PublisherStats;

use super::client::{Down, Inbound};

/// Messages that may wait to be read.
const MOST: usize = 256;
/// Of them only for the topic that is vital.
const KEPT: usize = 16;
/// No command is larger than this.
const LONGEST: usize = 1 << 20;
/// No STATE is larger than this, so that those that wait need no bound of bytes.
const LONGEST_VITAL: usize = 4 << 10;
/// Bytes of payload that may wait to be read: 256 of the longest would be more than a small gateway has.
const MOST_BYTES: usize = 4 << 20;

/// The sending end.
pub(super) struct Inbox {
    messages: mpsc::Sender<Inbound>,
    bytes: Arc<Semaphore>,
    /// Nothing of this topic may be left out.
    vital: Option<Arc<str>>,
    stats: Arc<PublisherStats>,
}

impl Inbox {
    pub(super) fn new(
        vital: Option<Arc<str>>,
        stats: Arc<PublisherStats>,
    ) -> (Inbox, mpsc::Receiver<Inbound>) {
        let (messages, read) = mpsc::channel(MOST);
        (Inbox { messages, bytes: Arc::new(Semaphore::new(MOST_BYTES)), vital, stats }, read)
    }

    /// A flood of commands must stop neither data nor answers, so what has no room is refused. What is vital has
    /// room longer; where even that is full the connection ends, and the next one has it retained.
    pub(super) fn put(&self, mut inbound: Inbound) -> Result<(), Down> {
        let size = inbound.payload.len();
        let is_vital = self.vital.as_deref() == Some(&*inbound.topic) && size <= LONGEST_VITAL;
        let has_room = is_vital || size <= LONGEST && self.messages.capacity() > KEPT;
        let bytes = if is_vital { 0 } else { u32::try_from(size).unwrap_or(u32::MAX) };
        inbound.room = has_room.then(|| self.bytes.clone().try_acquire_many_owned(bytes).ok()).flatten();
        if inbound.room.is_some() && self.messages.try_send(inbound).is_ok() {
            return Ok(());
        }
        if is_vital && !self.messages.is_closed() {
            return Err(Down::new("a flood of messages left no room for the STATE of the primary host"));
        }
        self.stats.commands.bump();
        self.stats.refused.bump();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::telemetry::Telemetry;

    fn inbound(topic: &str) -> Inbound {
        Inbound { topic: topic.into(), payload: bytes::Bytes::new(), retained: false, room: None }
    }

    #[test]
    fn a_flood_of_commands_leaves_room_for_what_is_vital_and_is_counted() {
        let stats = Telemetry::new(Timestamp(0)).publisher("cloud", "sparkplug");
        let (inbox, mut read) = Inbox::new(Some("spBv1.0/STATE/scada".into()), stats.clone());
        (0..300).for_each(|_| assert!(inbox.put(inbound("spBv1.0/g/NCMD/n")).is_ok()));
        assert_eq!(stats.refused.get(), 300 - (MOST - KEPT) as u64);
        (0..KEPT).for_each(|_| assert!(inbox.put(inbound("spBv1.0/STATE/scada")).is_ok()));
        assert!(inbox.put(inbound("spBv1.0/STATE/scada")).is_err(), "it is not left out in silence");
        let came: Vec<_> = std::iter::from_fn(|| read.try_recv().ok()).map(|i| i.topic).collect();
        assert_eq!(came.iter().filter(|topic| topic.contains("STATE")).count(), KEPT);
    }
    #[test]
    fn large_messages_wait_only_as_far_as_their_bytes_have_room_and_too_large_ones_never() {
        let stats = Telemetry::new(Timestamp(0)).publisher("cloud", "sparkplug");
        let (inbox, mut read) = Inbox::new(None, stats.clone());
        let sized = |bytes| Inbound { payload: vec![0; bytes].into(), ..inbound("spBv1.0/g/NCMD/n") };
        (0..10).for_each(|_| assert!(inbox.put(sized(LONGEST)).is_ok()));
        assert_eq!((read.len(), stats.refused.get()), (4, 6));
        // What is vital has room all the same; what only has its topic is no reason to end the connection.
        let vital = Inbox { vital: Some("STATE".into()), ..inbox };
        assert!(
            vital.put(inbound("STATE")).is_ok()
                && vital.put(Inbound { payload: vec![0; LONGEST].into(), ..inbound("STATE") }).is_ok()
        );
        assert_eq!((read.len(), stats.refused.get()), (5, 7));
        let inbox = vital;
        // What was read makes room.
        assert!(read.try_recv().is_ok());
        assert!(inbox.put(sized(LONGEST)).is_ok() && inbox.put(sized(LONGEST + 1)).is_ok());
        assert_eq!((read.len(), stats.refused.get()), (5, 8));
    }
}
