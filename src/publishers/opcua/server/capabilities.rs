//! The library's nodes of namespace 0, with what HistoryServerCapabilities really are (Part 11 §5.4.2).
//!
//! The library keeps these values where nobody can set them, so its own node manager stands behind this one.

use std::sync::Arc;

use async_trait::async_trait;
use opcua::nodes::DefaultTypeTree;
use opcua::server::CreateMonitoredItem;
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::InMemoryNodeManagerBuilder;
use opcua::server::node_manager::{
    BrowseNode, BrowsePathItem, DynNodeManager, ExternalReferenceRequest, MethodCall, MonitoredItemRef,
    MonitoredItemUpdateRef, NodeManager, NodeManagerBuilder, ReadNode, RequestContext, ServerContext,
    WriteNode,
};
use opcua::types::{
    AttributeId, DataValue, ExpandedNodeId, MonitoringMode, NodeId, ObjectId, ReferenceTypeId, StatusCode,
    TimestampsToReturn, VariableId, Variant,
};

use super::core::{Builder, CoreManager, Methods};
use super::history::{MOST_VALUES, SERVED};

/// The nodes of namespace 0.
pub(super) struct Capabilities {
    core: Arc<DynNodeManager>,
    history: bool,
}

impl Capabilities {
    /// With the library's own behind it; `history` says whether any is kept.
    pub(super) fn new(context: ServerContext, history: bool, methods: Arc<Methods>) -> Capabilities {
        let core = Box::new(InMemoryNodeManagerBuilder::new(Builder(methods))).build(context);
        let made = Capabilities { core, history };
        if let Some(nodes) = made.library()
            && history
        {
            let functions = NodeId::from(ObjectId::HistoryServerCapabilities_AggregateFunctions);
            let mut address_space = nodes.address_space().write();
            for served in SERVED {
                address_space.insert_reference(&functions, &served.into(), ReferenceTypeId::Organizes);
            }
        }
        made
    }

    /// The nodes that stand behind.
    pub(super) fn library(&self) -> Option<Arc<CoreManager>> {
        self.core.clone().into_any_arc().downcast::<CoreManager>().ok()
    }

    /// What there is to say, `None` where the library knows it.
    fn value(&self, node: &NodeId, attribute: AttributeId) -> Option<Variant> {
        if attribute != AttributeId::Value || !self.history {
            return None;
        }
        match node.as_variable_id().ok()? {
            VariableId::HistoryServerCapabilities_AccessHistoryDataCapability => Some(true.into()),
            VariableId::HistoryServerCapabilities_MaxReturnDataValues => {
                Some(u32::try_from(MOST_VALUES).unwrap_or(u32::MAX).into())
            }
            _ => None,
        }
    }
}

#[async_trait]
impl NodeManager for Capabilities {
    fn owns_node(&self, id: &NodeId) -> bool {
        self.core.owns_node(id)
    }

    fn name(&self) -> &str {
        self.core.name()
    }

    fn namespaces_for_user(&self, context: &RequestContext) -> Vec<NamespaceMetadata> {
        self.core.namespaces_for_user(context)
    }

    fn handle_new_node(&self, parent_id: &ExpandedNodeId) -> bool {
        self.core.handle_new_node(parent_id)
    }

    async fn init(&self, type_tree: &mut DefaultTypeTree, context: ServerContext) {
        self.core.init(type_tree, context).await;
    }

    async fn resolve_external_references(
        &self,
        context: &RequestContext,
        items: &mut [&mut ExternalReferenceRequest],
    ) {
        self.core.resolve_external_references(context, items).await;
    }

    async fn read(
        &self,
        context: &RequestContext,
        max_age: f64,
        timestamps_to_return: TimestampsToReturn,
        nodes_to_read: &mut [&mut ReadNode],
    ) -> Result<(), StatusCode> {
        self.core.read(context, max_age, timestamps_to_return, nodes_to_read).await?;
        for node in nodes_to_read.iter_mut().filter(|node| node.status().is_good()) {
            if let Some(value) = self.value(&node.node().node_id, node.node().attribute_id) {
                node.set_result(DataValue::new_now(value));
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        context: &RequestContext,
        nodes_to_write: &mut [&mut WriteNode],
    ) -> Result<(), StatusCode> {
        self.core.write(context, nodes_to_write).await
    }

    async fn browse(
        &self,
        context: &RequestContext,
        nodes_to_browse: &mut [BrowseNode],
    ) -> Result<(), StatusCode> {
        self.core.browse(context, nodes_to_browse).await
    }

    async fn translate_browse_paths_to_node_ids(
        &self,
        context: &RequestContext,
        nodes: &mut [&mut BrowsePathItem],
    ) -> Result<(), StatusCode> {
        self.core.translate_browse_paths_to_node_ids(context, nodes).await
    }

    async fn create_monitored_items(
        &self,
        context: &RequestContext,
        items: &mut [&mut CreateMonitoredItem],
    ) -> Result<(), StatusCode> {
        self.core.create_monitored_items(context, items).await?;
        for item in items.iter_mut().filter(|item| item.status_code().is_good()) {
            let wanted = item.item_to_monitor();
            if let Some(value) = self.value(&wanted.node_id, wanted.attribute_id) {
                item.set_initial_value(DataValue::new_now(value));
            }
        }
        Ok(())
    }

    async fn modify_monitored_items(&self, context: &RequestContext, items: &[&MonitoredItemUpdateRef]) {
        self.core.modify_monitored_items(context, items).await;
    }

    async fn set_monitoring_mode(
        &self,
        context: &RequestContext,
        mode: MonitoringMode,
        items: &[&MonitoredItemRef],
    ) {
        self.core.set_monitoring_mode(context, mode, items).await;
    }

    async fn delete_monitored_items(&self, context: &RequestContext, items: &[&MonitoredItemRef]) {
        self.core.delete_monitored_items(context, items).await;
    }

    async fn call(
        &self,
        context: &RequestContext,
        methods_to_call: &mut [&mut MethodCall],
    ) -> Result<(), StatusCode> {
        self.core.call(context, methods_to_call).await
    }
}
