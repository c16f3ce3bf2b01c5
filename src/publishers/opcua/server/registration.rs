//! Registers the server at a discovery server (OPC 10000-4 section 5.5.5), again and again, and takes it off at a stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opcua::client::{Client, ClientBuilder};
use opcua::crypto::SecurityPolicy;
use opcua::types::{
    ApplicationType, EndpointDescription, LocalizedText, MessageSecurityMode, RegisteredServer,
};
use tokio::time::{sleep, timeout};

use crate::publishers::opcua::config;
use crate::publishers::opcua::pki::{self, Certificate, Identity, Trust};

/// OPC 10000-12 section 4.2.2: at most ten minutes apart.
const AGAIN: Duration = Duration::from_secs(600);
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), AGAIN);
/// How long one registration may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be registered, and where.
pub(super) struct Registration {
    publisher: String,
    at: String,
    identity: Identity,
    /// Under which clients find the server.
    url: String,
    trust: Arc<Trust>,
    required: bool,
    is_registered: AtomicBool,
}

impl Registration {
    pub(super) fn new(
        publisher: &str,
        at: String,
        identity: Identity,
        url: String,
        trust: Arc<Trust>,
        trusts: config::Trust,
    ) -> Registration {
        let (publisher, required) = (publisher.to_owned(), trusts == config::Trust::Required);
        Registration { publisher, at, identity, url, trust, required, is_registered: AtomicBool::new(false) }
    }

    /// Registers every ten minutes.
    pub(super) async fn keep(self: Arc<Registration>) -> Infallible {
        let mut pause = PAUSE.0;
        let mut down = false;
        loop {
            let (publisher, at) = (&self.publisher, &self.at);
            match self.tell(true).await {
                Ok(()) => {
                    self.is_registered.store(true, Ordering::Relaxed);
                    if std::mem::take(&mut down) || pause == PAUSE.0 {
                        tracing::info!(publisher, at, "registered at the discovery server");
                    }
                    pause = AGAIN;
                    sleep(AGAIN).await;
                }
                Err(why) => {
                    if !std::mem::replace(&mut down, true) {
                        pause = PAUSE.0;
                        tracing::warn!(
                            publisher,
                            at,
                            why,
                            "cannot register at the discovery server; tried again, at most ten minutes apart"
                        );
                    } else {
                        tracing::debug!(publisher, at, why, next_try = ?pause, "still not registered");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Says that the server is gone, where it was registered.
    pub(super) async fn end(&self, within: Duration) {
        if self.is_registered.load(Ordering::Relaxed) {
            let _ = timeout(within, self.tell(false)).await;
        }
    }

    async fn tell(&self, is_online: bool) -> Result<(), String> {
        timeout(PATIENCE, self.register(is_online)).await.map_err(|_| "no answer".to_owned())?
    }

    async fn register(&self, is_online: bool) -> Result<(), String> {
        let client = self.client()?;
        let endpoints = client.get_server_endpoints_from_url(self.at.as_str()).await;
        let endpoints = endpoints.map_err(|error| format!("it does not tell its endpoints: {error}"))?;
        let endpoint = best(endpoints).ok_or("it has no endpoint that this server encrypts to")?;
        self.check(&endpoint).await?;
        let server = RegisteredServer {
            server_uri: self.identity.uri.as_str().into(),
            product_uri: "urn:fieldgate".into(),
            server_names: Some(vec![LocalizedText::new("en", &self.identity.name)]),
            server_type: ApplicationType::Server,
            discovery_urls: Some(vec![self.url.as_str().into()]),
            is_online,
            ..RegisteredServer::default()
        };
        let registered = client.register_server(self.at.as_str(), &endpoint, server).await;
        registered.map_err(|error| format!("{error}; does it trust this server's certificate?"))
    }

    /// With the server's own certificate, as it is now.
    fn client(&self) -> Result<Client, String> {
        let folder = self.trust.folder();
        ClientBuilder::new()
            .application_name(&self.identity.name)
            .application_uri(&self.identity.uri)
            .product_uri("urn:fieldgate")
            .pki_dir(folder.root().join("private/registering"))
            .certificate_path(folder.own())
            .private_key_path(folder.key())
            // Checked before: the channel is encrypted to that certificate.
            .trust_server_certs(true)
            .verify_server_certs(false)
            .session_retry_limit(0)
            .client()
            .map_err(|errors| errors.join(", "))
    }

    /// The discovery server is trusted as clients are.
    async fn check(&self, endpoint: &EndpointDescription) -> Result<(), String> {
        let certificate = Certificate::from_der(endpoint.server_certificate.as_ref())
            .ok_or("it has no certificate, or one that cannot be read")?;
        let (trust, required) = (self.trust.clone(), self.required);
        let checking = tokio::task::spawn_blocking(move || {
            let list = required.then(|| trust.now());
            pki::check(&certificate, list.as_deref(), pki::now()).map_err(|fault| {
                let _ = trust.folder().reject(&certificate);
                format!("its certificate {} is refused: {fault}: {}", certificate.thumbprint(), fault.help())
            })
        });
        checking.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// The strongest endpoint with a policy that this server has, too.
fn best(endpoints: Vec<EndpointDescription>) -> Option<EndpointDescription> {
    let known = |one: &EndpointDescription| match SecurityPolicy::from_uri(one.security_policy_uri.as_ref()) {
        SecurityPolicy::Aes256Sha256RsaPss => Some(2),
        SecurityPolicy::Basic256Sha256 => Some(1),
        _ => None,
    };
    let encrypted =
        endpoints.into_iter().filter(|one| one.security_mode == MessageSecurityMode::SignAndEncrypt);
    encrypted.filter_map(|one| Some((known(&one)?, one))).max_by_key(|(rank, _)| *rank).map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_encrypted_endpoint_is_taken_and_never_one_that_is_not() {
        let endpoint = |policy: SecurityPolicy, mode| EndpointDescription {
            security_policy_uri: policy.to_uri().into(),
            security_mode: mode,
            ..Default::default()
        };
        let none = endpoint(SecurityPolicy::None, MessageSecurityMode::None);
        let signed = endpoint(SecurityPolicy::Aes256Sha256RsaPss, MessageSecurityMode::Sign);
        let old = endpoint(SecurityPolicy::Basic256, MessageSecurityMode::SignAndEncrypt);
        let usual = endpoint(SecurityPolicy::Basic256Sha256, MessageSecurityMode::SignAndEncrypt);
        let strong = endpoint(SecurityPolicy::Aes256Sha256RsaPss, MessageSecurityMode::SignAndEncrypt);
        assert!(best(vec![none.clone(), signed.clone(), old.clone()]).is_none());
        let of = |all: Vec<EndpointDescription>| best(all).unwrap().security_policy_uri;
        assert_eq!(of(vec![old, usual.clone(), none.clone()]), usual.security_policy_uri);
        assert_eq!(of(vec![none, strong.clone(), signed, usual]), strong.security_policy_uri);
    }
}
