//! One request and its answer on a line that nobody has described yet: for the scan, which never writes.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_serial::{DataBits, FlowControl, SerialPortBuilderExt, StopBits};

use crate::drivers::modbus::address::Area;
use crate::drivers::modbus::config::{Framing, Parity};
use crate::drivers::modbus::identify::Question;
use crate::drivers::modbus::{pdu, rtu, tcp};

/// What a scan may ask: it reads, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The first register or bit of a table.
    First(Area),
    /// Who it is.
    Who(Question),
}

impl Ask {
    fn function(self) -> u8 {
        match self {
            Ask::First(area) => pdu::Request::Read { area, start: 0, count: 1 }.function(),
            Ask::Who(question) => question.function(),
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Ask::First(area) => pdu::Request::Read { area, start: 0, count: 1 }.encode(out),
            Ask::Who(question) => question.encode(out),
        }
    }
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An answer to this very question: its PDU, exceptions too, and how long it took to begin.
    Pdu(Vec<u8>, Duration),
    /// Nothing in time.
    Silence,
    /// Bytes that are no answer.
    Garbled,
    /// The connection or the port is gone.
    Gone(String),
}

/// A line and what is known of it.
#[derive(Debug)]
pub(super) struct Wire {
    line: Line,
    /// Units whose answer came after its time: they are there, only slow.
    pub(super) late: BTreeSet<u8>,
    /// Bytes that made no frame since this was last taken.
    pub(super) noise: u64,
}

#[derive(Debug)]
enum Line {
    Tcp(Tcp),
    Serial(Serial),
}

#[derive(Debug)]
struct Tcp {
    host: String,
    port: u16,
    stream: Option<TcpStream>,
    transaction: u16,
    input: Vec<u8>,
    /// The last questions: transaction and unit.
    asked: VecDeque<(u16, u8)>,
}

/// The frames of a serial line, from its port or from a socket.
#[derive(Debug)]
struct Serial {
    stream: Box<dyn Bytes>,
    framing: Framing,
    pace: rtu::Pace,
    /// Within one frame adapters and networks make pauses up to this; a longer one is its end.
    gap: Duration,
    /// What it is, for the message that it broke.
    what: String,
    quiet_until: Instant,
    /// This unit was asked and has not answered: its answer may still come.
    owing: Option<u8>,
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Bytes for T {}

impl Wire {
    const CONNECT: Duration = Duration::from_secs(3);
    /// Questions kept in mind for answers that come late.
    const REMEMBERED: usize = 512;

    /// A TCP connection; an error says what to do.
    pub(super) async fn tcp(host: &str, port: u16, framing: Framing) -> Result<Wire, String> {
        let mut tcp = Tcp {
            host: host.to_owned(),
            port,
            stream: None,
            transaction: 0,
            input: Vec::new(),
            asked: VecDeque::new(),
        };
        tcp.connect().await?;
        Ok(match tcp.stream.take_if(|_| framing != Framing::Tcp) {
            None => Wire::of(Line::Tcp(tcp)),
            Some(stream) => Wire::line(
                stream,
                framing,
                rtu::Pace::network(),
                Duration::from_millis(100),
                format!("the connection to {host}:{port}"),
            ),
        })
    }

    /// A serial port; an error says what to do.
    pub(super) fn serial(path: &str, baud: u32, parity: Parity, framing: Framing) -> Result<Wire, String> {
        // Two stop bits without parity: a device that sends one is understood all the same, since a receiver
        // looks at the first one only (Serial Line V1.02, section 2.5.1: eleven bits a character).
        let (parity_bit, stop_bits) = match parity {
            Parity::None => (tokio_serial::Parity::None, StopBits::Two),
            Parity::Even => (tokio_serial::Parity::Even, StopBits::One),
            Parity::Odd => (tokio_serial::Parity::Odd, StopBits::One),
        };
        let stream = tokio_serial::new(path, baud)
            .data_bits(if framing == Framing::Ascii { DataBits::Seven } else { DataBits::Eight })
            .parity(parity_bit)
            .stop_bits(stop_bits)
            .flow_control(FlowControl::None)
            .open_native_async()
            .map_err(|error| {
                let help = "is the adapter plugged in, is the user in the group `dialout`, does another program \
                            (a running gateway?) hold it?";
                format!("the serial port {path} cannot be opened with {baud} baud: {error}; {help}")
            })?;
        let stop_bits = if stop_bits == StopBits::Two { 2 } else { 1 };
        let (pace, gap) = match framing {
            Framing::Ascii => (rtu::Pace::ascii(baud, 7, parity, stop_bits), Duration::from_secs(1)),
            _ => (rtu::Pace::new(baud, parity, stop_bits), Duration::from_millis(25)),
        };
        let gap = pace.silence().max(gap);
        Ok(Wire::line(stream, framing, pace, gap, "the serial port".into()))
    }

    fn line(
        stream: impl Bytes + 'static,
        framing: Framing,
        pace: rtu::Pace,
        gap: Duration,
        what: String,
    ) -> Wire {
        let quiet_until = Instant::now() + pace.silence();
        let stream = Box::new(stream);
        Wire::of(Line::Serial(Serial { stream, framing, pace, gap, what, quiet_until, owing: None }))
    }

    fn of(line: Line) -> Wire {
        Wire { line, late: BTreeSet::new(), noise: 0 }
    }

    /// Asks, and waits so long for the answer to begin.
    pub(super) async fn ask(&mut self, unit: u8, ask: Ask, patience: Duration) -> Answer {
        let Wire { line, late, noise } = self;
        let answer = match line {
            Line::Tcp(tcp) => tcp.ask(unit, ask, patience, late).await,
            Line::Serial(serial) => serial.ask(unit, ask, patience, late, noise).await,
        };
        answer.unwrap_or_else(Answer::Gone)
    }

    /// Listens until nothing more comes for so long; late answers are noted.
    pub(super) async fn settle(&mut self, patience: Duration) {
        let Wire { line, late, noise } = self;
        match line {
            Line::Tcp(tcp) => {
                let _ = tcp.receive(Instant::now() + patience, None, late).await;
            }
            Line::Serial(serial) => serial.listen(patience, late, noise).await,
        }
    }
}

/// Whether a PDU answers this function, with a value or an exception.
fn is_answer(pdu: &[u8], function: u8) -> bool {
    match pdu {
        [f, _, ..] => *f == function || *f == function | 0x80,
        _ => false,
    }
}

impl Tcp {
    async fn connect(&mut self) -> Result<(), String> {
        let (host, port) = (self.host.as_str(), self.port);
        let help = "check address, cable, firewall, and that the device is on";
        self.input.clear();
        self.stream = None;
        match timeout(Wire::CONNECT, TcpStream::connect((host, port))).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                self.stream = Some(stream);
                Ok(())
            }
            Ok(Err(error)) => Err(format!("{host}:{port} cannot be reached: {error}; {help}")),
            Err(_) => {
                Err(format!("{host}:{port} did not accept a connection within {:?}; {help}", Wire::CONNECT))
            }
        }
    }

    async fn ask(
        &mut self,
        unit: u8,
        ask: Ask,
        patience: Duration,
        late: &mut BTreeSet<u8>,
    ) -> Result<Answer, String> {
        if self.stream.is_none() {
            self.connect().await?;
        }
        self.transaction = self.transaction.wrapping_add(1);
        self.asked.push_back((self.transaction, unit));
        if self.asked.len() > Wire::REMEMBERED {
            self.asked.pop_front();
        }
        let mut out = Vec::with_capacity(16);
        tcp::encode(self.transaction, unit, &mut out, |out| ask.encode(out));
        let Some(stream) = &mut self.stream else { return Ok(Answer::Silence) };
        match timeout(patience.max(Wire::CONNECT), stream.write_all(&out)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ok(self.lost(&error.to_string())),
            Err(_) => return Ok(self.lost("it takes no more bytes")),
        }
        Ok(self.receive(Instant::now() + patience, Some((unit, ask)), late).await)
    }

    fn lost(&mut self, why: &str) -> Answer {
        self.stream = None;
        self.input.clear();
        Answer::Gone(format!("the connection to {}:{} broke: {why}", self.host, self.port))
    }

    /// The answer to the last question; those to earlier ones came late.
    async fn receive(
        &mut self,
        deadline: Instant,
        wanted: Option<(u8, Ask)>,
        late: &mut BTreeSet<u8>,
    ) -> Answer {
        let asked_at = Instant::now();
        loop {
            match tcp::decode(&self.input) {
                Ok(Some(frame)) => {
                    let (transaction, from, used) = (frame.transaction, frame.unit, frame.used);
                    let current = transaction == self.transaction;
                    let answer = wanted.filter(|_| current).map(|(unit, ask)| {
                        let right = from == unit && is_answer(frame.pdu, ask.function());
                        let took = asked_at.elapsed();
                        if right { Answer::Pdu(frame.pdu.to_vec(), took) } else { Answer::Garbled }
                    });
                    self.input.drain(..used);
                    match answer {
                        Some(answer) => return answer,
                        None if self.asked.contains(&(transaction, from)) => {
                            late.insert(from);
                        }
                        None => {}
                    }
                }
                Err(tcp::NoFrame) => {
                    self.stream = None;
                    self.input.clear();
                    return Answer::Garbled;
                }
                Ok(None) => {
                    let Some(stream) = &mut self.stream else { return Answer::Silence };
                    match timeout_at(deadline, stream.read_buf(&mut self.input)).await {
                        Err(_) => return Answer::Silence,
                        Ok(Ok(0)) => return self.lost("the device closed it"),
                        Ok(Err(error)) => return self.lost(&error.to_string()),
                        Ok(Ok(_)) => {}
                    }
                }
            }
        }
    }
}

impl Serial {
    async fn ask(
        &mut self,
        unit: u8,
        ask: Ask,
        patience: Duration,
        late: &mut BTreeSet<u8>,
        noise: &mut u64,
    ) -> Result<Answer, String> {
        // The same unit again after it was silent: its late answer would look like that to this question.
        if self.owing == Some(unit) {
            self.listen(patience, late, noise).await;
        }
        tokio::time::sleep_until(self.quiet_until).await;
        self.listen(Duration::ZERO, late, noise).await;
        let mut out = Vec::with_capacity(16);
        self.framing.encode(0, unit, &mut out, |out| ask.encode(out));
        let on_the_wire = self.pace.bytes(out.len());
        let what = self.what.clone();
        let broke = |error: io::Error| format!("{what} failed: {error}; check the adapter and its cable");
        match timeout(patience.max(Wire::CONNECT), self.stream.write_all(&out)).await {
            Ok(sent) => sent.map_err(broke)?,
            Err(_) => return Err(format!("{what} takes no more bytes; check the adapter")),
        }
        self.owing = Some(unit);
        let sent = Instant::now() + on_the_wire;
        let deadline = sent + patience;
        let mut disturbed = false;
        let mut scratch = Vec::new();
        let answer = loop {
            let Some((began, frame)) = self.frame(deadline).await.map_err(broke)? else {
                break if disturbed { Answer::Garbled } else { Answer::Silence };
            };
            // Adapters that hear what they send give our own request first.
            let frame = frame.strip_prefix(out.as_slice()).unwrap_or(&frame);
            match self.framing.decode(frame, &mut scratch) {
                _ if frame.is_empty() => {}
                Some((from, pdu)) if from == unit && is_answer(pdu, ask.function()) => {
                    self.owing = None;
                    break Answer::Pdu(pdu.to_vec(), began.saturating_duration_since(sent));
                }
                Some((from, _)) => {
                    late.insert(from);
                    disturbed = true;
                }
                None => {
                    *noise += frame.len() as u64;
                    disturbed = true;
                }
            }
        };
        self.quiet_until = Instant::now() + self.pace.silence();
        Ok(answer)
    }

    /// Bytes up to a pause, and when the first of them came; none where nothing begins before the deadline.
    async fn frame(&mut self, deadline: Instant) -> io::Result<Option<(Instant, Vec<u8>)>> {
        let most = self.framing.most();
        let mut frame = Vec::with_capacity(most);
        let mut until = deadline;
        let mut began = None;
        // More than a frame without a pause is noise; the next call takes what follows.
        while frame.len() < most {
            // An ASCII frame says itself where it ends.
            if self.framing == Framing::Ascii && frame.ends_with(b"\r\n") {
                break;
            }
            match timeout_at(until, self.stream.read_buf(&mut frame)).await {
                Err(_) => break,
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => drop(read?),
            }
            let now = Instant::now();
            began.get_or_insert(now);
            until = now + self.gap;
        }
        Ok(began.map(|began| (began, frame)))
    }

    /// Takes what comes until nothing has for so long.
    async fn listen(&mut self, patience: Duration, late: &mut BTreeSet<u8>, noise: &mut u64) {
        // A line that never is quiet holds nobody for ever.
        for _ in 0..20 {
            match self.frame(Instant::now() + patience).await {
                Ok(Some((_, frame))) => match self.framing.decode(&frame, &mut Vec::new()) {
                    Some((from, _)) => drop(late.insert(from)),
                    None => *noise += frame.len() as u64,
                },
                _ => break,
            }
            self.quiet_until = Instant::now() + self.pace.silence();
        }
        self.owing = None;
    }
}
