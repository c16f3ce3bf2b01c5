//! Audit events at the Server object (OPC 10000-5 §6.4.3): writes, log-ins, acknowledged alarms, refused certificates.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opcua::crypto::Thumbprint;
use opcua::server::address_space::AccessLevel;
use opcua::server::authenticator::{AuthManager, CoreServerPermissions, Password, UserToken};
use opcua::server::node_manager::MethodCall;
use opcua::server::{ServerEndpoint, SubscriptionCache};
use opcua::types::{
    AttributeId, ByteString, DataValue, DateTime, Error, NodeId, ObjectId, ObjectTypeId, StatusCode,
    UserTokenPolicy, Variant,
};

use super::events::{self, Base, Field, Told};
use crate::publishers::opcua::pki::{Certificate, Fault};

/// Tells audit events, once the server is there.
#[derive(Default)]
pub(super) struct Audit {
    pub(super) subscriptions: OnceLock<Arc<SubscriptionCache>>,
    pub(super) server: OnceLock<String>,
    /// Different in each run.
    pub(super) run: u64,
    told: AtomicU64,
    /// Since when certificates are counted, and how many were told.
    certificates: Mutex<Option<(Instant, u32)>>,
}

/// A Write that was answered.
pub(super) struct Written<'a> {
    pub(super) node: &'a NodeId,
    pub(super) attribute: AttributeId,
    pub(super) who: &'a str,
    pub(super) old: Option<Variant>,
    pub(super) new: &'a DataValue,
    pub(super) status: StatusCode,
}

impl Audit {
    /// As urgent as what goes well and what does not.
    const SEVERITY: (u16, u16) = (100, 500);
    /// So many refused certificates are told in so long: strangers cause them, and alarms are in the same queues.
    const CERTIFICATES: (u32, Duration) = (20, Duration::from_secs(60));

    pub(super) fn new(run: u64) -> Audit {
        Audit { run, ..Audit::default() }
    }

    pub(super) fn written(&self, written: &Written<'_>) {
        let verb = if written.status.is_good() { "wrote" } else { "tried to write" };
        let message = format!("{} {verb} {}: {}", written.who, written.node, written.status);
        let new = written.new.value.clone().unwrap_or(Variant::Empty);
        let more: Vec<Field> = vec![
            (&["AttributeId"], Variant::from(written.attribute as u32)),
            (&["IndexRange"], Variant::Empty),
            (&["OldValue"], written.old.clone().unwrap_or(Variant::Empty)),
            (&["NewValue"], new),
        ];
        let kind = ObjectTypeId::AuditWriteUpdateEventType;
        self.tell(kind, "Attribute/Write", &message, written.who, written.status, more);
    }

    fn logged_in(&self, who: &str, status: StatusCode) {
        let message = if status.is_good() {
            format!("{who} logged in")
        } else {
            format!("log-in as {who} refused: {status}")
        };
        // The library tells whom it asks for neither the session nor its channel.
        let more: Vec<Field> =
            vec![(&["StatusCodeId"], Variant::from(status)), (&["SessionId"], Variant::from(NodeId::null()))];
        let kind = ObjectTypeId::AuditActivateSessionEventType;
        self.tell(kind, "Session/ActivateSession", &message, who, status, more);
    }

    /// Somebody acknowledged an alarm, or was not let.
    pub(super) fn condition(&self, call: &MethodCall, who: &str, status: StatusCode) {
        let verb = if status.is_good() { "acknowledged" } else { "tried to acknowledge" };
        let message = format!("{who} {verb} {}: {status}", call.object_id());
        let argument = |at: usize| call.arguments().get(at).cloned().unwrap_or(Variant::Empty);
        let more: Vec<Field> = vec![
            (&["MethodId"], Variant::from(call.method_id().clone())),
            (&["ConditionEventId"], argument(0)),
            (&["Comment"], argument(1)),
        ];
        let kind = ObjectTypeId::AuditConditionAcknowledgeEventType;
        self.tell(kind, "Method/Acknowledge", &message, who, status, more);
    }

    /// A client's certificate was refused; `None` where it cannot be read. OPC 10000-5 §6.4.12 to §6.4.18.
    pub(super) fn certificate(&self, certificate: Option<&Certificate>, fault: Fault) {
        if !self.takes_certificate(Instant::now()) {
            return;
        }
        let kind = match fault {
            Fault::Invalid | Fault::Policy | Fault::Changed => ObjectTypeId::AuditCertificateInvalidEventType,
            Fault::Untrusted | Fault::ChainIncomplete => ObjectTypeId::AuditCertificateUntrustedEventType,
            Fault::Time | Fault::IssuerTime => ObjectTypeId::AuditCertificateExpiredEventType,
            Fault::Use | Fault::IssuerUse => ObjectTypeId::AuditCertificateMismatchEventType,
            Fault::Uri => ObjectTypeId::AuditCertificateDataMismatchEventType,
            Fault::RevocationUnknown
            | Fault::IssuerRevocationUnknown
            | Fault::Revoked
            | Fault::IssuerRevoked => ObjectTypeId::AuditCertificateRevokedEventType,
        };
        let status = StatusCode::from(fault.code());
        let thumbprint = certificate.map(Certificate::thumbprint).unwrap_or_default();
        let message = format!("client certificate {thumbprint} refused: {fault}");
        let bytes = certificate.map_or_else(ByteString::null, |one| ByteString::from(one.der().to_vec()));
        let more: Vec<Field> =
            vec![(&["StatusCodeId"], Variant::from(status)), (&["Certificate"], Variant::from(bytes))];
        self.tell(kind, "Security/Certificate", &message, "", status, more);
    }

    fn takes_certificate(&self, now: Instant) -> bool {
        let (most, within) = Self::CERTIFICATES;
        let mut counted = self.certificates.lock().unwrap_or_else(|e| e.into_inner());
        let (since, told) =
            counted.filter(|(since, _)| now.duration_since(*since) < within).unwrap_or((now, 0));
        *counted = Some((since, told.saturating_add(1)));
        told < most
    }

    fn tell(
        &self,
        kind: ObjectTypeId,
        source_name: &str,
        message: &str,
        who: &str,
        status: StatusCode,
        more: Vec<Field>,
    ) {
        let Some(subscriptions) = self.subscriptions.get() else { return };
        let mut id = [0; 16];
        let (run, number) = id.split_at_mut(8);
        run.copy_from_slice(&self.run.to_be_bytes());
        // Counted apart from the events of alarms.
        let told = self.told.fetch_add(1, Ordering::Relaxed) | 1 << 63;
        number.copy_from_slice(&told.to_be_bytes());
        let server = NodeId::from(ObjectId::Server);
        let severity = if status.is_good() { Self::SEVERITY.0 } else { Self::SEVERITY.1 };
        let base =
            Base { kind, id, source: server.clone(), source_name, time: DateTime::now(), message, severity };
        let mut fields = events::audit_fields(self.server.get().map_or("", String::as_str), who, status);
        fields.extend(more);
        let event = Told::new(base, None, fields);
        subscriptions.notify_events(std::iter::once((&event as _, &server)));
    }
}

/// Whoever decides on log-ins, with an event for each decision.
pub(super) struct Audited<T> {
    pub(super) inner: Arc<T>,
    pub(super) audit: Arc<Audit>,
}

impl<T> Audited<T> {
    fn told<R>(&self, who: &str, answer: Result<R, Error>) -> Result<R, Error> {
        // A name that somebody made up is not to be longer than a name.
        let who: String = who.chars().take(64).collect();
        let status = answer.as_ref().err().map_or(StatusCode::Good, Error::status);
        self.audit.logged_in(&who, status);
        answer
    }
}

#[async_trait]
impl<T: AuthManager> AuthManager for Audited<T> {
    async fn authenticate_anonymous_token(&self, endpoint: &ServerEndpoint) -> Result<(), Error> {
        self.told("anonymous", self.inner.authenticate_anonymous_token(endpoint).await)
    }

    async fn authenticate_username_identity_token(
        &self,
        endpoint: &ServerEndpoint,
        username: &str,
        password: &Password,
    ) -> Result<UserToken, Error> {
        let answer = self.inner.authenticate_username_identity_token(endpoint, username, password).await;
        self.told(username, answer)
    }

    async fn authenticate_x509_identity_token(
        &self,
        endpoint: &ServerEndpoint,
        signing_thumbprint: &Thumbprint,
    ) -> Result<UserToken, Error> {
        let answer = self.inner.authenticate_x509_identity_token(endpoint, signing_thumbprint).await;
        let who = answer.as_ref().map_or_else(|_| "a certificate".to_owned(), |token| token.0.clone());
        self.told(&who, answer)
    }

    async fn authenticate_issued_identity_token(
        &self,
        endpoint: &ServerEndpoint,
        token: &ByteString,
    ) -> Result<UserToken, Error> {
        self.inner.authenticate_issued_identity_token(endpoint, token).await
    }

    fn effective_user_access_level(
        &self,
        token: &UserToken,
        user_access_level: AccessLevel,
        node_id: &NodeId,
    ) -> AccessLevel {
        self.inner.effective_user_access_level(token, user_access_level, node_id)
    }

    fn is_user_executable(&self, token: &UserToken, method_id: &NodeId) -> bool {
        self.inner.is_user_executable(token, method_id)
    }

    fn user_token_policies(&self, endpoint: &ServerEndpoint) -> Vec<UserTokenPolicy> {
        self.inner.user_token_policies(endpoint)
    }

    fn supports_anonymous(&self, endpoint: &ServerEndpoint) -> bool {
        self.inner.supports_anonymous(endpoint)
    }

    fn supports_user_pass(&self, endpoint: &ServerEndpoint) -> bool {
        self.inner.supports_user_pass(endpoint)
    }

    fn supports_x509(&self, endpoint: &ServerEndpoint) -> bool {
        self.inner.supports_x509(endpoint)
    }

    fn supports_issued_token(&self, endpoint: &ServerEndpoint) -> bool {
        self.inner.supports_issued_token(endpoint)
    }

    fn core_permissions(&self, token: &UserToken) -> CoreServerPermissions {
        self.inner.core_permissions(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cause_a_bounded_number_of_events_a_minute() {
        let (audit, now) = (Audit::new(1), Instant::now());
        let told = |at: Instant| (0..1000).filter(|_| audit.takes_certificate(at)).count();
        assert_eq!(told(now), 20);
        assert_eq!(told(now + Duration::from_secs(59)), 0);
        assert_eq!(told(now + Duration::from_secs(60)), 20);
    }
}
