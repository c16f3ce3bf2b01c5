//! What is given to a connection to be published.

use std::sync::Arc;

use bytes::Bytes;

/// One PUBLISH, or a will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publishers) struct Publish {
    /// Where.
    pub(in crate::publishers) topic: Arc<str>,
    /// What.
    pub(in crate::publishers) payload: Bytes,
    /// How surely.
    pub(in crate::publishers) qos: Qos,
    /// Whether the broker keeps it for those who subscribe later.
    pub(in crate::publishers) retain: bool,
}

/// Quality of service. "Exactly once" is not needed: what arrives twice has the same time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publishers) enum Qos {
    /// 0, not acknowledged.
    AtMostOnce,
    /// 1, acknowledged by a PUBACK.
    AtLeastOnce,
}
