//! What must differ from the file on this machine: where the devices, the broker and the ports are.

use crate::model::Spanned;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::Config;
use crate::publishers::mqtt_wire::config::Brokers;
use crate::publishers::opcua::config::Security;
use crate::simulate::plant::{Endpoint, Plant};

/// What is where on this machine.
pub(super) struct Machine<'a> {
    pub(super) plant: &'a Plant,
    pub(super) broker: &'a str,
    pub(super) opcua: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) folder: &'a Path,
}

/// Changes places and log-ins; devices, tags, periods and all else stay as in the file.
pub(super) fn adapt(config: &mut Config, machine: &Machine<'_>) {
    for link in &mut config.link.modbus_tcp {
        let link = link.get_mut();
        if let Some(Endpoint::Tcp(address)) = machine.plant.endpoint(link.name.get_ref()) {
            link.host = Some(implied(address.ip().to_string()));
            link.port = Some(implied(address.port()));
        }
    }
    for link in &mut config.link.modbus_rtu {
        let link = link.get_mut();
        if let Some(Endpoint::Serial(path)) = machine.plant.endpoint(link.name.get_ref()) {
            *link.port.get_mut() = path.display().to_string();
        }
    }
    config.store.path = Some(implied(machine.folder.join("store")));
    for sparkplug in &mut config.publish.sparkplug {
        let sparkplug = sparkplug.get_mut();
        sparkplug.broker = Brokers(vec![implied(machine.broker.to_owned())]);
        (sparkplug.username, sparkplug.password, sparkplug.ca) = (None, None, None);
        // No host is there to be awaited, and nobody to start the demo again.
        (sparkplug.primary_host, sparkplug.state_topics, sparkplug.start_delay) = (None, None, None);
        sparkplug.allow.clear();
    }
    for mqtt in &mut config.publish.mqtt {
        let mqtt = mqtt.get_mut();
        mqtt.broker = Brokers(vec![implied(machine.broker.to_owned())]);
        (mqtt.username, mqtt.password, mqtt.ca) = (None, None, None);
        (mqtt.certificate, mqtt.key, mqtt.start_delay) = (None, None, None);
        mqtt.alpn.clear();
    }
    if let Some(opcua) = &mut config.publish.opcua {
        let opcua = opcua.get_mut();
        opcua.listen = Some(implied(machine.opcua.to_string()));
        // On loopback only, and only here: the file asks for certificates and passwords.
        opcua.security = Some(implied(vec![implied(Security::None)]));
        opcua.anonymous = Some(implied(true));
        opcua.user.clear();
        opcua.host = None;
    }
    if let Some(http) = &mut config.publish.http {
        http.get_mut().listen = Some(implied(machine.http.to_string()));
    }
}

fn implied<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
