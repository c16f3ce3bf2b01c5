//! The OPC UA server of a configuration file, for the commands that look after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use super::file::compile;
use crate::model::Directory;
use crate::publishers::PublisherSpec;
use crate::publishers::opcua::config::Spec;

/// See the first line.
pub(super) struct Server {
    /// Where it keeps what is its own, as the gateway has it.
    pub(super) folder: PathBuf,
    pub(super) spec: Spec,
    pub(super) directory: Arc<Directory>,
}

impl Server {
    /// Mistakes of the file are said.
    pub(super) fn of(config: &Path) -> Result<Server, Failure> {
        let compiled = compile(config).map_err(Failure::wrong)?;
        let file = compiled.name.clone();
        let plan = compiled.into_plan().ok_or_else(|| Failure::wrong(""))?;
        let found = plan.publishers.into_iter().find_map(|publisher| match publisher.spec {
            PublisherSpec::OpcUa(spec) => Some((publisher.name, spec)),
            _ => None,
        });
        let (name, spec) = found.ok_or_else(|| Failure::wrong(format!("{file} has no [publish.opcua]")))?;
        let store = plan.store.path.unwrap_or_else(|| PathBuf::from("."));
        Ok(Server { folder: store.join("publishers").join(name), spec, directory: plan.directory })
    }
}
