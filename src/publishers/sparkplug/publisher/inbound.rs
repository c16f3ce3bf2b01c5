//! What comes from the broker: the state of the primary host, and commands.

use futures_util::FutureExt;

use crate::command::Origin;
use crate::model::{TagId, Value};
use crate::publishers::mqtt_wire::Inbound;
use crate::publishers::sparkplug::commands::{self, Asked, Control};

use super::End;
use super::live::Live;

/// Writes that may wait for their devices; more are refused.
const MOST_WRITES: usize = 64;

impl Live<'_> {
    /// Takes a message.
    pub(super) fn inbound(&mut self, inbound: Inbound) -> Result<(), End> {
        let Inbound { topic, payload, retained, .. } = inbound;
        if self.is_state(&topic) {
            return self.state(&payload);
        }
        let now = self.cx.clock.now();
        let asked = commands::read(self.session.topics(), &topic, &payload, retained, now, &self.session);
        let mut end = Ok(());
        for asked in asked {
            self.cx.stats.commands.bump();
            match asked {
                // The birth comes anyway.
                Asked::Rebirth if !self.is_born => {}
                Asked::Rebirth => {
                    tracing::debug!(publisher = self.cx.name, "a host asks for a rebirth");
                    // No data until the births, not even what waits
                    // (tck-id-operational-behavior-data-commands-rebirth-action-1).
                    self.flush_at = None;
                    self.rebirth = true;
                }
                Asked::Control(control) if !self.spec.allow.contains(&control) => {
                    self.refused(&topic, "not in `allow`");
                }
                Asked::Control(Control::NextServer) => end = Err(End::NextServer),
                Asked::Control(Control::Reboot) => {
                    if let Err(refusal) = self.cx.gate.restart(&self.origin()) {
                        self.refused(&topic, &refusal.to_string());
                    }
                }
                // Nobody was told of any metric in this session.
                Asked::Write(..) if !self.is_born => self.refused(&topic, "not born"),
                Asked::Write(tag, value) => self.write(tag, value),
                Asked::Refused(why) => self.refused(&topic, why),
            }
        }
        end
    }

    fn refused(&self, topic: &str, why: &str) {
        self.cx.stats.refused.bump();
        tracing::debug!(publisher = self.cx.name, topic, why, "command refused");
    }

    fn origin(&self) -> Origin {
        Origin { publisher: self.cx.name.clone(), who: String::new() }
    }

    /// Starts a write; its value comes home as data.
    fn write(&mut self, tag: TagId, value: Value) {
        if self.writes.len() >= MOST_WRITES {
            self.cx.stats.refused.bump();
            tracing::warn!(target: "audit", publisher = self.cx.name, tag = tag.0, %value, "write refused: too many writes");
            return;
        }
        let (gate, origin) = (self.cx.gate.clone(), self.origin());
        let mut write = Box::pin(async move { gate.write(tag, value, &origin).await });
        // The first poll puts it into the link's mailbox: so writes keep their order.
        match write.as_mut().now_or_never() {
            Some(Ok(())) => {}
            Some(Err(_)) => self.cx.stats.refused.bump(),
            None => drop(self.writes.spawn(write)),
        }
    }
}
