//! Reverse Connect: dials clients, so that none needs to reach this server (OPC 10000-6 section 7.1.3).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::door::Door;
use crate::publishers::opcua::wire;

/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(10);
/// How long a client that was dialled may keep the connection before it says Hello.
const HELLO: Duration = Duration::from_secs(60);
/// First and longest pause between dials.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Keeps one connection to a client: dials, serves until it ends, and dials again.
pub(super) async fn keep(
    door: Arc<Door>,
    client: (String, u16),
    server: String,
    endpoint: String,
) -> Infallible {
    let hello = wire::reverse_hello(&server, &endpoint);
    let target = format!("{}:{}", client.0, client.1);
    let mut pause = PAUSE.0;
    let mut down = false;
    loop {
        let began = Instant::now();
        match dial(&target, &hello).await {
            Ok(stream) => {
                if std::mem::take(&mut down) {
                    tracing::info!(%target, "reverse connect: the client is reached again");
                } else {
                    tracing::debug!(%target, "reverse connect: connected");
                }
                let from = stream.peer_addr().map(|address| address.ip());
                let place = from.ok().and_then(|from| door.admit(&stream, from));
                if let Some((id, close)) = place {
                    door.clone().attend(id, stream, close, HELLO).await;
                }
            }
            Err(error) => {
                if std::mem::replace(&mut down, true) {
                    tracing::debug!(%target, %error, next_try = ?pause, "reverse connect: still no client");
                } else {
                    tracing::warn!(%target, %error, "reverse connect: cannot reach the client; tried again, at most a minute apart");
                }
            }
        }
        // A client that takes connections and lets them go is not dialled without a pause; one that used it for a
        // moment (to ask for endpoints first) is dialled again soon.
        let longest = if down { PAUSE.1 } else { PAUSE.0 * 5 };
        let worked = !down && began.elapsed() > PAUSE.0;
        sleep(pause.min(longest)).await;
        pause = if worked { PAUSE.0 } else { (pause * 2).min(longest) };
    }
}

async fn dial(target: &str, hello: &[u8]) -> std::io::Result<TcpStream> {
    let connect = async {
        let mut stream = TcpStream::connect(target).await?;
        stream.write_all(hello).await?;
        Ok(stream)
    };
    timeout(DIAL, connect).await?
}
