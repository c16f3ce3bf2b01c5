//! The tags' nodes, with UserAccessLevel as it is: what is only written is not read (Part 3 §8.58).
//!
//! The library refuses every attribute of a variable whose UserAccessLevel has no CurrentRead, the data type too. So the
//! nodes have it, and here it is taken out of the answers.

use std::sync::Arc;

use async_trait::async_trait;
use opcua::nodes::DefaultTypeTree;
use opcua::server::CreateMonitoredItem;
use opcua::server::address_space::{AccessLevel, AddressSpace, NodeType};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::InMemoryNodeManagerBuilder;
use opcua::server::node_manager::{
    BrowseNode, BrowsePathItem, DynNodeManager, ExternalReferenceRequest, HistoryNode, MethodCall,
    MonitoredItemRef, MonitoredItemUpdateRef, NodeManager, NodeManagerBuilder, ParsedReadValueId, ReadNode,
    RegisterNodeItem, RequestContext, ServerContext, WriteNode,
};
use opcua::types::{
    AttributeId, DataValue, ExpandedNodeId, MonitoringMode, NodeId, ReadProcessedDetails,
    ReadRawModifiedDetails, StatusCode, TimestampsToReturn, Variant,
};

use super::nodes::{Manager, Tags};

/// What answers for the tags.
pub(super) struct Levels(Arc<DynNodeManager>);

impl Levels {
    pub(super) fn new(
        context: ServerContext,
        tags: impl FnOnce(ServerContext, &mut AddressSpace) -> Tags,
    ) -> Levels {
        Levels(Box::new(InMemoryNodeManagerBuilder::new(tags)).build(context))
    }

    /// The nodes.
    pub(super) fn manager(&self) -> Option<Arc<Manager>> {
        self.0.clone().into_any_arc().downcast::<Manager>().ok()
    }

    /// The right value of UserAccessLevel, `None` where that is not asked for or not told.
    fn level(&self, context: &RequestContext, wanted: &ParsedReadValueId) -> Option<DataValue> {
        if wanted.attribute_id != AttributeId::UserAccessLevel {
            return None;
        }
        let manager = self.manager()?;
        let address_space = manager.address_space().read();
        let Some(NodeType::Variable(node)) = address_space.find(&wanted.node_id) else { return None };
        let mut told = address_space.read(context, wanted, 0.0, TimestampsToReturn::Neither);
        let Some(Variant::Byte(bits)) = told.value else { return None };
        let both = AccessLevel::from_bits_truncate(bits) & node.access_level();
        told.value = Some(Variant::Byte(both.bits()));
        Some(told)
    }
}

#[async_trait]
impl NodeManager for Levels {
    fn owns_node(&self, id: &NodeId) -> bool {
        self.0.owns_node(id)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn namespaces_for_user(&self, context: &RequestContext) -> Vec<NamespaceMetadata> {
        self.0.namespaces_for_user(context)
    }

    fn handle_new_node(&self, parent_id: &ExpandedNodeId) -> bool {
        self.0.handle_new_node(parent_id)
    }

    async fn init(&self, type_tree: &mut DefaultTypeTree, context: ServerContext) {
        self.0.init(type_tree, context).await;
    }

    async fn resolve_external_references(
        &self,
        context: &RequestContext,
        items: &mut [&mut ExternalReferenceRequest],
    ) {
        self.0.resolve_external_references(context, items).await;
    }

    async fn read(
        &self,
        context: &RequestContext,
        max_age: f64,
        timestamps_to_return: TimestampsToReturn,
        nodes_to_read: &mut [&mut ReadNode],
    ) -> Result<(), StatusCode> {
        self.0.read(context, max_age, timestamps_to_return, nodes_to_read).await?;
        for node in nodes_to_read.iter_mut() {
            if let Some(level) = self.level(context, node.node()) {
                node.set_result(level);
            }
        }
        Ok(())
    }

    async fn history_read_raw_modified(
        &self,
        context: &RequestContext,
        details: &ReadRawModifiedDetails,
        nodes: &mut [&mut HistoryNode],
        timestamps_to_return: TimestampsToReturn,
    ) -> Result<(), StatusCode> {
        self.0.history_read_raw_modified(context, details, nodes, timestamps_to_return).await
    }

    async fn history_read_processed(
        &self,
        context: &RequestContext,
        details: &ReadProcessedDetails,
        nodes: &mut [&mut HistoryNode],
        timestamps_to_return: TimestampsToReturn,
    ) -> Result<(), StatusCode> {
        self.0.history_read_processed(context, details, nodes, timestamps_to_return).await
    }

    async fn write(
        &self,
        context: &RequestContext,
        nodes_to_write: &mut [&mut WriteNode],
    ) -> Result<(), StatusCode> {
        self.0.write(context, nodes_to_write).await
    }

    async fn browse(
        &self,
        context: &RequestContext,
        nodes_to_browse: &mut [BrowseNode],
    ) -> Result<(), StatusCode> {
        self.0.browse(context, nodes_to_browse).await
    }

    async fn translate_browse_paths_to_node_ids(
        &self,
        context: &RequestContext,
        nodes: &mut [&mut BrowsePathItem],
    ) -> Result<(), StatusCode> {
        self.0.translate_browse_paths_to_node_ids(context, nodes).await
    }

    async fn register_nodes(
        &self,
        context: &RequestContext,
        nodes: &mut [&mut RegisterNodeItem],
    ) -> Result<(), StatusCode> {
        self.0.register_nodes(context, nodes).await
    }

    async fn unregister_nodes(&self, context: &RequestContext, nodes: &[&NodeId]) -> Result<(), StatusCode> {
        self.0.unregister_nodes(context, nodes).await
    }

    async fn create_monitored_items(
        &self,
        context: &RequestContext,
        items: &mut [&mut CreateMonitoredItem],
    ) -> Result<(), StatusCode> {
        self.0.create_monitored_items(context, items).await?;
        for item in items.iter_mut().filter(|item| item.status_code().is_good()) {
            if let Some(level) = self.level(context, item.item_to_monitor()) {
                item.set_initial_value(level);
            }
        }
        Ok(())
    }

    async fn modify_monitored_items(&self, context: &RequestContext, items: &[&MonitoredItemUpdateRef]) {
        self.0.modify_monitored_items(context, items).await;
    }

    async fn set_monitoring_mode(
        &self,
        context: &RequestContext,
        mode: MonitoringMode,
        items: &[&MonitoredItemRef],
    ) {
        self.0.set_monitoring_mode(context, mode, items).await;
    }

    async fn delete_monitored_items(&self, context: &RequestContext, items: &[&MonitoredItemRef]) {
        self.0.delete_monitored_items(context, items).await;
    }

    async fn call(
        &self,
        context: &RequestContext,
        methods_to_call: &mut [&mut MethodCall],
    ) -> Result<(), StatusCode> {
        self.0.call(context, methods_to_call).await
    }
}
