//! The bytes under a link: a serial port or a socket, read and written alike.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_serial::SerialStream;

/// An open port or connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// A serial port.
    Serial(SerialStream),
    /// A socket.
    Tcp(TcpStream),
}

impl Stream {
    /// Takes what is there now behind `into`, without waiting: the runtime's timer would take a millisecond to
    /// say that nothing is. `None`: nothing is there; `Some(0)`: the far end is gone.
    pub(super) fn take_now(&mut self, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
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
            Stream::Serial(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tcp(stream) => {
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
