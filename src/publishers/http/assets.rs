//! What the API says of the devices as things: which there are, and who they say that they are.

use serde::Serialize;

use crate::model::{Identity, Timestamp};
use crate::publishers::publisher::Context;

/// `/api/v1/assets`
#[derive(Debug, Serialize)]
pub(super) struct Assets {
    /// Milliseconds since 1970, UTC; so are all moments below.
    now: i64,
    assets: Vec<Asset>,
}

#[derive(Debug, Serialize)]
struct Asset {
    device: String,
    link: String,
    /// `modbus-tcp`, `modbus-rtu`.
    protocol: Option<&'static str>,
    address: Option<String>,
    unit: Option<u16>,
    description: Option<String>,
    /// `alive`, `dead`, `unknown`.
    state: &'static str,
    /// In this run of the gateway.
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    /// By the profile of the file.
    manufacturer: Option<String>,
    model: Option<String>,
    /// What the device says itself.
    identity: Option<Identity>,
    identified_at: Option<i64>,
}

/// All devices but the gateway itself.
pub(super) fn assets(cx: &Context) -> Assets {
    let (stats, directory) = (cx.telemetry.devices(), cx.directory.now());
    let asset = |device: &crate::model::Device| {
        let plate = directory.plate(device.id);
        let known = cx.store.identity(device.id);
        let last = stats.iter().find(|s| *s.name == *device.name).map(|s| s.last_answer.get());
        Asset {
            device: device.name.to_string(),
            link: device.link.to_string(),
            protocol: plate.map(|p| p.protocol),
            address: plate.map(|p| p.address.clone()),
            unit: plate.and_then(|p| p.unit),
            description: device.description.as_deref().map(str::to_owned),
            state: cx.store.device_state(device.id).name(),
            first_seen: cx.store.first_seen(device.id).map(Timestamp::millis),
            last_seen: last.filter(|at| *at != 0).map(|at| Timestamp(at).millis()),
            manufacturer: plate.and_then(|p| p.manufacturer.clone()),
            model: plate.and_then(|p| p.model.clone()),
            identified_at: known.as_ref().map(|known| known.at.millis()),
            identity: known.map(|known| (*known.identity).clone()),
        }
    };
    let devices = directory.devices().iter().filter(|device| !device.is_node);
    Assets { now: cx.clock.now().millis(), assets: devices.map(asset).collect() }
}
