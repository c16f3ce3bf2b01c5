//! The wire of the OPC UA server: only files of this folder name the library.

mod alarms;
mod approved;
mod audit;
mod auth;
mod capabilities;
mod core;
mod discovery;
mod door;
mod events;
mod generation;
mod grow;
mod history;
mod items;
mod levels;
mod model;
mod nameplate;
mod nodes;
mod papers;
mod peers;
mod pump;
mod registration;
mod reverse;
mod setup;
mod shared;
mod value;
mod witness;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use opcua::crypto::X509Data;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::auth::Users;
use self::discovery::Names;
use self::door::Door;
use self::generation::Generations;
use self::papers::Keeper;
use self::peers::Peers;
use self::registration::Registration;
use super::config::Spec;
use super::pki::Trust;
use crate::publishers::publisher::{Context, PublishError, Publisher};
use crate::telemetry::Connection;

/// Serves the tags.
#[derive(Debug)]
pub struct OpcUa {
    spec: Spec,
}

impl OpcUa {
    /// How long a clean stop waits for clients to be sent away.
    const FAREWELL: Duration = Duration::from_millis(500);
    /// First and longest pause before a busy port is tried again.
    const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
    /// How often the users file is looked at.
    const LOOK: Duration = Duration::from_secs(2);

    /// A server as the plan wants it.
    pub fn new(spec: Spec) -> OpcUa {
        OpcUa { spec }
    }

    /// Tries until the port is free; `None` when told to stop meanwhile.
    async fn listen(&self, cx: &Context) -> Option<TcpListener> {
        let mut pause = Self::RETRY.0;
        loop {
            let error = match TcpListener::bind(self.spec.listen).await {
                Ok(listener) => return Some(listener),
                Err(error) => error,
            };
            let listen = self.spec.listen;
            if cx.stats.state.down(format!("cannot listen on {listen}: {error}")) {
                tracing::warn!(publisher = cx.name, %listen, %error, "cannot listen; end what uses the port, or set another; tried again");
            } else {
                tracing::debug!(publisher = cx.name, %listen, %error, next_try = ?pause, "still cannot listen");
            }
            tokio::select! {
                () = cx.stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Self::RETRY.1);
        }
    }
}

impl Publisher for OpcUa {
    async fn run(self, cx: Context) -> Result<(), PublishError> {
        let changes = cx.directory.receiver();
        cx.stats.state.set(Connection::Connecting);
        let failed = |why: String| {
            cx.stats.state.down(why.clone());
            PublishError(why)
        };
        let first = tokio::select! {
            () = cx.stop.cancelled() => return Ok(()),
            first = Generations::first(&self.spec, &cx, changes) => first.map_err(failed)?,
        };
        let Some(listener) = self.listen(&cx).await else {
            cx.stats.state.set(Connection::Stopped);
            return Ok(());
        };
        let port = listener.local_addr().unwrap_or(self.spec.listen).port();
        let mut generations = first.serve(port).await.map_err(failed)?;
        let address = format!("opc.tcp://{}:{port}", super::pki::bracketed(generations.host()));
        tracing::info!(publisher = cx.name, %address, "OPC UA server is up");
        *cx.stats.address.lock().unwrap_or_else(|e| e.into_inner()) = address.clone();
        let trust = Arc::new(Trust::new(generations.folder()));
        let keeper = Arc::new(Keeper::new(&cx, trust.clone(), self.spec.trust));
        let names = Names::new(generations.host(), X509Data::computer_hostnames());
        let (users, peers) = generations.people();
        let door = Door::new(generations.inner(), keeper, peers.clone(), self.spec.bounds, names).await;
        let door = door.map_err(|error| failed(error.to_string()))?;
        let mut dialling = JoinSet::new();
        for client in self.spec.reverse_connect.clone() {
            let uri = generations.uri().to_owned();
            dialling.spawn(reverse::keep(door.clone(), client, uri, format!("{address}/")));
        }
        let registration = self.spec.register_at.clone().map(|at| {
            let (identity, url) = (generations.identity().clone(), format!("{address}/"));
            Arc::new(Registration::new(&cx.name, at, identity, url, trust.clone(), self.spec.trust))
        });
        if let Some(registration) = registration.clone() {
            dialling.spawn(registration.keep());
        }
        cx.stats.state.set(Connection::Up);
        let ended = {
            let serving = door.serve(listener);
            tokio::pin!(serving);
            let ended = tokio::select! {
                ended = generations.run(&trust) => Some(ended),
                never = watch_users(users, peers) => match never {},
                () = cx.stop.cancelled() => None,
                never = &mut serving => match never {},
            };
            // The door stays open for what is still to be said.
            let farewell = async {
                let off = async {
                    if let Some(registration) = &registration {
                        registration.end(Self::FAREWELL * 2).await;
                    }
                };
                tokio::join!(off, generations.farewell(Self::FAREWELL));
            };
            tokio::select! {
                () = farewell => {}
                never = serving => match never {},
            }
            ended
        };
        cx.stats.clients.set(0);
        if cx.stop.is_cancelled() {
            cx.stats.state.set(Connection::Stopped);
            return Ok(());
        }
        ended.unwrap_or(Ok(())).and(Err("the server ended by itself".to_owned())).map_err(failed)
    }
}

/// Takes over changes of the users file; sessions of users who are gone end.
async fn watch_users(users: Arc<Users>, peers: Arc<Peers>) -> Infallible {
    loop {
        tokio::time::sleep(OpcUa::LOOK).await;
        let read = users.clone();
        match tokio::task::spawn_blocking(move || read.reload()).await {
            Ok(Ok(ended)) if ended.is_empty() => {}
            Ok(Ok(ended)) => {
                let connections = peers.end(&ended);
                tracing::info!(target: "audit", publisher = "opcua", users = ?ended, connections, "users are gone or have another password: their connections end");
            }
            Ok(Err(why)) => tracing::warn!(%why, "the users stay as they were"),
            Err(error) => tracing::warn!(%error, "cannot look at the users file"),
        }
    }
}
