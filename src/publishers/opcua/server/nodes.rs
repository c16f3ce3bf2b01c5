//! The node manager of the tags: their nodes, and what a client may do with them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use opcua::server::CreateMonitoredItem;
use opcua::server::address_space::{AccessLevel, AddressSpace, NodeType, ObjectBuilder, VariableBuilder};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{InMemoryNodeManager, InMemoryNodeManagerImpl};
use opcua::server::node_manager::{HistoryNode, RequestContext, ServerContext, WriteNode};
use opcua::sync::RwLock;
use opcua::types::{
    AttributeId, DataTypeId, EUInformation, ExtensionObject, Identifier, LocalizedText, NodeId, NumericRange,
    ObjectId, ObjectTypeId, QualifiedName, Range, ReadProcessedDetails, ReadRawModifiedDetails, StatusCode,
    TimestampsToReturn, VariableTypeId, Variant,
};

use super::auth::Users;
use super::history::History;
use super::value;
use crate::command::{Gate, Origin};
use crate::model::{Access, Directory, Identity, TagId, Value};
use crate::publishers::opcua::space::{self, Kind, Object, Space, Variable};
use crate::publishers::opcua::status::{self, Status};
use crate::telemetry::PublisherStats;

/// The manager as the library keeps it.
pub(super) type Manager = InMemoryNodeManager<Tags>;

/// What a Write needs.
pub(super) struct Writing {
    pub(super) publisher: String,
    pub(super) directory: Arc<Directory>,
    pub(super) gate: Gate,
    pub(super) users: Arc<Users>,
    pub(super) stats: Arc<PublisherStats>,
}

/// Answers for the nodes of all tags.
pub(super) struct Tags {
    namespace: NamespaceMetadata,
    nodes: HashMap<TagId, NodeId>,
    writing: Writing,
    history: History,
}

impl Tags {
    /// Writes of one request that may wait for their devices at a time.
    const WRITES_AT_A_TIME: usize = 16;
    /// What a client is told that asks for a sampling interval, in milliseconds: every change is taken.
    /// The library shifts the source time of values that come sooner than the interval, and takes no zero here.
    const SAMPLING: f64 = 0.001;

    /// Makes all nodes.
    pub(super) fn build(
        space: &Space,
        writing: Writing,
        history: History,
        context: &ServerContext,
        address_space: &mut AddressSpace,
    ) -> Tags {
        let index = context.type_tree.write().namespaces_mut().add_namespace(&space.namespace);
        address_space.add_namespace(&space.namespace, index);
        for object in &space.objects {
            add_object(object, index, address_space);
        }
        let mut nodes = HashMap::with_capacity(space.variables.len());
        for variable in &space.variables {
            nodes.insert(variable.tag, add_variable(variable, history.is_kept(), index, address_space));
        }
        let namespace = NamespaceMetadata {
            namespace_uri: space.namespace.clone(),
            namespace_index: index,
            ..NamespaceMetadata::default()
        };
        Tags { namespace, nodes, writing, history }
    }

    /// The node of each tag.
    pub(super) fn nodes(&self) -> &HashMap<TagId, NodeId> {
        &self.nodes
    }

    /// Sets the properties of a device's object to who it says that it is. The names and types are those of OPC
    /// 10000-100 (Devices), section 4.5; what is not known has no property.
    pub(super) fn show_identity(&self, device: &str, identity: &Identity, address_space: &mut AddressSpace) {
        let index = self.namespace.namespace_index;
        let object = NodeId::new(index, device);
        let localized =
            |text: &String| (DataTypeId::LocalizedText, Variant::from(LocalizedText::from(text.as_str())));
        let plain = |text: &String| (DataTypeId::String, Variant::from(text.as_str()));
        let model = identity.model.as_ref().or(identity.product_name.as_ref());
        for (name, value) in [
            ("Manufacturer", identity.vendor.as_ref().map(localized)),
            ("Model", model.map(localized)),
            ("ProductCode", identity.product_code.as_ref().map(plain)),
            ("SoftwareRevision", identity.revision.as_ref().map(plain)),
        ] {
            let id = NodeId::new(index, space::property_id(device, name));
            address_space.delete(&id, true);
            let Some((kind, value)) = value else { continue };
            VariableBuilder::new(&id, QualifiedName::new(index, name), name)
                .data_type(kind)
                .value(value)
                .property_of(object.clone())
                .has_type_definition(VariableTypeId::PropertyType)
                .insert(address_space);
        }
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
        let Some(tag) = self.writing.directory.find(path) else {
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
        if !self.writing.users.may_write(&context.token) {
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
        vec![self.namespace.clone()]
    }

    async fn create_value_monitored_items(
        &self,
        context: &RequestContext,
        address_space: &RwLock<AddressSpace>,
        items: &mut [&mut &mut CreateMonitoredItem],
    ) {
        let address_space = address_space.read();
        for item in items.iter_mut() {
            let wanted = item.item_to_monitor();
            let status = match address_space.find(&wanted.node_id) {
                None => StatusCode::BadNodeIdUnknown,
                Some(NodeType::Variable(_)) => StatusCode::Good,
                Some(_) => StatusCode::BadAttributeIdInvalid,
            };
            if status.is_good() {
                let value = address_space.read(context, wanted, 0.0, TimestampsToReturn::Both);
                item.set_initial_value(value);
                if item.sampling_interval() > 0.0 {
                    item.revise_sampling_interval(Self::SAMPLING);
                }
            }
            item.set_status(status);
        }
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
        Ok(())
    }
}

fn add_object(object: &Object, index: u16, address_space: &mut AddressSpace) {
    let id = NodeId::new(index, object.id.as_str());
    let name = object.name.as_str();
    let builder = ObjectBuilder::new(&id, QualifiedName::new(index, name), name);
    let builder = match &object.description {
        Some(text) => builder.description(text.as_str()),
        None => builder,
    };
    let builder = match &object.parent {
        Some(parent) if object.id.ends_with('/') => builder.component_of(NodeId::new(index, parent.as_str())),
        Some(parent) => builder.organized_by(NodeId::new(index, parent.as_str())),
        None => builder.organized_by(ObjectId::ObjectsFolder),
    };
    let kind = match object.kind {
        Kind::Folder => ObjectTypeId::FolderType,
        Kind::Device => ObjectTypeId::BaseObjectType,
    };
    builder.has_type_definition(kind).insert(address_space);
}

fn add_variable(variable: &Variable, kept: bool, index: u16, address_space: &mut AddressSpace) -> NodeId {
    let id = NodeId::new(index, variable.id.as_str());
    let name = variable.name.as_str();
    let access = match variable.access {
        Access::Read => AccessLevel::CURRENT_READ,
        Access::ReadWrite => AccessLevel::CURRENT_READ | AccessLevel::CURRENT_WRITE,
        Access::WriteOnly => AccessLevel::CURRENT_WRITE,
    };
    let kept = kept && variable.access.is_readable();
    let access = if kept { access | AccessLevel::HISTORY_READ } else { access };
    // Without CurrentRead for the user the library refuses every attribute, the data type too. A client has
    // what both levels allow (Part 3 §8.57), and the value of such a tag is BadNotReadable.
    let user_access = access | AccessLevel::CURRENT_READ;
    let builder = VariableBuilder::new(&id, QualifiedName::new(index, name), name)
        .data_type(value::data_type(variable.kind))
        .access_level(access)
        .user_access_level(user_access)
        .historizing(kept)
        // Part 3 §5.6.2: 0 says that the server tells every change.
        .minimum_sampling_interval(0.0)
        .component_of(NodeId::new(index, variable.parent.as_str()))
        .has_type_definition(value::variable_type(variable.unit.is_some(), variable.range.is_some()));
    let builder = match &variable.description {
        Some(text) => builder.description(text.as_str()),
        None => builder,
    };
    // Part 3 §5.6.2: rank 1 is one dimension; a scalar, the builder's own rank -1, has no dimensions.
    let builder = match variable.kind.length() {
        Some(length) => builder.value_rank(1).array_dimensions(&[length.into()]),
        None => builder,
    };
    builder.insert(address_space);
    if let Some(NodeType::Variable(node)) = address_space.find_mut(&id) {
        node.set_data_value(value::empty(Status::BAD_WAITING_FOR_INITIAL_DATA));
    }
    let mut property = |name: &'static str, kind: DataTypeId, value: ExtensionObject| {
        let property = NodeId::new(index, space::property_id(&variable.id, name));
        VariableBuilder::new(&property, QualifiedName::new(0, name), name)
            .data_type(kind)
            .value(Variant::from(value))
            .property_of(id.clone())
            .has_type_definition(VariableTypeId::PropertyType)
            .insert(address_space);
    };
    if let Some((low, high)) = variable.range {
        property("EURange", DataTypeId::Range, ExtensionObject::from_message(Range { low, high }));
    }
    if let Some(unit) = &variable.unit {
        let unit = EUInformation {
            namespace_uri: unit.namespace.into(),
            unit_id: unit.id,
            display_name: LocalizedText::from(unit.text.as_str()),
            description: LocalizedText::from(unit.text.as_str()),
        };
        property("EngineeringUnits", DataTypeId::EUInformation, ExtensionObject::from_message(unit));
    }
    id
}
