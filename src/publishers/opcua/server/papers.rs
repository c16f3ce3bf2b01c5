//! What a connection brings to identify itself: the certificate of each OPN is checked, its session compared with it.
//!
//! The library looks at certificates in `CreateSession` only and tells nobody which channel a request came by. But an
//! OPN names its policy and certificate in clear. What is let in here, the library is told by a file in `approved`:
//! who finds another way to it finds the same check again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use opcua::server::ServerHandle;

use super::audit::Audit;
use crate::publishers::opcua::config;
use crate::publishers::opcua::pki::{self, Certificate, Fault, Trust};
use crate::publishers::opcua::status::Status;
use crate::publishers::opcua::wire::{self, Opening, Refusal};
use crate::publishers::publisher::Context;
use crate::telemetry::PublisherStats;

/// A channel between a client and the library.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) peer: SocketAddr,
    /// With which it was opened; none without security.
    pub(super) certificate: Option<Certificate>,
    /// Set once: its next frame to the client is this error, and its last one.
    pub(super) refused: OnceLock<Fault>,
}

/// The channels of one library server, by the id that it gave them.
#[derive(Debug, Default)]
pub(super) struct Channels(Mutex<HashMap<u32, Arc<Channel>>>);

impl Channels {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Channel>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    pub(super) fn get(&self, id: u32) -> Option<Arc<Channel>> {
        self.lock().get(&id).cloned()
    }
}

/// Where the library serves.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) handle: ServerHandle,
    pub(super) channels: Arc<Channels>,
    /// Where the library looks for certificates that may come in.
    pub(super) approved: PathBuf,
    /// Who is told of those that are refused.
    pub(super) audit: Arc<Audit>,
}

/// Decides whose channels are opened.
#[derive(Debug)]
pub(super) struct Keeper {
    publisher: String,
    stats: Arc<PublisherStats>,
    trust: Arc<Trust>,
    required: bool,
    /// Certificates that had to leave `rejected` for newer ones.
    forgotten: AtomicU64,
}

impl Keeper {
    pub(super) fn new(cx: &Context, trust: Arc<Trust>, config: config::Trust) -> Keeper {
        let required = config == config::Trust::Required;
        let (publisher, stats) = (cx.name.clone(), cx.stats.clone());
        Keeper { publisher, stats, trust, required, forgotten: AtomicU64::new(0) }
    }

    /// Blocking.
    fn check(
        &self,
        certificate: Option<&[u8]>,
        peer: SocketAddr,
        inner: &Inner,
    ) -> Result<Certificate, Fault> {
        let Some(certificate) = certificate.and_then(Certificate::from_der) else {
            self.stats.certificates_refused.bump();
            tracing::warn!(target: "audit", publisher = self.publisher, %peer, code = %Fault::Invalid, "client certificate refused: {}", Fault::Invalid.help());
            inner.audit.certificate(None, Fault::Invalid);
            return Err(Fault::Invalid);
        };
        let list = self.required.then(|| self.trust.now());
        let checked = pki::check(&certificate, list.as_deref(), pki::now());
        let approved = match checked {
            Ok(()) => super::approved::add(&inner.approved, &certificate),
            Err(fault) => {
                self.refuse(&certificate, fault, peer);
                inner.audit.certificate(Some(&certificate), fault);
                super::approved::remove(&inner.approved, &certificate);
                return Err(fault);
            }
        };
        if let Err(error) = approved {
            tracing::error!(publisher = self.publisher, folder = %inner.approved.display(), %error, "cannot let a client in: make room on the disk");
            return Err(Fault::Untrusted);
        }
        Ok(certificate)
    }

    fn refuse(&self, certificate: &Certificate, fault: Fault, peer: SocketAddr) {
        self.stats.certificates_refused.bump();
        let folder = self.trust.folder();
        let forgotten = folder.reject(certificate).unwrap_or_else(|error| {
            tracing::warn!(publisher = self.publisher, folder = %folder.root().display(), %error, "cannot keep a rejected certificate; look at the disk");
            0
        });
        let forgotten = self.forgotten.fetch_add(forgotten as u64, Ordering::Relaxed) + forgotten as u64;
        tracing::warn!(
            target: "audit", publisher = self.publisher, %peer, code = %fault, forgotten,
            subject = ?certificate.subject(), thumbprint = certificate.thumbprint(),
            "client certificate refused: {}", fault.help()
        );
    }
}

/// As a client is told that its certificate or session is refused.
fn refusal(fault: Fault) -> Refusal {
    (Status(fault.code()), fault.name())
}

/// What one client's connection has shown.
pub(super) struct Papers {
    peer: SocketAddr,
    keeper: Arc<Keeper>,
    inner: Inner,
    /// As it was opened first, with the certificate as it was read.
    opened: OnceLock<(Opening, Option<Certificate>)>,
    channel: OnceLock<(u32, Arc<Channel>)>,
}

impl Papers {
    pub(super) fn new(peer: SocketAddr, keeper: Arc<Keeper>, inner: Inner) -> Papers {
        Papers { peer, keeper, inner, opened: OnceLock::new(), channel: OnceLock::new() }
    }

    /// Whether a whole OPN of the client may go on to the library; gives whether it asks for security.
    pub(super) async fn open(&self, message: &[u8]) -> Result<bool, Refusal> {
        let opening = wire::opening(message)?;
        // The library would let a channel go on without the security that it began with.
        if self.opened.get().is_some_and(|(first, _)| {
            first.policy != opening.policy || first.certificate != opening.certificate
        }) {
            tracing::warn!(target: "audit", publisher = self.keeper.publisher, peer = %self.peer, "a channel was to be renewed with another certificate or policy: closed");
            return Err(refusal(Fault::Changed));
        }
        let certificate = match opening.policy.as_str() {
            wire::NONE => None,
            _ => {
                let (keeper, inner, peer) = (self.keeper.clone(), self.inner.clone(), self.peer);
                let bytes = opening.certificate.clone();
                let checking =
                    tokio::task::spawn_blocking(move || keeper.check(bytes.as_deref(), peer, &inner));
                Some(checking.await.unwrap_or(Err(Fault::Invalid)).map_err(refusal)?)
            }
        };
        let is_secure = certificate.is_some();
        let _ = self.opened.set((opening, certificate));
        Ok(is_secure)
    }

    /// Whether a whole chunk of the library may go on to the client; `opens` says that it is an OPN.
    pub(super) fn answer(&self, message: &[u8], opens: bool) -> Result<(), Refusal> {
        if let (true, None, Some((_, certificate))) = (opens, self.channel.get(), self.opened.get()) {
            let id = wire::opening(message)?.channel;
            let channel =
                Channel { peer: self.peer, certificate: certificate.clone(), refused: OnceLock::new() };
            let channel = Arc::new(channel);
            self.inner.channels.lock().insert(id, channel.clone());
            let _ = self.channel.set((id, channel));
        }
        match self.channel.get().and_then(|(_, channel)| channel.refused.get()) {
            Some(fault) => Err(refusal(*fault)),
            None => Ok(()),
        }
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        if let Some((id, _)) = self.channel.get() {
            self.inner.channels.lock().remove(id);
        }
    }
}
