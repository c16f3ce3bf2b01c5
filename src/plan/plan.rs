//! The compiled configuration: all that the gateway needs to run, as plain data.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Directory, Mistake, Raw, TagId};
use crate::normalize::PlacedRule;
use crate::poll::LinkPlan;
use crate::publishers::PublisherSpec;
use crate::store;

/// One gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayPlan {
    /// All devices and tags.
    pub directory: Arc<Directory>,
    /// The links, in the order of the file; the gateway's own last.
    pub links: Vec<LinkPlan>,
    /// The scan classes by name, in the order of the file.
    pub classes: Vec<(String, std::time::Duration)>,
    /// The publishers, in the order of the file.
    pub publishers: Vec<PublisherPlan>,
    /// The store.
    pub store: store::Options,
    /// The clock counts as synchronised whatever the operating system says of it.
    pub trusts_clock: bool,
    /// What only one program, link or publisher can have.
    pub resources: Vec<Resource>,
    /// The `[[test]]` tables.
    pub tests: Vec<TestPlan>,
    /// What works and was probably not meant.
    pub warnings: Vec<Mistake>,
}

/// One publisher.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherPlan {
    /// Its name.
    pub name: String,
    /// What it needs to run.
    pub spec: PublisherSpec,
    /// How its outbox is kept and served.
    pub outbox: store::ReaderRules,
}

/// What only one can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A serial port.
    SerialPort(String),
    /// A listening TCP port.
    ListenPort(SocketAddr),
    /// A folder.
    Folder(PathBuf),
}

impl Resource {
    /// Whether both cannot be had at once.
    pub fn conflicts(&self, other: &Resource) -> bool {
        match (self, other) {
            (Resource::ListenPort(a), Resource::ListenPort(b)) => {
                let anywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() == b.port() && a.port() != 0 && (anywhere || a.ip() == b.ip())
            }
            _ => self == other,
        }
    }
}

/// One `[[test]]`, with its registers laid out as the blocks of its device.
#[derive(Debug, Clone, PartialEq)]
pub struct TestPlan {
    /// What it shows.
    pub name: String,
    /// The expected tags.
    pub cases: Vec<TestCase>,
}

/// One tag of a test.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    /// Whose value.
    pub tag: TagId,
    /// `device/tag`.
    pub path: String,
    /// How it is made.
    pub placed: PlacedRule,
    /// From what; only the words that the test gives.
    pub raw: Raw,
    /// What it must be.
    pub expected: crate::config::leaf::Scalar,
}
