//! The contract between the supervisor and a publisher.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use super::directories::Directories;
use crate::command::Gate;
use crate::model::Clock;
use crate::store::{ReaderRules, Store};
use crate::telemetry::{PublisherStats, Telemetry};

/// What every publisher is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// The publisher's name, unique in the gateway.
    pub name: String,
    /// All devices and tags, as they are now.
    pub directory: Directories,
    /// Image and outbox.
    pub store: Arc<Store>,
    /// The way to write a tag.
    pub gate: Gate,
    /// All counters, to be shown.
    pub telemetry: Arc<Telemetry>,
    /// The publisher's own counters.
    pub stats: Arc<PublisherStats>,
    /// How its outbox is kept and served.
    pub outbox: ReaderRules,
    /// Time stamps.
    pub clock: Clock,
    /// A folder of its own for what must outlive the process (a bdSeq, a certificate); made when needed.
    pub folder: PathBuf,
    /// Cancelled when the publisher shall say good-bye and return.
    pub stop: CancellationToken,
}

/// Why a publisher gave up; the supervisor starts it again after a pause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PublishError(pub String);

/// Speaks north.
pub trait Publisher: Send + 'static {
    /// Runs until `cx.stop`, over all losses of connection; returns early only where
    /// a restart by the supervisor would help.
    fn run(self, cx: Context) -> impl Future<Output = Result<(), PublishError>> + Send;
}
