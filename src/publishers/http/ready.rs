//! `/readyz`: whether the gateway polls and delivers, and why not.

use serde::Serialize;

use crate::model::{Device, DeviceState};
use crate::publishers::publisher::Context;
use crate::status::because;
use crate::telemetry::Connection;

/// Whether it polls and delivers; otherwise why not.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Readiness {
    /// Both; the same as no `reasons`.
    pub(super) ready: bool,
    reasons: Vec<String>,
}

/// Ready is a gateway of which at least one field link is up with a device that answers, and all publishers are up.
/// One dead device does not make it unready: restarting the gateway would not heal it.
pub(super) fn readiness(cx: &Context) -> Readiness {
    let mut reasons = Vec::new();
    let (directory, links) = (cx.directory.now(), cx.telemetry.links());
    // The gateway's own device always answers.
    let field = || directory.devices().iter().filter(|device| !device.is_node);
    let polls = |device: &Device| {
        cx.store.device_state(device.id) == DeviceState::Alive
            && links.iter().any(|link| *link.name == *device.link && link.state.get() == Connection::Up)
    };
    if field().next().is_some() && !field().any(polls) {
        reasons.push("no link is up with a device that answers".to_owned());
        for link in links.iter().filter(|link| link.state.get() == Connection::Down) {
            reasons.push(because(format!("link `{}` is down", link.name), link.state.trouble()));
        }
    }
    for publisher in cx.telemetry.publishers() {
        let state = publisher.state.get();
        if state != Connection::Up {
            let what = format!("publisher `{}` is {}", publisher.name, state.name());
            let trouble = if state == Connection::Down { publisher.state.trouble() } else { String::new() };
            reasons.push(because(what, trouble));
        }
    }
    Readiness { ready: reasons.is_empty(), reasons }
}
