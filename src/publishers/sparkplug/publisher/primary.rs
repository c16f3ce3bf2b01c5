//! The wait for the primary host, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::publishers::mqtt_wire::Stay;
use crate::publishers::sparkplug::host::{Memory, PrimaryHost, Told};

use super::End;
use super::live::Live;

/// How long a broker may take to give out the STATE that it retains; then it has none.
const STATE_WITHIN: Duration = Duration::from_secs(5);

/// The primary host as this broker shows it.
pub(super) struct Primary<'a> {
    host: &'a PrimaryHost,
    topic: Arc<str>,
    memory: &'a mut Memory,
    /// What it told in this connection.
    is_online: Option<bool>,
}

impl<'a> Primary<'a> {
    pub(super) fn new(host: &'a PrimaryHost, memory: &'a mut Memory) -> Primary<'a> {
        Primary { host, topic: host.topic(), memory, is_online: None }
    }

    /// Whether it told that it is there, in this connection.
    fn is_online(&self) -> bool {
        self.is_online == Some(true)
    }
}

impl Live<'_> {
    /// Whether a message is its STATE: of its very topic
    /// (tck-id-message-flow-edge-node-birth-publish-phid-wait-id).
    pub(super) fn is_state(&self, topic: &str) -> bool {
        self.primary.as_ref().is_some_and(|primary| &*primary.topic == topic)
    }

    /// Takes a STATE message. Offline ends a session that was born
    /// (tck-id-message-flow-edge-node-birth-publish-phid-offline).
    pub(super) fn state(&mut self, bytes: &[u8]) -> Result<(), End> {
        let Some(primary) = &mut self.primary else { return Ok(()) };
        let (publisher, host) = (&self.cx.name, &primary.host.id);
        match primary.memory.take(primary.host.form, bytes) {
            Told::Online => primary.is_online = Some(true),
            Told::Offline => primary.is_online = Some(false),
            Told::Older => {
                self.cx.stats.refused.bump();
                tracing::warn!(
                    publisher,
                    host,
                    "a STATE older than the last one is ignored; check the host's clock"
                );
            }
            Told::Garbage => {
                self.cx.stats.refused.bump();
                tracing::debug!(publisher, host, "what is no STATE is ignored");
            }
        }
        if self.is_born && !self.host_is_online() { Err(self.host_is_away()) } else { Ok(()) }
    }

    /// Waits until the primary host is there, where there is one; or goes elsewhere. The node has to be connected to
    /// see its STATE, and says nothing meanwhile.
    pub(super) async fn await_host(&mut self) -> Result<(), End> {
        if self.host_is_online() {
            return Ok(());
        }
        let stay = self.walk.stay();
        let now = Instant::now();
        let until = match stay {
            Stay::Glance => Some(now + STATE_WITHIN),
            Stay::For(pause) => Some(now + pause.max(STATE_WITHIN)),
            Stay::ForEver => None,
        };
        loop {
            // What was told already comes first.
            while let Ok(inbound) = self.wire.commands.try_recv() {
                self.inbound(inbound)?;
            }
            if self.host_is_online() {
                return Ok(());
            }
            let is_told_away = self.primary.as_ref().is_some_and(|primary| primary.is_online == Some(false));
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            if is_over || stay == Stay::Glance && is_told_away {
                return Err(self.host_is_away());
            }
            if let Some(primary) = &self.primary
                && self.cx.stats.state.down(format!(
                    "{}: the primary host `{}` is not online there; connected, and waiting to be born",
                    self.broker, primary.host.id
                ))
            {
                let (publisher, broker, host) = (&self.cx.name, self.broker, &primary.host.id);
                tracing::info!(publisher, %broker, host, "connected; waiting for the primary host");
            }
            let due = until.into_iter().chain(self.watchdog.next().map(|(at, _)| at)).min();
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                Some(inbound) = self.wire.commands.recv() => self.inbound(inbound)?,
                heard = self.wire.heard.changed() => self.is_heard(heard.is_ok())?,
                () = sleep_until(due) => {}
            }
            self.watch()?;
            self.report();
        }
    }

    fn host_is_online(&self) -> bool {
        self.primary.as_ref().is_none_or(Primary::is_online)
    }

    fn host_is_away(&self) -> End {
        let host = self.primary.as_ref().map_or("", |primary| &primary.host.id);
        End::HostAway(format!("{}: the primary host `{host}` is not online there", self.broker))
    }
}
