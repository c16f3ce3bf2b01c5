//! What a connection needs that is read anew before each one: secrets and files.

#[cfg(feature = "tls")]
use std::sync::Arc;

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
            let password = spec.password.as_ref().map(crate::model::Secret::reveal).transpose();
            #[cfg(feature = "tls")]
            let tls =
                if encrypted { Some(crate::tls::client_config(spec.ca.as_deref(), None)?) } else { None };
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
