//! The bytes under a link: a serial port or a socket, read and written alike.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_serial::SerialStream;

use super::listen::Dialled;
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
