//! A broker for one client that writes down every packet as it came, and says what the test wants.
//! It shares no code with the gateway: MQTT 3.1.1 read by hand (sections of the OASIS standard).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A message, published or as a will.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Publish {
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) payload: Vec<u8>,
}

/// What came, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    Opened,
    Connect {
        clean: bool,
        will: Option<Publish>,
    },
    Subscribe(Vec<(String, u8)>),
    Publish(Publish),
    Disconnect,
    /// The client's end of the connection, or the cut by the test.
    Closed,
    /// The test published this to the client.
    Said(String),
}

/// An event and the number of its connection, from 0.
pub(super) type Entry = (usize, Event);

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Vec<Entry>>,
    line: Mutex<Option<(usize, TcpStream)>>,
    refusals: AtomicUsize,
    over: AtomicBool,
}

/// Listening on loopback until it is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Recorder {
    pub(super) fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        std::thread::spawn({
            let shared = shared.clone();
            move || {
                for (number, stream) in listener.incoming().enumerate() {
                    if shared.over.load(SeqCst) {
                        return;
                    }
                    let (shared, stream) = (shared.clone(), stream.unwrap());
                    std::thread::spawn(move || shared.serve(number, stream));
                }
            }
        });
        Recorder { address, shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn log(&self) -> Vec<Entry> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Messages published so far.
    pub(super) fn published(&self) -> usize {
        self.shared.log.lock().unwrap().iter().filter(|e| matches!(e.1, Event::Publish(_))).count()
    }

    /// Waits for a condition.
    pub(super) fn wait(&self, what: &str, wanted: impl Fn(&[Entry]) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !wanted(&self.shared.log.lock().unwrap()) {
            assert!(Instant::now() < end, "not within 30 s: {what}; {:#?}", topics(&self.log()));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next CONNECTs are read and then cut off without a CONNACK.
    pub(super) fn refuse(&self, how_many: usize) {
        self.shared.refusals.store(how_many, SeqCst);
    }

    /// Cuts the connection without a word.
    pub(super) fn cut(&self) {
        let line = self.shared.line.lock().unwrap();
        line.as_ref().unwrap().1.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Publishes to the client, QoS 0, not retained.
    pub(super) fn say(&self, topic: &str, payload: &[u8]) {
        let mut line = self.shared.line.lock().unwrap();
        let (number, stream) = line.as_mut().unwrap();
        let mut packet = vec![0x30, (2 + topic.len() + payload.len()) as u8, 0, topic.len() as u8];
        assert!(packet[1] < 128);
        packet.extend(topic.as_bytes());
        packet.extend(payload);
        self.shared.note(*number, Event::Said(topic.to_owned()));
        stream.write_all(&packet).unwrap();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn note(&self, number: usize, event: Event) {
        self.log.lock().unwrap().push((number, event));
    }

    fn serve(&self, number: usize, stream: TcpStream) {
        self.note(number, Event::Opened);
        let _ = self.packets(number, stream);
        self.note(number, Event::Closed);
    }

    fn packets(&self, number: usize, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let (header, body) = packet(&mut stream)?;
            let mut body = &body[..];
            // What goes out is written under the lock, since `say` writes too.
            let answer = |bytes: &[u8]| -> std::io::Result<()> {
                let mut line = self.line.lock().unwrap();
                line.as_mut().unwrap().1.write_all(bytes)
            };
            match header >> 4 {
                1 => {
                    let connect = connect(&mut body);
                    self.note(number, connect);
                    let refuse = |n: usize| n.checked_sub(1);
                    if self.refusals.fetch_update(SeqCst, SeqCst, refuse).is_ok() {
                        return Ok(());
                    }
                    *self.line.lock().unwrap() = Some((number, stream.try_clone()?));
                    answer(&[0x20, 2, 0, 0])?;
                }
                3 => {
                    let (qos, retain) = (header >> 1 & 3, header & 1 != 0);
                    let topic = text(&mut body);
                    let id = if qos > 0 { Some(short(&mut body)) } else { None };
                    let publish = Publish { topic, qos, retain, payload: body.to_vec() };
                    self.note(number, Event::Publish(publish));
                    if let Some(id) = id {
                        answer(&[0x40, 2, (id >> 8) as u8, id as u8])?;
                    }
                }
                8 => {
                    let id = short(&mut body);
                    let mut filters = Vec::new();
                    while !body.is_empty() {
                        let filter = text(&mut body);
                        filters.push((filter, byte(&mut body)));
                    }
                    let mut granted = vec![0x90, 2 + filters.len() as u8, (id >> 8) as u8, id as u8];
                    granted.extend(filters.iter().map(|(_, qos)| *qos));
                    self.note(number, Event::Subscribe(filters));
                    answer(&granted)?;
                }
                12 => answer(&[0xD0, 0])?,
                14 => self.note(number, Event::Disconnect),
                4 => {}
                other => panic!("packet type {other} of an edge node"),
            }
        }
    }
}

/// 2.2: fixed header and the rest of one packet.
fn packet(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut one = [0];
    stream.read_exact(&mut one)?;
    let header = one[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut one)?;
        length |= usize::from(one[0] & 0x7F) << shift;
        shift += 7;
        if one[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((header, body))
}

/// 3.1.
fn connect(body: &mut &[u8]) -> Event {
    assert_eq!((text(body).as_str(), byte(body)), ("MQTT", 4));
    let flags = byte(body);
    let _keep_alive = short(body);
    let _client_id = text(body);
    let will = (flags & 0x04 != 0).then(|| {
        let topic = text(body);
        let payload = data(body);
        Publish { topic, qos: flags >> 3 & 3, retain: flags & 0x20 != 0, payload }
    });
    Event::Connect { clean: flags & 0x02 != 0, will }
}

fn byte(body: &mut &[u8]) -> u8 {
    let (&first, rest) = body.split_first().unwrap();
    *body = rest;
    first
}

fn short(body: &mut &[u8]) -> u16 {
    u16::from_be_bytes([byte(body), byte(body)])
}

fn data(body: &mut &[u8]) -> Vec<u8> {
    let length = usize::from(short(body));
    let (taken, rest) = body.split_at(length);
    *body = rest;
    taken.to_vec()
}

fn text(body: &mut &[u8]) -> String {
    String::from_utf8(data(body)).expect("UTF-8")
}

/// For messages of tests.
fn topics(log: &[Entry]) -> Vec<String> {
    let short = |(number, event): &Entry| match event {
        Event::Publish(publish) => format!("{number} {}", publish.topic),
        other => format!("{number} {other:?}"),
    };
    log.iter().map(short).collect()
}
