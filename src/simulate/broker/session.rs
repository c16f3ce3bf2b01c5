//! One client's connection: reads packets, answers them, writes what waits.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Broker;
use super::codec::{self, Connect, ConnectReturn, Message, Packet, Qos};
use super::hub::{Hub, Membership, Out, Queue};

/// How long a new connection may take to say CONNECT.
const GREETING: Duration = Duration::from_secs(5);
/// QoS 1 messages a client may leave unacknowledged.
const UNACKNOWLEDGED: usize = 16_384;

/// Packet identifiers of messages that a client has not acknowledged.
type InFlight = Arc<Mutex<HashSet<u16>>>;

/// Serves one connection to its end; publishes the will unless the client said DISCONNECT (3.1.2.5).
pub(super) async fn run(socket: TcpStream, hub: Arc<Hub>) {
    // Small answers must not wait for each other; a socket that cannot do it works all the same.
    let _ = socket.set_nodelay(true);
    let (read, mut write) = socket.into_split();
    let mut input = Input { read, buffer: BytesMut::new() };
    let connect = match timeout(GREETING, input.packet()).await {
        Ok(Ok(Packet::Connect(connect))) => connect,
        Ok(Ok(Packet::OtherLevel)) => return turn_away(&hub, &mut write, ConnectReturn::OtherLevel).await,
        _ => return hub.counts.refused.bump(),
    };
    if hub.faults.swallow.is_on() {
        // A silent link: the CONNECT went nowhere; what follows goes the same way.
        while input.packet().await.is_ok() {}
        return;
    }
    if hub.faults.unavailable.is_on() {
        return turn_away(&hub, &mut write, ConnectReturn::Unavailable).await;
    }
    // [MQTT-3.1.3-8]: an empty client id only with a clean session.
    if connect.client_id.is_empty() && !connect.clean_session {
        return turn_away(&hub, &mut write, ConnectReturn::ClientIdRejected).await;
    }
    let (queue, outbound) = Queue::new();
    queue.put(Out::Answer(codec::connack(ConnectReturn::Accepted)));
    let Connect { client_id, keep_alive, will, .. } = connect;
    let member = hub.join(client_id, queue);
    let in_flight = InFlight::default();
    let mut session = Session {
        hub: &hub,
        member: &member,
        in_flight: in_flight.clone(),
        unreleased: HashSet::new(),
        // [MQTT-3.1.2-24]: one and a half times the keep-alive.
        patience: (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500)),
    };
    let ended = tokio::select! {
        ended = session.read(&mut input) => ended,
        _ = write_out(&mut write, outbound, &member, &in_flight) => Ended::Lost,
        () = member.kick.cancelled() => Ended::Lost,
    };
    hub.leave(&member);
    match ended {
        Ended::Goodbye => return,
        Ended::Lost => {}
        Ended::Refused => hub.counts.refused.bump(),
        Ended::Silent => hub.counts.silent.bump(),
    }
    if let Some(will) = will {
        hub.counts.wills.bump();
        hub.publish(will);
    }
}

async fn turn_away(hub: &Hub, write: &mut OwnedWriteHalf, code: ConnectReturn) {
    hub.counts.refused.bump();
    // The client may be gone already: there is nobody to tell.
    let _ = write.write_all(&codec::connack(code)).await;
}

/// Why a connection ended.
enum Ended {
    /// DISCONNECT: no will.
    Goodbye,
    /// Closed, broken or cut.
    Lost,
    /// What came was no MQTT or too much of it.
    Refused,
    /// Nothing for too long.
    Silent,
}

/// Bytes to packets.
struct Input {
    read: OwnedReadHalf,
    buffer: BytesMut,
}

impl Input {
    /// Cancelling it loses nothing.
    async fn packet(&mut self) -> Result<Packet, Ended> {
        loop {
            match codec::decode(&mut self.buffer, Broker::MAX_PACKET) {
                Ok(Some(packet)) => return Ok(packet),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "the broker drops a client");
                    return Err(Ended::Refused);
                }
            }
            match self.read.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Ended::Lost),
                Ok(_) => {}
            }
        }
    }
}

struct Session<'a> {
    hub: &'a Hub,
    member: &'a Membership,
    in_flight: InFlight,
    /// QoS 2 identifiers that were received and not released yet (4.3.3).
    unreleased: HashSet<u16>,
    patience: Option<Duration>,
}

impl Session<'_> {
    async fn read(&mut self, input: &mut Input) -> Ended {
        loop {
            let packet = match self.patience {
                None => input.packet().await,
                Some(patience) => match timeout(patience, input.packet()).await {
                    Ok(packet) => packet,
                    Err(_) => return Ended::Silent,
                },
            };
            let ended = match packet {
                Ok(Packet::Disconnect) => Some(Ended::Goodbye),
                Ok(_) if self.hub.faults.swallow.is_on() => None,
                Ok(packet) => self.take(packet).err(),
                Err(ended) => Some(ended),
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn take(&mut self, packet: Packet) -> Result<(), Ended> {
        let faults = &self.hub.faults;
        let answer = match packet {
            Packet::Publish { message, id } => {
                let answer = match message.qos {
                    Qos::Zero => None,
                    Qos::One => Some(codec::puback(id)),
                    Qos::Two => Some(codec::pubrec(id)),
                };
                if message.qos != Qos::Two || self.unreleased.insert(id) {
                    self.publish(message);
                }
                answer.filter(|_| !faults.withhold_puback.is_on())
            }
            Packet::PubRel(id) => {
                self.unreleased.remove(&id);
                (!faults.withhold_puback.is_on()).then(|| codec::pubcomp(id))
            }
            Packet::PubAck(id) => {
                self.in_flight.lock().unwrap_or_else(|e| e.into_inner()).remove(&id);
                None
            }
            Packet::Subscribe { id, mut filters } => {
                filters.iter_mut().for_each(|(_, qos)| *qos = (*qos).min(Qos::One));
                let granted: Vec<_> = filters.iter().map(|(_, qos)| *qos).collect();
                // The SUBACK goes before what is retained: some clients expect it so.
                if !faults.withhold_suback.is_on() {
                    self.answer(codec::suback(id, &granted))?;
                }
                return if self.hub.subscribe(self.member, filters) { Ok(()) } else { Err(Ended::Refused) };
            }
            Packet::Unsubscribe { id, filters } => {
                self.hub.unsubscribe(self.member, &filters);
                Some(codec::unsuback(id))
            }
            Packet::PingReq => (!faults.withhold_pingresp.is_on()).then(codec::pingresp),
            // [MQTT-3.1.0-2]: a second CONNECT is a protocol violation. DISCONNECT was met by the caller.
            Packet::Connect(_) | Packet::OtherLevel | Packet::Disconnect => return Err(Ended::Refused),
        };
        answer.map_or(Ok(()), |bytes| self.answer(bytes))
    }

    fn answer(&self, bytes: Bytes) -> Result<(), Ended> {
        if self.member.queue.put(Out::Answer(bytes)) {
            return Ok(());
        }
        self.hub.counts.slow.bump();
        Err(Ended::Lost)
    }

    fn publish(&self, message: Message) {
        self.hub.counts.published.bump();
        self.hub.publish(message);
    }
}

/// Writes what waits, as much at a time as there is; ends when the client is gone or does not acknowledge.
async fn write_out(
    write: &mut OwnedWriteHalf,
    mut outbound: mpsc::Receiver<Out>,
    member: &Membership,
    in_flight: &InFlight,
) {
    const CHUNK: usize = 64 << 10;
    let mut buffer = BytesMut::new();
    let mut last_id = 0;
    while let Some(mut out) = outbound.recv().await {
        loop {
            member.queue.taken(&out);
            match out {
                Out::Answer(bytes) => buffer.extend_from_slice(&bytes),
                Out::Message { message, qos, retain } => {
                    if qos != Qos::Zero {
                        match free_id(in_flight, last_id) {
                            Some(id) => last_id = id,
                            None => return,
                        }
                    }
                    codec::put_publish(&mut buffer, &message, qos, retain, last_id);
                }
            }
            match outbound.try_recv() {
                Ok(next) if buffer.len() < CHUNK => out = next,
                Ok(next) => {
                    // Taken already, so it goes first into the next chunk.
                    if write.write_all_buf(&mut buffer).await.is_err() {
                        return;
                    }
                    out = next;
                }
                Err(_) => break,
            }
        }
        if write.write_all_buf(&mut buffer).await.is_err() {
            return;
        }
    }
}

/// 2.3.1: the next identifier that is not in use; `None` when the client acknowledges nothing.
fn free_id(in_flight: &InFlight, last: u16) -> Option<u16> {
    let mut used = in_flight.lock().unwrap_or_else(|e| e.into_inner());
    if used.len() >= UNACKNOWLEDGED {
        return None;
    }
    let mut id = last;
    loop {
        id = id.checked_add(1).unwrap_or(1);
        if used.insert(id) {
            return Some(id);
        }
    }
}
