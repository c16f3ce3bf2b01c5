//! The library's own nodes, with the methods of conditions, which it does not answer.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use opcua::server::CreateMonitoredItem;
use opcua::server::address_space::AddressSpace;
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{
    CoreNodeManagerBuilder, CoreNodeManagerImpl, InMemoryNodeManager, InMemoryNodeManagerImpl,
    InMemoryNodeManagerImplBuilder,
};
use opcua::server::node_manager::{
    MethodCall, MonitoredItemRef, MonitoredItemUpdateRef, ParsedReadValueId, RequestContext, ServerContext,
};
use opcua::sync::RwLock;
use opcua::types::{DataValue, MethodId, MonitoringMode, StatusCode, TimestampsToReturn};

use super::alarms::Alarms;
use super::nodes::{Manager, Tags};

/// The manager as the library keeps it.
pub(super) type CoreManager = InMemoryNodeManager<Core>;

/// Clients call the methods of a condition by their ids in the types, in namespace 0 (OPC 10000-9 §5.7.3): whoever
/// owns that namespace is asked. All else is the library's.
pub(super) struct Core {
    inner: CoreNodeManagerImpl,
    conditions: Arc<Methods>,
}

/// Who answers; known as soon as the server is built.
#[derive(Default)]
pub(super) struct Methods(pub(super) OnceLock<(Arc<Alarms>, Weak<Manager>)>);

/// Makes it.
pub(super) struct Builder(pub(super) Arc<Methods>);

impl InMemoryNodeManagerImplBuilder for Builder {
    type Impl = Core;

    fn build(self, context: ServerContext, address_space: &mut AddressSpace) -> Core {
        Core { inner: CoreNodeManagerBuilder.build(context, address_space), conditions: self.0 }
    }
}

#[async_trait]
impl InMemoryNodeManagerImpl for Core {
    async fn init(&self, address_space: &mut AddressSpace, context: ServerContext) {
        self.inner.init(address_space, context).await;
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn namespaces(&self) -> Vec<NamespaceMetadata> {
        self.inner.namespaces()
    }

    async fn read_values(
        &self,
        context: &RequestContext,
        address_space: &RwLock<AddressSpace>,
        nodes: &[&ParsedReadValueId],
        max_age: f64,
        timestamps_to_return: TimestampsToReturn,
    ) -> Vec<DataValue> {
        self.inner.read_values(context, address_space, nodes, max_age, timestamps_to_return).await
    }

    async fn create_value_monitored_items(
        &self,
        context: &RequestContext,
        address_space: &RwLock<AddressSpace>,
        items: &mut [&mut &mut CreateMonitoredItem],
    ) {
        items.iter_mut().for_each(|item| item.revise_queue_size(Tags::QUEUE));
        self.inner.create_value_monitored_items(context, address_space, items).await;
    }

    async fn set_monitoring_mode(
        &self,
        context: &RequestContext,
        mode: MonitoringMode,
        items: &[&MonitoredItemRef],
    ) {
        self.inner.set_monitoring_mode(context, mode, items).await;
    }

    async fn modify_monitored_items(&self, context: &RequestContext, items: &[&MonitoredItemUpdateRef]) {
        self.inner.modify_monitored_items(context, items).await;
    }

    async fn delete_monitored_items(&self, context: &RequestContext, items: &[&MonitoredItemRef]) {
        self.inner.delete_monitored_items(context, items).await;
    }

    async fn call(
        &self,
        context: &RequestContext,
        address_space: &RwLock<AddressSpace>,
        methods_to_call: &mut [&mut &mut MethodCall],
    ) -> Result<(), StatusCode> {
        for call in methods_to_call.iter_mut() {
            let ours = match call.method_id().as_method_id() {
                Ok(
                    id @ (MethodId::AcknowledgeableConditionType_Acknowledge
                    | MethodId::ConditionType_AddComment
                    | MethodId::ConditionType_ConditionRefresh
                    | MethodId::ConditionType_ConditionRefresh2),
                ) => Some(id),
                _ => None,
            };
            match (ours, self.conditions.0.get()) {
                (Some(method), Some((alarms, manager))) => match manager.upgrade() {
                    Some(manager) => alarms.call(context, method, call, &manager).await,
                    None => call.set_status(StatusCode::BadShutdown),
                },
                _ => {
                    self.inner.call(context, address_space, std::slice::from_mut(call)).await?;
                }
            }
        }
        Ok(())
    }
}
