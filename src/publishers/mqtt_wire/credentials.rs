//! What a connection needs that is read anew before each one: secrets and files.

use std::hash::{DefaultHasher, Hash, Hasher};
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
    /// Of what it was read from.
    pub(super) print: u64,
    /// From when to when the own certificate is valid, in seconds since 1970.
    pub(super) valid: Option<(u64, u64)>,
}

impl Credentials {
    /// Reads what the connection to this broker needs. `Err`: what is wrong and what to do.
    pub(in crate::publishers) async fn read(
        spec: &Spec,
        address: &Address,
        default_id: String,
    ) -> Result<Credentials, String> {
        let (spec, encrypted) = (spec.clone(), address.tls);
        let read = move || Credentials::look(&spec, encrypted, default_id);
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The same at once. Reads files: not for the runtime's own threads.
    pub(super) fn look(spec: &Spec, encrypted: bool, default_id: String) -> Result<Credentials, String> {
        // First: what is replaced after it counts as another one, and is looked at again.
        let print = print(spec, encrypted);
        let password = spec.password.as_ref().map(Secret::reveal).transpose();
        #[cfg(feature = "tls")]
        let tls = if encrypted { Some(tls(spec)?) } else { None };
        #[cfg(feature = "tls")]
        let valid = match &spec.identity {
            Some((certificate, _)) if encrypted => crate::tls::validity_of(certificate)?,
            _ => None,
        };
        #[cfg(not(feature = "tls"))]
        let valid = None;
        Ok(Credentials {
            client_id: spec.client_id.clone().unwrap_or(default_id),
            password: password.map_err(|error| error.to_string())?,
            #[cfg(feature = "tls")]
            tls,
            print,
            valid,
        })
    }
}

/// The files that may be replaced while the gateway runs.
pub(super) fn has_files(spec: &Spec, encrypted: bool) -> bool {
    let is_file = |secret: &Secret| !matches!(secret, Secret::Env(_));
    spec.password.as_ref().is_some_and(is_file) || encrypted && (spec.ca.is_some() || spec.identity.is_some())
}

/// A number for the content of all files; what cannot be read counts as well. Never to be shown: a password is in it.
pub(super) fn print(spec: &Spec, encrypted: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut secret = |secret: &Option<&Secret>| secret.map(|s| s.reveal().ok()).hash(&mut hasher);
    secret(&spec.password.as_ref());
    secret(&spec.identity.as_ref().map(|(_, key)| key).filter(|_| encrypted));
    let certificate = spec.identity.as_ref().map(|(certificate, _)| certificate);
    for path in [spec.ca.as_ref(), certificate].into_iter().flatten().filter(|_| encrypted) {
        std::fs::read(path).ok().hash(&mut hasher);
    }
    hasher.finish()
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
