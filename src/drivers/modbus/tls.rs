//! Modbus/TCP Security: the handshake, and a connection whose errors say what to do.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::Tls;
use super::target::Target;
use crate::tls;

/// A connection with TLS.
#[derive(Debug)]
pub(super) struct Secure(TlsStream<TcpStream>);

/// Reads the certificates anew, so that renewed ones count, and shakes hands. An error says what to do.
pub(super) async fn shake_hands(
    target: &Target,
    tls: &Tls,
    stream: TcpStream,
    deadline: Instant,
) -> Result<Secure, String> {
    let name = tls.server_name.as_deref().unwrap_or(&target.host);
    let name = ServerName::try_from(name.to_owned())
        .map_err(|error| format!("`{name}` is no name of a server: {error}; write `server-name`"))?;
    let files = tls.clone();
    let config = tokio::task::spawn_blocking(move || {
        let identity = match (&files.certificate, &files.key) {
            (Some(certificate), Some(key)) => Some(tls::Identity { certificate, key: tls::Key::File(key) }),
            _ => None,
        };
        tls::client_config(files.ca.as_deref(), identity)
    });
    let config = config.await.map_err(|error| error.to_string())??;
    let explain =
        |error: &io::Error| format!("{target} cannot be spoken to with TLS: {}", tls::explain(error));
    let start = Instant::now();
    let stream = match timeout_at(deadline, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(explain(&error)),
        Err(_) => {
            return Err(format!(
                "{target} accepted the connection but did not finish the TLS handshake in time; does it speak \
                 Modbus/TCP Security at this port?"
            ));
        }
    };
    let mut stream = Secure(stream);
    // With TLS 1.3 a device that refuses our certificate says so only when the handshake is over for us: wait
    // about as long as the handshake took, or the link would come up and fall in turn without a word why.
    let word = start.elapsed().clamp(Duration::from_millis(20), Duration::from_millis(500));
    match timeout_at(deadline.min(Instant::now() + word), stream.0.read(&mut [0; 1])).await {
        Err(_) => Ok(stream),
        Ok(Err(error)) => Err(explain(&error)),
        Ok(Ok(0)) => Err(format!(
            "{target} closed the connection after the TLS handshake; it may not accept the certificate of this \
             gateway"
        )),
        Ok(Ok(_)) => Err(format!("{target} speaks before it is asked; what is there is no Modbus device")),
    }
}

impl AsyncRead for Secure {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.get_mut().0).poll_read(cx, buffer);
        read.map_err(|error| io::Error::new(error.kind(), tls::explain(&error)))
    }
}

impl AsyncWrite for Secure {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
