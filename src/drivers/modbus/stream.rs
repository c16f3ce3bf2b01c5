//! The bytes under a link: a serial port or a socket, read and written alike.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_serial::SerialStream;

use super::listen::Dialled;
use super::pause::Pause;
use super::rs485::Switch;
use super::rtu::Pace;
#[cfg(feature = "tls")]
use super::tls::Secure;

/// An open port or connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// A serial port.
    Serial(Line),
    /// A socket.
    Tcp(TcpStream),
    /// A socket with TLS.
    #[cfg(feature = "tls")]
    Tls(Box<Secure>),
    /// A socket that the device opened.
    Dialled(Dialled),
}

/// A serial port and how it is switched to sending.
#[derive(Debug)]
pub(super) struct Line {
    port: SerialStream,
    switch: Option<Switch>,
    pace: Pace,
}

impl Line {
    pub(super) fn new(port: SerialStream, switch: Option<Switch>, pace: Pace) -> Line {
        Line { port, switch, pace }
    }
}

impl Stream {
    /// Sends a request; longer than `within` it does not take, but for what an RS-485 switch needs. Where that
    /// time is over, or the future is dropped, the bytes may be out in part.
    pub(super) async fn send(&mut self, bytes: &[u8], within: Duration) -> io::Result<()> {
        let sent = match self {
            Stream::Serial(Line { port, switch: Some(switch), pace }) => {
                let takes = pace.bytes(bytes.len());
                timeout(within + takes + switch.takes(), switch.send(port, bytes, takes)).await
            }
            // Not flushed: that blocks until all is on the line.
            Stream::Serial(line) => timeout(within, line.port.write_all(bytes)).await,
            Stream::Tcp(stream) => timeout(within, stream.write_all(bytes)).await,
            // Written is encrypted; flushed is sent.
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => {
                timeout(within, async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                })
                .await
            }
            Stream::Dialled(stream) => {
                stream.between_answers();
                timeout(within, stream.write_all(bytes)).await
            }
        };
        sent.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it takes no more bytes")))
    }

    /// Takes what comes until then behind `into`, asleep; nothing where none came.
    pub(super) async fn read_until(
        &mut self,
        into: &mut Vec<u8>,
        clock: &mut Pause,
        until: Instant,
    ) -> io::Result<Option<usize>> {
        // The runtime's timer is late by a millisecond in the mean, and a dead device costs its neighbours that.
        tokio::select! {
            biased;
            read = self.read_buf(into) => read.map(Some),
            () = clock.until(until) => Ok(None),
        }
    }

    /// Takes what comes until then behind `into`, awake all the time: it asks the system and not the runtime, and
    /// gives other tasks of its thread their turns. Nothing where none came, or where it is no serial port.
    pub(super) async fn read_awake(
        &mut self,
        into: &mut Vec<u8>,
        until: Instant,
    ) -> io::Result<Option<usize>> {
        let Stream::Serial(line) = self else { return Ok(None) };
        let mut scratch = [0; 512];
        while Instant::now() < until {
            match line.port.try_read(&mut scratch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
                Err(error) => return Err(error),
                Ok(bytes) => {
                    into.extend_from_slice(scratch.get(..bytes).unwrap_or_default());
                    return Ok(Some(bytes));
                }
            }
        }
        Ok(None)
    }

    /// Whether what was sent is on the line when `send` returns; else the system has it and still sends.
    pub(super) fn waits_for_the_line(&self) -> bool {
        matches!(self, Stream::Serial(Line { switch: Some(_), .. }))
    }

    /// Takes what is there now behind `into`, without waiting: the runtime's timer would take a millisecond to
    /// say that nothing is. `None`: nothing is there; `Some(0)`: the far end is gone.
    pub(super) fn take_now(&mut self, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        if let Stream::Dialled(stream) = self
            && into.is_empty()
        {
            stream.between_answers();
        }
        let mut scratch = [0; 512];
        let mut buffer = ReadBuf::new(&mut scratch);
        // Who is woken does not matter: nobody waits. The waker of a later wait takes this one's place.
        let mut context = Context::from_waker(Waker::noop());
        let polled = pin!(tokio::task::unconstrained(std::future::poll_fn(|cx| {
            Pin::new(&mut *self).poll_read(cx, &mut buffer)
        })))
        .poll(&mut context);
        match polled {
            Poll::Pending => Ok(None),
            Poll::Ready(read) => {
                read?;
                into.extend_from_slice(buffer.filled());
                Ok(Some(buffer.filled().len()))
            }
        }
    }
}

/// The same call on whatever the stream is.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Serial(line) => {
                let $stream = Pin::new(&mut line.port);
                $call
            }
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
            Stream::Dialled(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::config::Parity;
    use super::*;

    /// Both ends of a line.
    fn pair() -> (SerialStream, Stream) {
        let (far, near) = SerialStream::pair().unwrap();
        (far, Stream::Serial(Line::new(near, None, Pace::new(19_200, Parity::None, 1))))
    }

    #[tokio::test]
    async fn who_is_awake_gets_what_comes_and_at_the_end_nothing() {
        let (mut far, mut near) = pair();
        let mut input = vec![7];
        let until = Instant::now() + Duration::from_millis(5);
        assert_eq!(near.read_awake(&mut input, until).await.unwrap(), None);
        assert!(Instant::now() >= until);
        far.write_all(&[1, 2, 3]).await.unwrap();
        let heard = near.read_awake(&mut input, Instant::now() + Duration::from_secs(60)).await.unwrap();
        assert_eq!((heard, input), (Some(3), vec![7, 1, 2, 3]));
    }

    #[tokio::test]
    async fn who_is_awake_leaves_the_thread_to_others_too() {
        let (mut far, mut near) = pair();
        let turns = Cell::new(0);
        let other = async {
            while turns.get() < 100 {
                turns.set(turns.get() + 1);
                tokio::task::yield_now().await;
            }
            far.write_all(&[1]).await.unwrap();
            std::future::pending().await
        };
        let mut input = Vec::new();
        tokio::select! {
            () = other => {}
            heard = near.read_awake(&mut input, Instant::now() + Duration::from_secs(60)) => {
                assert_eq!((heard.unwrap(), turns.get()), (Some(1), 100));
            }
        }
    }

    #[tokio::test]
    async fn an_end_that_is_gone_is_told_to_who_is_awake() {
        let (far, mut near) = pair();
        drop(far);
        let heard = near.read_awake(&mut Vec::new(), Instant::now() + Duration::from_secs(60)).await;
        assert!(matches!(heard, Ok(Some(0)) | Err(_)), "{heard:?}");
    }
}
