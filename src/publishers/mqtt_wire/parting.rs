//! How long a connection's end may take when the gateway stops.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long a message under way may take when the stop comes.
const STUCK: Duration = Duration::from_millis(300);
/// What a farewell may take after that; the supervisor waits 1.5 s.
pub(in crate::publishers) const FAREWELL: Duration = Duration::from_millis(1000);
/// Part of it in which the broker may acknowledge what is under way.
pub(in crate::publishers) const LAST_ACK: Duration = Duration::from_millis(600);

/// A little after the stop: what is not handed over by then will not be.
pub(in crate::publishers) async fn stopped_and_stuck(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(STUCK).await;
}
