//! Addresses of `[publish.opcua]` that the server dials: clients, and a discovery server.

use super::config::Config;
use crate::model::Mistake;

/// Of `opc.tcp://host:port`.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let url = url::Url::parse(text).ok().filter(|url| {
        url.scheme() == "opc.tcp"
            && url.username().is_empty()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
    })?;
    Some((url.host_str()?.to_owned(), url.port()?))
}

pub(super) fn register_at(config: &Config, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let written = config.register_at.as_ref()?;
    if host_and_port(written.get_ref()).is_none() {
        mistakes.push(Mistake::new(
            "bad-register-at",
            written.span(),
            format!("`{}` is no discovery server", written.get_ref()),
            "write its address with its port, as \"opc.tcp://lds.plant.example:4840\"",
        ));
    }
    Some(written.get_ref().clone())
}

pub(super) fn reverse_connect(config: &Config, mistakes: &mut Vec<Mistake>) -> Vec<(String, u16)> {
    let mut clients = Vec::new();
    for written in &config.reverse_connect {
        match host_and_port(written.get_ref()) {
            Some(client) if clients.contains(&client) => mistakes.push(Mistake::new(
                "duplicate-reverse-connect",
                written.span(),
                format!("`{}` is written twice", written.get_ref()),
                "remove one of them",
            )),
            Some(client) if clients.len() < 16 => clients.push(client),
            Some(_) => mistakes.push(Mistake::new(
                "too-many-reverse-connect",
                written.span(),
                "more than 16 clients to dial",
                "leave some out",
            )),
            None => mistakes.push(Mistake::new(
                "bad-reverse-connect",
                written.span(),
                format!("`{}` is no client to dial", written.get_ref()),
                "write its address with the port that it listens on, as \"opc.tcp://scada.plant.example:4841\"",
            )),
        }
    }
    clients
}
