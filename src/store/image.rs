//! The latest sample of each tag, and whether each device answers.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::model::{Batch, DeviceId, DeviceState, Directory, Identified, Sample, Stamp, TagId, Timestamp};

/// Written by `accept`, read by births, the page and the OPC UA server.
#[derive(Debug, Default)]
pub(super) struct Image(RwLock<Latest>);

#[derive(Debug, Default)]
struct Latest {
    samples: HashMap<TagId, Sample>,
    devices: HashMap<DeviceId, DeviceState>,
    identities: HashMap<DeviceId, Identified>,
    /// When a device was first seen alive.
    first: HashMap<DeviceId, (Timestamp, Stamp)>,
}

impl Image {
    /// Takes over what a batch says; whether the device's state is another than before.
    pub(super) fn take(&self, batch: &Batch) -> bool {
        let mut latest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = latest.devices.insert(batch.device, batch.state).unwrap_or_default();
        if batch.state == DeviceState::Alive
            && let Some(last) = batch.samples.iter().max_by_key(|s| s.at)
        {
            latest.first.entry(batch.device).or_insert((last.at, last.stamp));
        }
        for sample in &batch.samples {
            latest.samples.insert(sample.tag, sample.clone());
        }
        before != batch.state
    }

    /// Forgets devices and tags that are not among these.
    pub(super) fn retain(&self, directory: &Directory) {
        let mut latest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Latest { samples, devices, identities, first } = &mut *latest;
        samples.retain(|tag, _| directory.tag(*tag).is_some());
        devices.retain(|device, _| directory.device(*device).is_some());
        identities.retain(|device, _| directory.device(*device).is_some());
        first.retain(|device, _| directory.device(*device).is_some());
    }

    /// The latest sample of a tag.
    pub(super) fn sample(&self, tag: TagId) -> Option<Sample> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).samples.get(&tag).cloned()
    }

    /// Takes over who a device says that it is.
    pub(super) fn identify(&self, device: DeviceId, known: Identified) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).identities.insert(device, known);
    }

    /// Who a device said that it is.
    pub(super) fn identity(&self, device: DeviceId) -> Option<Identified> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).identities.get(&device).cloned()
    }

    /// When a device was first seen alive in this run.
    pub(super) fn first_seen(&self, device: DeviceId) -> Option<(Timestamp, Stamp)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).first.get(&device).copied()
    }

    /// Whether a device answers.
    pub(super) fn device(&self, device: DeviceId) -> DeviceState {
        let latest = self.0.read().unwrap_or_else(PoisonError::into_inner);
        latest.devices.get(&device).copied().unwrap_or_default()
    }
}
