//! Opens the connection of a TCP link: dials, tries the backup, or waits for who dials in.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::config::{TcpLink, Tls};
use super::identity;
use super::listen::Seat;
use super::stream::Stream;
use super::target::Target;

/// How the connection comes about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Socket {
    way: Way,
    connect_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
enum Way {
    /// We dial.
    Dial { first: Target, backup: Option<Target>, tls: Option<Tls> },
    /// The device dials in.
    Listen { address: SocketAddr, identity: Option<Vec<u8>> },
    /// The configuration was not checked.
    Nowhere,
}

/// What a link keeps from one opening to the next.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// Held as long as the link runs, so that a modem finds somebody listening while the link pauses.
    seat: Option<Seat>,
    on_backup: bool,
    peer: String,
}

impl Door {
    /// One that led to this peer.
    pub(super) fn to(peer: String) -> Door {
        Door { peer, ..Door::default() }
    }

    /// Who is or was at the other end.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    fn opened(&mut self, target: &Target, backup: bool, trouble: &str) {
        self.peer = target.to_string();
        if std::mem::replace(&mut self.on_backup, backup) != backup {
            match backup {
                true => tracing::warn!(address = %target, %trouble, "the backup address is in use"),
                false => tracing::info!(address = %target, "the first address is in use again"),
            }
        }
    }
}

/// How long written bytes may stay unacknowledged, and an idle connection unproven.
const DEAD_PEER: Duration = Duration::from_secs(10);

/// Notices a peer that is gone without a word. A socket without these options works, it only notices later.
pub(super) fn keep_alive(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(DEAD_PEER).with_interval(DEAD_PEER / 4);
    let socket = SockRef::from(stream);
    let _ = stream.set_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(DEAD_PEER));
}

impl Socket {
    pub(super) fn new(link: &TcpLink) -> Socket {
        let tls = link.tls.as_ref().map(|tls| tls.get_ref().clone());
        let usual = usual_port(tls.is_some());
        let way = match (&link.listen, &link.host) {
            (Some(listen), _) => match listen.get_ref().parse() {
                Ok(address) => Way::Listen {
                    address,
                    identity: link.identity.as_ref().and_then(|i| identity::parse(i.get_ref()).ok()),
                },
                Err(_) => Way::Nowhere,
            },
            (None, Some(host)) => {
                let port = link.port.as_ref().map_or(usual, |port| *port.get_ref());
                let backup = link.backup.as_ref().and_then(|b| Target::parse(b.get_ref(), usual).ok());
                Way::Dial { first: Target { host: host.get_ref().clone(), port }, backup, tls }
            }
            (None, None) => Way::Nowhere,
        };
        Socket { way, connect_timeout: link.connect_timeout.get_ref().0 }
    }

    /// Connects, or waits for who dials in; an error says what to do. Takes at most the connect time-out, twice
    /// that where there is a backup.
    pub(super) async fn open(&self, door: &mut Door) -> Result<Stream, String> {
        match &self.way {
            Way::Dial { first, backup, tls } => {
                let trouble = match self.dial(first, tls.as_ref()).await {
                    Ok(stream) => {
                        door.opened(first, false, "");
                        return Ok(stream);
                    }
                    Err(trouble) => trouble,
                };
                let Some(backup) = backup else { return Err(trouble) };
                match self.dial(backup, tls.as_ref()).await {
                    Ok(stream) => {
                        door.opened(backup, true, &trouble);
                        Ok(stream)
                    }
                    Err(second) => Err(format!("{trouble}; nor is the backup of use: {second}")),
                }
            }
            Way::Listen { address, identity } => {
                let seat = match &mut door.seat {
                    Some(seat) => seat,
                    none => none.insert(seat(*address, identity.as_deref()).await?),
                };
                door.peer = self.to_string();
                match timeout(self.connect_timeout, seat.next()).await {
                    Ok(dialled) => Ok(Stream::Dialled(dialled)),
                    Err(_) => Err(format!(
                        "nobody{} has dialled in to {address}; check the modem's server address, its registration \
                         bytes and its signal",
                        match identity {
                            Some(identity) => format!(" with identity `{}`", identity.escape_ascii()),
                            None => String::new(),
                        }
                    )),
                }
            }
            Way::Nowhere => Err("no host is configured".into()),
        }
    }

    async fn dial(&self, target: &Target, tls: Option<&Tls>) -> Result<Stream, String> {
        let Socket { connect_timeout, .. } = self;
        let deadline = Instant::now() + *connect_timeout;
        let stream = match timeout_at(deadline, TcpStream::connect((target.host.as_str(), target.port))).await
        {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(format!(
                    "{target} cannot be reached: {error}; check address, cable and that the device is on"
                ));
            }
            Err(_) => {
                return Err(format!(
                    "{target} did not accept a connection within {connect_timeout:?}; check address and firewall"
                ));
            }
        };
        keep_alive(&stream);
        match tls {
            None => Ok(Stream::Tcp(stream)),
            #[cfg(feature = "tls")]
            Some(tls) => {
                let secure = super::tls::shake_hands(target, tls, stream, deadline).await?;
                Ok(Stream::Tls(Box::new(secure)))
            }
            #[cfg(not(feature = "tls"))]
            Some(_) => Err("this build has no TLS; use one with the feature `tls`".into()),
        }
    }

    /// The longest that it takes to open, where there is a backup too.
    pub(super) fn longest_open(&self) -> Duration {
        self.connect_timeout.saturating_mul(2)
    }

    /// The longest pause between two tries: who dials in shall not wait for us.
    pub(super) fn longest_pause(&self) -> Duration {
        Duration::from_secs(if matches!(self.way, Way::Listen { .. }) { 1 } else { 10 })
    }
}

/// A listener that was just given up, as when a link is loaded anew, takes a moment to let its port go.
async fn seat(address: SocketAddr, identity: Option<&[u8]>) -> Result<Seat, String> {
    let mut seat = Seat::take(address, identity);
    for _ in 0..10 {
        if seat.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        seat = Seat::take(address, identity);
    }
    seat
}

/// Messaging on TCP/IP V1.0b section 1.2: 502; Modbus/TCP Security V2.1: 802.
pub(super) fn usual_port(tls: bool) -> u16 {
    if tls { 802 } else { 502 }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Dial { first, .. } => first.fmt(f),
            Way::Listen { address, identity: None } => write!(f, "the dialler at {address}"),
            Way::Listen { address, identity: Some(identity) } => {
                write!(f, "`{}` at {address}", identity.escape_ascii())
            }
            Way::Nowhere => f.write_str("nowhere"),
        }
    }
}
