//! The latest sample of each tag, and whether each device answers.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::model::{Batch, DeviceId, DeviceState, Sample, TagId};

/// Written by `accept`, read by births, the page and the OPC UA server.
#[derive(Debug, Default)]
pub(super) struct Image(RwLock<Latest>);

#[derive(Debug, Default)]
struct Latest {
    samples: HashMap<TagId, Sample>,
    devices: HashMap<DeviceId, DeviceState>,
}

impl Image {
    /// Takes over what a batch says.
    pub(super) fn take(&self, batch: &Batch) {
        let mut latest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        latest.devices.insert(batch.device, batch.state);
        for sample in &batch.samples {
            latest.samples.insert(sample.tag, sample.clone());
        }
    }

    /// The latest sample of a tag.
    pub(super) fn sample(&self, tag: TagId) -> Option<Sample> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).samples.get(&tag).cloned()
    }

    /// Whether a device answers.
    pub(super) fn device(&self, device: DeviceId) -> DeviceState {
        let latest = self.0.read().unwrap_or_else(PoisonError::into_inner);
        latest.devices.get(&device).copied().unwrap_or_default()
    }
}
