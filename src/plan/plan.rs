//! The compiled configuration: all that the gateway needs to run, as plain data.

use std::sync::Arc;

use crate::model::Directory;
use crate::poll::LinkPlan;
use crate::publishers::PublisherSpec;
use crate::store;

/// One gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayPlan {
    /// All devices and tags.
    pub directory: Arc<Directory>,
    /// The links, in the order of the file.
    pub links: Vec<LinkPlan>,
    /// The publishers, in the order of the file.
    pub publishers: Vec<PublisherPlan>,
    /// The store.
    pub store: store::Options,
}

/// One publisher.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherPlan {
    /// Its name.
    pub name: String,
    /// What it needs to run.
    pub spec: PublisherSpec,
}
