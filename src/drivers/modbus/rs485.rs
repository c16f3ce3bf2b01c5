//! Switches the transceiver of an RS-485 bus to sending and back: by the kernel, or around each request.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serial2::rs4xx::{Rs485Config, TransceiverMode};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::config::{Rts, SerialLink};
use super::pause::Pause;

/// The modem control line of a port, and when it has sent all.
pub(super) trait Lines: Send + Sync + 'static {
    /// Request to send.
    fn rts(&self, up: bool) -> io::Result<()>;
    /// Blocks until the last bit is on the line.
    fn drain(&self) -> io::Result<()>;
}

impl Lines for serial2::SerialPort {
    fn rts(&self, up: bool) -> io::Result<()> {
        self.set_rts(up)
    }
    fn drain(&self) -> io::Result<()> {
        self.flush()
    }
}

/// How and when it is switched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Switching {
    rts: Rts,
    before: Duration,
    after: Duration,
}

impl Switching {
    pub(super) fn new(link: &SerialLink) -> Switching {
        let delay = |key: &Option<crate::model::Spanned<crate::model::Period>>| {
            key.as_ref().map_or(Duration::ZERO, |period| period.get_ref().0)
        };
        Switching {
            rts: link.rts,
            before: delay(&link.rts_delay_before),
            after: delay(&link.rts_delay_after),
        }
    }

    /// What the switching adds to a request.
    pub(super) fn takes(&self) -> Duration {
        self.before + self.after
    }

    /// To be called before the port is opened for this program alone: a second handle of the same port, since
    /// the first one's crate knows nothing of RS-485.
    pub(super) fn handle(&self, port: &Path) -> io::Result<Option<serial2::SerialPort>> {
        if self.rts == Rts::None {
            return Ok(None);
        }
        let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
        let file = File::options().read(true).write(true).custom_flags(flags.bits() as i32).open(port)?;
        Ok(Some(OwnedFd::from(file).into()))
    }

    /// To be called when the port is ours: from here on it is switched as the configuration says, and ready to
    /// receive. An error says what to do.
    pub(super) fn begin(&self, handle: Option<serial2::SerialPort>) -> Result<Option<Switch>, String> {
        let Some(handle) = handle else { return Ok(None) };
        let up_to_send = match self.rts {
            Rts::None => return Ok(None),
            Rts::Rs485 | Rts::Rs485Inverted => {
                let mut config = Rs485Config::new();
                config.set_invert_rts(self.rts == Rts::Rs485Inverted);
                config.set_delay_before_send(whole_milliseconds(self.before));
                config.set_delay_after_send(whole_milliseconds(self.after));
                return match handle.set_rs4xx_mode(TransceiverMode::Rs485(config)) {
                    Ok(()) => Ok(None),
                    Err(error) => Err(format!(
                        "the driver of this port does not switch RS-485 by itself ({error}); write `rts = \"none\"` \
                         where the adapter does it, else \"up\" or \"down\""
                    )),
                };
            }
            Rts::Up => true,
            Rts::Down => false,
        };
        let switch = Switch {
            lines: Arc::new(handle),
            up_to_send,
            before: self.before,
            after: self.after,
            clock: Pause::new(),
        };
        match switch.lines.rts(!up_to_send) {
            Ok(()) => Ok(Some(switch)),
            Err(error) => Err(format!(
                "this port has no RTS line to switch ({error}); write `rts = \"none\"` where the adapter switches by \
                 itself"
            )),
        }
    }
}

/// The kernel counts in milliseconds; a delay is never shorter than asked for.
fn whole_milliseconds(delay: Duration) -> Duration {
    Duration::from_millis(delay.as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

/// Switches around each request, for ports whose driver cannot.
pub(super) struct Switch<L = serial2::SerialPort> {
    lines: Arc<L>,
    up_to_send: bool,
    before: Duration,
    after: Duration,
    clock: Pause,
}

impl<L> fmt::Debug for Switch<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("up_to_send", &self.up_to_send).finish_non_exhaustive()
    }
}

/// Switches back also where the sending was given up: who leaves it on keeps everybody else off the bus.
struct Sending<'a, L: Lines> {
    lines: &'a L,
    rest: bool,
}

impl<L: Lines> Drop for Sending<'_, L> {
    fn drop(&mut self) {
        // Where this fails the port is gone, and the next call on it says so.
        let _ = self.lines.rts(self.rest);
    }
}

impl<L: Lines> Switch<L> {
    /// What the delays add to the time of the bytes on the line.
    pub(super) fn takes(&self) -> Duration {
        self.before + self.after
    }

    /// Sends, and returns when the line is free for the answer. `takes`: the time of these bytes on the line.
    pub(super) async fn send<P: AsyncWrite + Unpin>(
        &mut self,
        port: &mut P,
        bytes: &[u8],
        takes: Duration,
    ) -> io::Result<()> {
        let lines = self.lines.clone();
        let sending = Sending { lines: &*lines, rest: !self.up_to_send };
        lines.rts(self.up_to_send)?;
        self.clock.until(Instant::now() + self.before).await;
        let start = Instant::now();
        port.write_all(bytes).await?;
        // The time on the line is known: only what is left of it, if anything, is waited for in a thread.
        self.clock.until(start + takes).await;
        let drain = lines.clone();
        tokio::task::spawn_blocking(move || drain.drain()).await.map_err(io::Error::other)??;
        self.clock.until(Instant::now() + self.after).await;
        drop(sending);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll};

    use super::*;

    /// Writes down what happens to a port, in order.
    #[derive(Clone, Default)]
    struct Diary(Arc<Mutex<Vec<String>>>, bool);

    impl Diary {
        fn note(&self, what: impl Into<String>) {
            self.0.lock().unwrap().push(what.into());
        }
        fn read(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Lines for Diary {
        fn rts(&self, up: bool) -> io::Result<()> {
            self.note(if up { "up" } else { "down" });
            Ok(())
        }
        fn drain(&self) -> io::Result<()> {
            self.note("drained");
            Ok(())
        }
    }

    impl AsyncWrite for Diary {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.1 {
                return Poll::Pending;
            }
            self.note(format!("wrote {}", bytes.len()));
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn switch(diary: &Diary, up_to_send: bool) -> Switch<Diary> {
        let delay = Duration::from_millis(2);
        Switch {
            lines: Arc::new(diary.clone()),
            up_to_send,
            before: delay,
            after: delay,
            clock: Pause::new(),
        }
    }

    #[tokio::test]
    async fn it_is_switched_before_the_first_bit_and_back_after_the_last() {
        for (up_to_send, order) in
            [(true, ["up", "wrote 8", "drained", "down"]), (false, ["down", "wrote 8", "drained", "up"])]
        {
            let mut diary = Diary::default();
            let start = Instant::now();
            let on_the_line = Duration::from_millis(5);
            switch(&diary.clone(), up_to_send).send(&mut diary, &[0; 8], on_the_line).await.unwrap();
            assert_eq!(diary.read(), order);
            assert!(start.elapsed() >= on_the_line + Duration::from_millis(4), "{:?}", start.elapsed());
        }
    }

    #[tokio::test]
    async fn it_is_switched_back_also_where_the_sending_was_given_up() {
        let mut diary = Diary(Arc::default(), true);
        let mut switch = switch(&diary.clone(), true);
        let within = Duration::from_millis(20);
        let sent = tokio::time::timeout(within, switch.send(&mut diary, &[0; 8], within)).await;
        assert!(sent.is_err());
        assert_eq!(diary.read(), ["up", "down"]);
    }
}
