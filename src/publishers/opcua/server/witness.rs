//! Sees every session as it is activated, the only moment that the library tells of, and compares it with its channel.

use std::sync::Arc;

use async_trait::async_trait;
use opcua::crypto::X509;
use opcua::nodes::DefaultTypeTree;
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::{NodeManager, RequestContext, ServerContext};
use opcua::types::NodeId;

use super::audit::Audit;
use super::papers::Channels;
use crate::publishers::opcua::pki::{self, Fault};

/// A node manager without nodes.
pub(super) struct Witness {
    publisher: String,
    channels: Arc<Channels>,
    audit: Arc<Audit>,
}

impl Witness {
    pub(super) fn new(publisher: &str, channels: Arc<Channels>, audit: Arc<Audit>) -> Witness {
        Witness { publisher: publisher.to_owned(), channels, audit }
    }
}

#[async_trait]
impl NodeManager for Witness {
    fn owns_node(&self, _id: &NodeId) -> bool {
        false
    }

    fn name(&self) -> &str {
        "witness"
    }

    /// Called in ActivateSession before its answer goes out, on the channel that brought it; later, too.
    fn namespaces_for_user(&self, context: &RequestContext) -> Vec<NamespaceMetadata> {
        let session = context.session.read();
        let Some(channel) = self.channels.get(session.secure_channel_id()) else { return Vec::new() };
        let of_session = session.client_certificate().map(X509::to_der).and_then(Result::ok);
        let uri = session.application_description().application_uri.as_ref();
        let fault = match &channel.certificate {
            // OPC 10000-4 §5.7.2.2: the certificate of the session is that of its channel.
            certificate if certificate.as_ref().map(|c| c.der()) != of_session.as_deref() => Fault::Changed,
            None => return Vec::new(),
            Some(certificate) => match pki::check_uri(certificate, uri) {
                Ok(()) => return Vec::new(),
                Err(fault) => fault,
            },
        };
        if channel.refused.set(fault).is_ok() {
            let certificate = channel.certificate.as_ref();
            self.audit.certificate(certificate, fault);
            tracing::warn!(
                target: "audit", publisher = self.publisher, peer = %channel.peer, code = %fault, says = ?uri,
                certificate = ?certificate.map(|c| c.uris()).unwrap_or_default(),
                "session refused: {}", fault.help()
            );
        }
        Vec::new()
    }

    async fn init(&self, _type_tree: &mut DefaultTypeTree, _context: ServerContext) {}
}
