//! Opens the connection of a TCP link.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config::TcpLink;
use super::stream::Stream;

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Socket {
    host: String,
    port: u16,
    connect_timeout: Duration,
}

impl Socket {
    /// How long written bytes may stay unacknowledged, and an idle connection unproven.
    const DEAD_PEER: Duration = Duration::from_secs(10);

    pub(super) fn new(link: &TcpLink) -> Socket {
        Socket {
            host: link.host.get_ref().clone(),
            port: *link.port.get_ref(),
            connect_timeout: link.connect_timeout.get_ref().0,
        }
    }

    /// Connects; an error says what to do.
    pub(super) async fn open(&self) -> Result<Stream, String> {
        let Socket { host, port, connect_timeout } = self;
        match timeout(*connect_timeout, TcpStream::connect((host.as_str(), *port))).await {
            Ok(Ok(stream)) => {
                let keepalive =
                    TcpKeepalive::new().with_time(Self::DEAD_PEER).with_interval(Self::DEAD_PEER / 4);
                let socket = SockRef::from(&stream);
                // A socket without these options works, it only notices a dead peer later.
                let _ = stream.set_nodelay(true);
                let _ = socket.set_tcp_keepalive(&keepalive);
                #[cfg(target_os = "linux")]
                let _ = socket.set_tcp_user_timeout(Some(Self::DEAD_PEER));
                Ok(Stream::Tcp(stream))
            }
            Ok(Err(error)) => Err(format!(
                "{host}:{port} cannot be reached: {error}; check address, cable and that the device is on"
            )),
            Err(_) => Err(format!(
                "{host}:{port} did not accept a connection within {connect_timeout:?}; check address and firewall"
            )),
        }
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
