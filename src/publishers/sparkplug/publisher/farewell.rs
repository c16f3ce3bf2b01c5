//! The end of a connection that the node wants: NDEATH, then DISCONNECT.

use tokio::time::timeout;

use crate::publishers::mqtt_wire::{Down, FAREWELL, LAST_ACK, Qos};

use super::live::Live;
use super::{End, publish};

impl Live<'_> {
    /// NDEATH, then DISCONNECT (tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath).
    pub(super) async fn farewell(&mut self, end: &End) {
        // What the broker takes after the primary host is away, the host may never see: it comes again, as history.
        let counts = !matches!(end, End::HostAway(_));
        let said = timeout(FAREWELL, async {
            let now = self.cx.clock.now();
            if counts {
                self.session.flush(now, &mut self.out);
                for message in std::mem::take(&mut self.out) {
                    self.wire.publish(publish(message, Qos::AtMostOnce)).await?;
                }
            }
            self.wire.publish(publish(self.session.death(now), Qos::AtLeastOnce)).await?;
            // Its PUBACK proves all that was sent before it.
            let acknowledged = timeout(LAST_ACK, self.wire.heard.wait_for(|h| h.pubacks >= 1)).await;
            let is_acknowledged = acknowledged.is_ok_and(|heard| heard.is_ok());
            if counts && is_acknowledged {
                let arrived = self.fence.all_arrived();
                self.settle(arrived);
            }
            self.wire.disconnect().await;
            Ok::<(), Down>(())
        });
        let said = said.await;
        let publisher = &self.cx.name;
        match (said, end) {
            (Ok(Ok(())), End::Stopped) => tracing::info!(publisher, "said good-bye"),
            (Ok(Ok(())), _) => tracing::debug!(publisher, "said good-bye"),
            _ => tracing::warn!(publisher, "could not say good-bye in time; the broker publishes the will"),
        }
    }
}
