//! What is remembered of the clients' monitored items, to put right what the library does with times.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use opcua::server::MonitoredItemHandle;
use opcua::types::{DataValue, NodeId};

/// Monitored items of all sessions.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// Those whose source times the library would shift: it lets a value without one pass.
    shifted: RwLock<HashSet<MonitoredItemHandle>>,
    /// Nodes with an item since the last look. What was shown between the item's first value and its entry
    /// with the library has not been told.
    fresh: Mutex<HashSet<NodeId>>,
}

impl Items {
    fn fresh(&self) -> MutexGuard<'_, HashSet<NodeId>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An item comes. Its sampling interval is negative where it is that of the subscription.
    pub(super) fn created(&self, item: MonitoredItemHandle, node: &NodeId, sampling_interval: f64) {
        if sampling_interval < 0.0 {
            self.shift(item);
        }
        self.fresh().insert(node.clone());
    }

    /// An item has another sampling interval, which the library did not let us choose.
    pub(super) fn modified(&self, item: MonitoredItemHandle, sampling_interval: f64) {
        if sampling_interval == 0.0 {
            self.deleted([item]);
        } else {
            self.shift(item);
        }
    }

    fn shift(&self, item: MonitoredItemHandle) {
        self.shifted.write().unwrap_or_else(PoisonError::into_inner).insert(item);
    }

    /// Items go.
    pub(super) fn deleted(&self, items: impl IntoIterator<Item = MonitoredItemHandle>) {
        let mut shifted = self.shifted.write().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            shifted.remove(&item);
        }
    }

    /// Those whose source times would be shifted.
    pub(super) fn shifted(&self) -> RwLockReadGuard<'_, HashSet<MonitoredItemHandle>> {
        self.shifted.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes that got items since this was asked last.
    pub(super) fn take_fresh(&self) -> HashSet<NodeId> {
        std::mem::take(&mut *self.fresh())
    }
}

/// The same without a source time. The server time says then when the device answered (Part 4 §7.11.4: when
/// the server received the value).
pub(super) fn without_source_time(value: &DataValue) -> DataValue {
    DataValue { server_timestamp: value.source_timestamp, source_timestamp: None, ..value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_items_whose_times_would_be_shifted_are_remembered_and_each_until_it_goes() {
        let items = Items::default();
        let item = |monitored_item_id| MonitoredItemHandle { subscription_id: 1, monitored_item_id };
        let node = NodeId::new(2, "pump/a");
        for (number, interval) in [(1, -1.0), (2, 0.0), (3, 0.001)] {
            items.created(item(number), &node, interval);
        }
        let shifted = || {
            let mut all: Vec<_> = items.shifted().iter().map(|item| item.monitored_item_id).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(shifted(), [1]);
        items.modified(item(2), 500.0);
        items.modified(item(1), 0.0);
        assert_eq!(shifted(), [2]);
        items.deleted([item(2), item(3)]);
        assert!(shifted().is_empty());
    }

    #[test]
    fn a_node_with_new_items_is_given_once() {
        let items = Items::default();
        let node = NodeId::new(2, "pump/a");
        for number in 1..=3 {
            let item = MonitoredItemHandle { subscription_id: 1, monitored_item_id: number };
            items.created(item, &node, 0.0);
        }
        assert_eq!(items.take_fresh(), HashSet::from([node]));
        assert!(items.take_fresh().is_empty());
    }
}
