//! The node manager of the tags: their nodes, and what a client may do with them.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use opcua::server::CreateMonitoredItem;
use opcua::server::address_space::{AddressSpace, NodeType};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{InMemoryNodeManager, InMemoryNodeManagerImpl};
use opcua::server::node_manager::{
    HistoryNode, MonitoredItemRef, MonitoredItemUpdateRef, ParsedReadValueId, RequestContext, ServerContext,
    WriteNode,
};
use opcua::sync::RwLock;
use opcua::types::{
    AttributeId, DataEncoding, Identifier, NumericRange, ReadProcessedDetails, ReadRawModifiedDetails,
    StatusCode, TimestampsToReturn, Variant,
};
use tokio::sync::watch;

use super::alarms::Alarms;
use super::audit::Written;
use super::auth::Users;
use super::events;
use super::history::History;
use super::items::Items;
use super::{grow, nameplate, value};
use crate::command::{Gate, Origin};
use crate::model::{Directory, Identity, Plate, TagId, Value};
use crate::publishers::opcua::space::{Kind, Object, Space, Variable};
use crate::publishers::opcua::status::{self, Status};
use crate::telemetry::PublisherStats;

/// The manager as the library keeps it.
pub(super) type Manager = InMemoryNodeManager<Tags>;

/// What a Write needs.
pub(super) struct Writing {
    pub(super) publisher: String,
    /// That of the nodes that are shown.
    pub(super) directory: watch::Receiver<Arc<Directory>>,
    pub(super) gate: Gate,
    pub(super) users: Arc<Users>,
    pub(super) stats: Arc<PublisherStats>,
}

/// Answers for the nodes of all tags.
pub(super) struct Tags {
    namespace: NamespaceMetadata,
    devices: NamespaceMetadata,
    items: Items,
    pub(super) alarms: Arc<Alarms>,
    writing: Writing,
    history: History,
}

impl Tags {
    /// Writes of one request that may wait for their devices at a time.
    const WRITES_AT_A_TIME: usize = 16;
    /// What a client is told that asks for a sampling interval, in milliseconds: every change is taken.
    /// The library shifts the source time of values that come sooner than the interval, and takes no zero here.
    const SAMPLING: f64 = 0.001;
    /// Values queued for an item.
    pub(super) const QUEUE: usize = 100;

    /// Makes all nodes.
    pub(super) fn build(
        space: &Space,
        writing: Writing,
        alarms: Arc<Alarms>,
        history: History,
        context: &ServerContext,
        address_space: &mut AddressSpace,
    ) -> Tags {
        let mut add = |uri: &str| {
            let index = context.type_tree.write().namespaces_mut().add_namespace(uri);
            address_space.add_namespace(uri, index);
            index
        };
        let (index, di) = (add(&space.namespace), add(nameplate::DI));
        nameplate::add_type(di, address_space);
        let tags = Tags {
            namespace: NamespaceMetadata {
                namespace_uri: space.namespace.clone(),
                namespace_index: index,
                ..NamespaceMetadata::default()
            },
            devices: NamespaceMetadata {
                namespace_uri: nameplate::DI.to_owned(),
                namespace_index: di,
                // Only the nameplate.
                is_namespace_subset: Some(true),
                ..NamespaceMetadata::default()
            },
            items: Items::default(),
            alarms,
            writing,
            history,
        };
        space.objects.iter().for_each(|object| tags.add_object(object, address_space));
        space.variables.iter().for_each(|variable| tags.add_variable(variable, address_space));
        tags.alarms.build(index, address_space);
        events::teach(&mut context.type_tree.write());
        tags
    }

    /// The index of the namespace of all tags.
    pub(super) fn index(&self) -> u16 {
        self.namespace.namespace_index
    }

    /// What monitored items want of it.
    pub(super) fn items(&self) -> &Items {
        &self.items
    }

    /// Adds an object with what is known of it from the configuration.
    pub(super) fn add_object(&self, object: &Object, address_space: &mut AddressSpace) {
        grow::object(object, self.index(), address_space);
        if object.kind != Kind::Folder {
            nameplate::promise(&object.id, self.spaces(), address_space);
        }
        if object.kind == Kind::Gateway {
            nameplate::show(&object.id, nameplate::of_gateway(), self.spaces(), address_space);
        }
    }

    /// Adds a variable.
    pub(super) fn add_variable(&self, variable: &Variable, address_space: &mut AddressSpace) {
        grow::variable(variable, self.history.is_kept(), self.index(), address_space);
    }

    /// Sets the properties of a device's object to who it is.
    pub(super) fn show_identity(
        &self,
        device: &str,
        identity: Option<&Identity>,
        plate: Option<&Plate>,
        address_space: &mut AddressSpace,
    ) {
        nameplate::show(device, nameplate::of_device(identity, plate), self.spaces(), address_space);
    }

    /// The namespaces of nameplates and of all else.
    fn spaces(&self) -> (u16, u16) {
        (self.devices.namespace_index, self.index())
    }

    /// What is to be written, or why it is not. Part 4 §5.10.4.
    fn checked(
        &self,
        context: &RequestContext,
        address_space: &RwLock<AddressSpace>,
        node: &WriteNode,
    ) -> Result<(TagId, Value), Status> {
        let wanted = node.value();
        let path = match &wanted.node_id.identifier {
            Identifier::String(path) => path.as_ref(),
            _ => "",
        };
        let directory = self.writing.directory.borrow().clone();
        let Some(tag) = directory.find(path) else {
            let known = address_space.read().node_exists(&wanted.node_id);
            return Err(if known { Status::BAD_NOT_WRITABLE } else { Status::BAD_NODE_ID_UNKNOWN });
        };
        let refused = |status, why: &'static str| {
            let who = who(context);
            tracing::warn!(target: "audit", tag = %tag.path, publisher = self.writing.publisher, who, why, "write refused");
            Err(status)
        };
        if wanted.attribute_id != AttributeId::Value || !tag.access.is_writable() {
            return refused(Status::BAD_NOT_WRITABLE, "the tag is read-only");
        }
        if !self.writing.users.may_write(&context.token, &tag.path) {
            return refused(Status::BAD_USER_ACCESS_DENIED, "not allowed");
        }
        let data = &wanted.value;
        // A server that cannot write a status or a time must refuse them. Good is what a client means
        // that sends a status at all.
        let status = data.status.is_some_and(|status| !status.is_good());
        if status || data.source_timestamp.is_some() || data.server_timestamp.is_some() {
            return refused(
                Status::BAD_WRITE_NOT_SUPPORTED,
                "only a value can be written, no status and no time",
            );
        }
        if !matches!(wanted.index_range, NumericRange::None) {
            return refused(Status::BAD_WRITE_NOT_SUPPORTED, "a part of a value cannot be written");
        }
        match data.value.as_ref().and_then(|value| value::written(value, tag.kind)) {
            Some(value) => Ok((tag.id, value)),
            None => refused(Status::BAD_TYPE_MISMATCH, "the value is not of the tag's type"),
        }
    }
}

/// The name of the user in the audit.
fn who(context: &RequestContext) -> String {
    if context.token.is_anonymous() { "anonymous".to_owned() } else { context.token.0.clone() }
}

#[async_trait]
impl InMemoryNodeManagerImpl for Tags {
    async fn init(&self, _address_space: &mut AddressSpace, _context: ServerContext) {}

    fn name(&self) -> &str {
        "tags"
    }

    fn namespaces(&self) -> Vec<NamespaceMetadata> {
        vec![self.namespace.clone(), self.devices.clone()]
    }

    async fn create_value_monitored_items(
        &self,
        context: &RequestContext,
        address_space: &RwLock<AddressSpace>,
        items: &mut [&mut &mut CreateMonitoredItem],
    ) {
        let address_space = address_space.read();
        for item in items.iter_mut() {
            item.revise_queue_size(Self::QUEUE);
            let wanted = item.item_to_monitor();
            let status = match address_space.find(&wanted.node_id) {
                None => StatusCode::BadNodeIdUnknown,
                Some(NodeType::Variable(_)) => StatusCode::Good,
                Some(_) => StatusCode::BadAttributeIdInvalid,
            };
            if status.is_good() {
                // The library takes the part that the client wants out of it, and would do so twice.
                let whole = ParsedReadValueId {
                    node_id: wanted.node_id.clone(),
                    attribute_id: wanted.attribute_id,
                    index_range: NumericRange::None,
                    data_encoding: wanted.data_encoding.clone(),
                };
                let value = address_space.read(context, &whole, 0.0, TimestampsToReturn::Both);
                item.set_initial_value(value);
                if item.sampling_interval() > 0.0 {
                    item.revise_sampling_interval(Self::SAMPLING);
                }
                self.items.created(item.handle(), &whole.node_id, item.sampling_interval());
            }
            item.set_status(status);
        }
    }

    async fn modify_monitored_items(&self, _context: &RequestContext, items: &[&MonitoredItemUpdateRef]) {
        for item in items {
            self.items.modified(item.handle(), item.update().revised_sampling_interval);
        }
    }

    async fn delete_monitored_items(&self, _context: &RequestContext, items: &[&MonitoredItemRef]) {
        self.items.deleted(items.iter().map(|item| item.handle()));
    }

    async fn history_read_raw_modified(
        &self,
        _context: &RequestContext,
        details: &ReadRawModifiedDetails,
        nodes: &mut [&mut &mut HistoryNode],
        timestamps_to_return: TimestampsToReturn,
    ) -> Result<(), StatusCode> {
        self.history.raw(details, nodes, timestamps_to_return).await
    }

    async fn history_read_processed(
        &self,
        _context: &RequestContext,
        details: &ReadProcessedDetails,
        nodes: &mut [&mut &mut HistoryNode],
        timestamps_to_return: TimestampsToReturn,
    ) -> Result<(), StatusCode> {
        self.history.processed(details, nodes, timestamps_to_return).await
    }

    async fn write(
        &self,
        context: &RequestContext,
        address_space: &RwLock<AddressSpace>,
        nodes_to_write: &mut [&mut WriteNode],
    ) -> Result<(), StatusCode> {
        let stats = &self.writing.stats;
        // What is there before, for the audit.
        let old: Vec<Option<Variant>> = {
            let address_space = address_space.read();
            let shown = |node: &&mut WriteNode| match address_space.find(&node.value().node_id) {
                Some(NodeType::Variable(variable)) => shown(variable),
                _ => None,
            };
            nodes_to_write.iter().map(shown).collect()
        };
        let mut accepted = Vec::new();
        for (at, node) in nodes_to_write.iter_mut().enumerate() {
            stats.commands.bump();
            match self.checked(context, address_space, node) {
                Ok((tag, value)) => accepted.push((at, tag, value)),
                Err(status) => {
                    stats.refused.bump();
                    node.set_status(value::code(status));
                }
            }
        }
        let origin = Origin { publisher: self.writing.publisher.clone(), who: who(context) };
        let (gate, origin) = (&self.writing.gate, &origin);
        // Each is answered when its device has answered; they reach their links in the order of the request.
        let answers: Vec<_> = stream::iter(accepted)
            .map(|(at, tag, value)| async move { (at, gate.write(tag, value, origin).await) })
            .buffered(Self::WRITES_AT_A_TIME)
            .collect()
            .await;
        for (at, outcome) in answers {
            let Some(node) = nodes_to_write.get_mut(at) else { continue };
            let status = match outcome {
                Ok(()) => Status::GOOD,
                Err(refusal) => {
                    stats.refused.bump();
                    status::of_refusal(refusal)
                }
            };
            node.set_status(value::code(status));
        }
        for (node, old) in nodes_to_write.iter().zip(old) {
            let wanted = node.value();
            self.alarms.audit.written(&Written {
                node: &wanted.node_id,
                attribute: wanted.attribute_id,
                who: &origin.who,
                old,
                new: &wanted.value,
                status: node.status(),
            });
        }
        Ok(())
    }
}

/// The value that a variable has now.
fn shown(variable: &opcua::server::address_space::Variable) -> Option<Variant> {
    variable.value(TimestampsToReturn::Neither, &NumericRange::None, &DataEncoding::Binary, 0.0).value
}
