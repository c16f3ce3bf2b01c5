//! What a connection needs that is read anew before each one: secrets and files.

#[cfg(feature = "tls")]
use std::sync::Arc;

use crate::model::Secret;

use super::address::Address;
use super::config::Spec;

/// Read before each connection, so that what was replaced meanwhile is used.
pub(in crate::publishers) struct Credentials {
    pub(super) client_id: String,
    pub(super) password: Option<String>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

impl Credentials {
    /// Reads what the connection to this broker needs. `Err`: what is wrong and what to do.
    pub(in crate::publishers) async fn read(
        spec: &Spec,
        address: &Address,
        default_id: String,
    ) -> Result<Credentials, String> {
        let (spec, encrypted) = (spec.clone(), address.tls);
        let read = move || -> Result<Credentials, String> {
            let password = spec.password.as_ref().map(Secret::reveal).transpose();
            #[cfg(feature = "tls")]
            let tls = if encrypted { Some(tls(&spec)?) } else { None };
            #[cfg(not(feature = "tls"))]
            let _ = encrypted;
            Ok(Credentials {
                client_id: spec.client_id.unwrap_or(default_id),
                password: password.map_err(|error| error.to_string())?,
                #[cfg(feature = "tls")]
                tls,
            })
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

#[cfg(feature = "tls")]
fn tls(spec: &Spec) -> Result<Arc<rustls::ClientConfig>, String> {
    use crate::tls::{Identity, Key, client_config};

    let ca = spec.ca.as_deref();
    let mut config = match &spec.identity {
        None => client_config(ca, None)?,
        Some((certificate, key)) => {
            let place = match key {
                Secret::File(path) => path.display().to_string(),
                Secret::Env(name) => format!("of the environment variable {name}"),
                Secret::Credential(name) => format!("of the credential {name}"),
            };
            let text = key.reveal().map_err(|error| format!("`key`: {error}"))?;
            client_config(ca, Some(Identity { certificate, key: Key::Pem(&text, &place) }))?
        }
    };
    if !spec.alpn.is_empty() {
        Arc::make_mut(&mut config).alpn_protocols =
            spec.alpn.iter().map(|p| p.clone().into_bytes()).collect();
    }
    Ok(config)
}
