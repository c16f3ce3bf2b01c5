//! One library server after another: a renewed certificate gets a new one, and the old one serves who is on it.
//!
//! The library holds its certificate as long as it lives. So new connections go to a new server with the new
//! certificate, and the old one stays until its last client has gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::approved;
use super::auth::Users;
use super::door;
use super::papers::Inner;
use super::peers::Peers;
use super::pump::{Ends, Pump};
use super::setup::{self, Ready};
use super::shared::Shared;
use crate::model::Directory;
use crate::publishers::opcua::config::Spec;
use crate::publishers::opcua::pki::{self, Certificate, Folder, Identity, Trust};
use crate::publishers::publisher::Context;
use crate::store::ReaderOptions;
use crate::telemetry::{PublisherStats, days_left};

type Changes = watch::Receiver<Arc<Directory>>;

/// The servers of one run.
pub(super) struct Generations {
    spec: Spec,
    cx: Context,
    /// Devices and tags as the configuration has them.
    changes: Changes,
    shared: Shared,
    /// As clients see it.
    port: u16,
    number: u32,
    current: Current,
    old: Vec<Current>,
    /// A task for each server; all end with it.
    running: JoinSet<(u32, Result<(), String>)>,
    door: watch::Sender<Inner>,
}

/// A server that serves.
struct Current {
    number: u32,
    thumbprint: String,
    inner: Inner,
    /// Ends it when it is dropped, also in a panic.
    _closing: DropGuard,
}

/// The first server, which waits for the port.
pub(super) struct First {
    spec: Spec,
    cx: Context,
    changes: Changes,
    shared: Shared,
    ready: Ready,
    closing: CancellationToken,
}

/// Most servers at a time; the oldest is closed, and its clients come again.
const MOST: usize = 3;
/// How often the certificate is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long a server is waited for until it takes connections.
const START: Duration = Duration::from_secs(60);

impl Generations {
    /// Every so many looks the folders are tidied, and the ends of certificates looked at.
    const TIDY: u32 = 15;

    /// Prepares folders, certificate and server.
    pub(super) async fn first(spec: &Spec, cx: &Context, changes: Changes) -> Result<First, String> {
        let (spec, cx) = (spec.clone(), cx.clone());
        let building = tokio::task::spawn_blocking(move || {
            let shared = Shared::prepare(&spec, &cx)?;
            let closing = CancellationToken::new();
            let ready = setup::build(&spec, &cx, &shared, 0, closing.clone())?;
            Ok(First { spec, cx, changes, shared, ready, closing })
        });
        building.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    pub(super) fn host(&self) -> &str {
        &self.shared.identity.host
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// The application URI, as in the certificate.
    pub(super) fn uri(&self) -> &str {
        &self.shared.identity.uri
    }

    /// Who may log in, and who is there: the same for all servers.
    pub(super) fn people(&self) -> (Arc<Users>, Arc<Peers>) {
        (self.shared.users.clone(), self.shared.peers.clone())
    }

    pub(super) fn folder(&self) -> Folder {
        self.shared.folder.clone()
    }

    /// Where new connections go.
    pub(super) fn inner(&self) -> watch::Receiver<Inner> {
        self.door.subscribe()
    }

    /// Follows the certificate until a server ends by itself.
    pub(super) async fn run(&mut self, trust: &Arc<Trust>) -> Result<(), String> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed: Option<String> = None;
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                _ = look.tick() => {}
                ended = self.running.join_next() => {
                    let (number, ended) = ended.and_then(Result::ok).ok_or("the server fell")?;
                    if number == self.current.number {
                        return ended.and(Err("the server ended by itself".to_owned()));
                    }
                    continue;
                }
            }
            // Who has been on an old one long enough to have a channel, and has none, has gone.
            self.old.retain(|old| old.inner.channels.any());
            let folder = self.shared.folder.clone();
            let approved: Vec<_> =
                self.old.iter().chain([&self.current]).map(|one| one.inner.approved.clone()).collect();
            let (trust, stats, publisher) = (trust.clone(), self.cx.stats.clone(), self.cx.name.clone());
            let users = self.shared.users.clone();
            let known = self.current.thumbprint.clone();
            let tidies = looks.is_multiple_of(Self::TIDY);
            looks = looks.wrapping_add(1);
            let looking = tokio::task::spawn_blocking(move || {
                let own = Certificate::from_file(&pki::read(&folder.own())?)?;
                if tidies {
                    approved.iter().for_each(|folder| approved::cap(folder));
                    watch_ends(&publisher, &stats, &own, &trust, &users);
                }
                // Between a new key and its certificate they do not belong together.
                (own.thumbprint() == known || pki::load(&folder).is_some()).then(|| own.thumbprint())
            });
            let Ok(Some(thumbprint)) = looking.await else { continue };
            if thumbprint == self.current.thumbprint || failed.as_ref() == Some(&thumbprint) {
                continue;
            }
            match self.follow().await {
                Ok(()) => {
                    tracing::info!(
                        publisher = self.cx.name,
                        thumbprint,
                        "the certificate was renewed: new connections get the new one, those that there are go on"
                    );
                }
                Err(error) => {
                    tracing::error!(
                        publisher = self.cx.name,
                        error,
                        "the renewed certificate cannot be used; the one before is"
                    );
                    failed = Some(thumbprint);
                }
            }
        }
    }

    /// Starts a server with the certificate as it is now; new connections go there.
    async fn follow(&mut self) -> Result<(), String> {
        self.number += 1;
        let (spec, shared, number) = (self.spec.clone(), self.shared.clone(), self.number);
        let (changes, cx) = (self.changes.clone(), self.cx.clone());
        let closing = CancellationToken::new();
        let ends = closing.clone();
        let building = tokio::task::spawn_blocking(move || setup::build(&spec, &cx, &shared, number, ends));
        let ready = building.await.unwrap_or_else(|error| Err(error.to_string()))?;
        let next = start(&self.cx, changes, ready, number, self.port, closing, &mut self.running).await?;
        self.door.send_replace(next.inner.clone());
        self.old.push(std::mem::replace(&mut self.current, next));
        if self.old.len() >= MOST {
            tracing::warn!(
                publisher = self.cx.name,
                "the certificate was renewed often: clients on the oldest one are sent away"
            );
            drop(self.old.remove(0));
        }
        Ok(())
    }

    /// Sends all clients away, and waits a little for that.
    pub(super) async fn farewell(mut self, within: Duration) {
        let servers = self.old.into_iter().chain([self.current]);
        let channels: Vec<_> = servers.map(|server| server.inner.channels).collect();
        let gone = async {
            while self.running.join_next().await.is_some() {}
            // What the library has said last still goes through the door.
            while channels.iter().any(|channels| channels.any()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(within, gone).await;
    }
}

impl First {
    /// Serves; `port` is the one that clients see.
    pub(super) async fn serve(self, port: u16) -> Result<Generations, String> {
        let First { spec, cx, changes, shared, ready, closing } = self;
        let mut running = JoinSet::new();
        let current = start(&cx, changes.clone(), ready, 0, port, closing, &mut running).await?;
        let (door, _) = watch::channel(current.inner.clone());
        Ok(Generations {
            spec,
            cx,
            changes,
            shared,
            port,
            number: 0,
            current,
            old: Vec::new(),
            running,
            door,
        })
    }
}

/// Tells when certificates end, and warns 30, 7 and 1 days ahead. Blocking.
fn watch_ends(publisher: &str, stats: &PublisherStats, own: &Certificate, trust: &Trust, users: &Users) {
    let now = pki::now();
    let days = |ends: u64| days_left(ends, now);
    let ends = own.validity().1;
    if stats.certificate.set(Some(ends), now).is_some_and(|level| level > 0) {
        tracing::warn!(
            publisher,
            days = days(ends),
            "the server's certificate ends soon: renew it with fieldgate pki renew, and let clients trust the new one"
        );
    }
    let ends = [trust.ends(), users.ends()].into_iter().flatten().min();
    if let (Some(1..), Some(ends)) = (stats.trusted.set(ends, now), ends) {
        tracing::warn!(
            publisher,
            days = days(ends),
            "a trusted certificate, one of a user or a revocation list ends soon: fieldgate pki list and fieldgate user list show which; replace it, or reject it"
        );
    }
}

/// Lets a server serve, and waits until it does.
async fn start(
    cx: &Context,
    changes: Changes,
    ready: Ready,
    number: u32,
    port: u16,
    closing: CancellationToken,
    running: &mut JoinSet<(u32, Result<(), String>)>,
) -> Result<Current, String> {
    let Ready { server, handle, manager, directory, space, thumbprint, channels, approved, audit } = ready;
    let failed = |error| format!("no sockets on loopback: {error}");
    // It never accepts: the door has it dial.
    let (none, kept) = door::silent().await.map_err(failed)?;
    let address = none.local_addr().map_err(failed)?;
    // Only one reader of a name gets anything.
    let name = if number == 0 { cx.name.clone() } else { format!("{}#{number}", cx.name) };
    // The reader first, then the image: nothing falls between them.
    let reader = cx.store.reader(&name, ReaderOptions { durable: false, rules: None });
    let ends = Ends { handle: handle.clone(), manager, directory, space };
    let pump = Pump::new(cx.clone(), changes, ends).run(reader);
    running.spawn(async move {
        let _kept = kept;
        let ended = tokio::select! {
            ended = server.run_with(none) => ended,
            why = pump => Err(why.to_owned()),
        };
        (number, ended)
    });
    let guard = closing.drop_guard();
    // The library puts the port that it listens on into its endpoints; clients know another.
    let its_port = &handle.info().port;
    let started = async {
        while its_port.compare_exchange(address.port(), port, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(START, started).await.is_err() {
        return Err("the server does not start".into());
    }
    let inner = Inner { handle, channels, approved, audit };
    Ok(Current { number, thumbprint, inner, _closing: guard })
}
