//! What came and waits to be read: bounded, with room kept for what must not be lost in a flood.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::telemetry::PublisherStats;

use super::client::{Down, Inbound};

/// Messages that may wait to be read.
const MOST: usize = 256;
/// Of them only for the topic that is vital.
const KEPT: usize = 16;

/// The sending end.
pub(super) struct Inbox {
    messages: mpsc::Sender<Inbound>,
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
        (Inbox { messages, vital, stats }, read)
    }

    /// A flood of commands must stop neither data nor answers, so what has no room is refused. What is vital has
    /// room longer; where even that is full the connection ends, and the next one has it retained.
    pub(super) fn put(&self, inbound: Inbound) -> Result<(), Down> {
        let is_vital = self.vital.as_deref() == Some(&*inbound.topic);
        let has_room = is_vital || self.messages.capacity() > KEPT;
        if has_room && self.messages.try_send(inbound).is_ok() {
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
        Inbound { topic: topic.into(), payload: bytes::Bytes::new(), retained: false }
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
}
