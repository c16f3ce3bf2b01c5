//! A Modbus device that others wrote (tokio-modbus), on a socket or at the end of a serial cable, to be
//! silenced, set to refuse, and unplugged.
#![allow(dead_code)]

use std::future::{Ready, ready};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fieldgate::drivers::driver::{AddressError, Compiled, Request as Asked};
use fieldgate::drivers::modbus::config::{Framing, ModbusDevice, SerialLink, TcpLink};
use fieldgate::drivers::modbus::framing::Start;
use fieldgate::drivers::modbus::{LineSpec, compile_ascii, compile_rtu};
use fieldgate::model::Raw;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_modbus::server::Service;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_serial::{SerialPort, SerialStream};

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) coils: Vec<bool>,
    pub(crate) discrete: Vec<bool>,
    pub(crate) input: Vec<u16>,
    pub(crate) holding: Vec<u16>,
    /// Unit and function of each request.
    pub(crate) log: Vec<(u8, u8)>,
    pub(crate) silent: bool,
    pub(crate) refuse: Option<ExceptionCode>,
    /// Registers take no more than this, without a word.
    pub(crate) most: u16,
}

/// The device; handles share it. It listens to the units 1 and 2.
#[derive(Debug, Clone)]
pub(crate) struct Plc(Arc<Mutex<Memory>>);

impl Plc {
    pub(crate) fn new() -> Plc {
        let words = |salt: u32| (0..1000_u32).map(|at| (at * 31 + salt) as u16).collect();
        let bits = |salt: u32| (0..3000_u32).map(|at| at * (at + salt) % 7 < 3).collect();
        Plc(Arc::new(Mutex::new(Memory {
            coils: bits(1),
            discrete: bits(2),
            input: words(7),
            holding: words(40_000),
            log: Vec::new(),
            silent: false,
            refuse: None,
            most: u16::MAX,
        })))
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }
}

fn cut<T: Clone>(all: &[T], at: u16, count: u16) -> Result<Vec<T>, ExceptionCode> {
    let start = usize::from(at);
    all.get(start..start + usize::from(count)).map(<[T]>::to_vec).ok_or(ExceptionCode::IllegalDataAddress)
}

fn put<T: Clone>(all: &mut [T], at: u16, values: &[T]) -> Result<(), ExceptionCode> {
    let start = usize::from(at);
    let place = all.get_mut(start..start + values.len()).ok_or(ExceptionCode::IllegalDataAddress)?;
    place.clone_from_slice(values);
    Ok(())
}

impl Service for Plc {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, SlaveRequest { slave, request }: SlaveRequest<'static>) -> Self::Future {
        let mut memory = self.memory();
        memory.log.push((slave, request.function_code().value()));
        if memory.silent || !(1..=2).contains(&slave) {
            return ready(Ok(None));
        }
        if let Some(code) = memory.refuse {
            return ready(Err(code));
        }
        let answer = match request {
            Request::ReadCoils(at, n) => cut(&memory.coils, at, n).map(Response::ReadCoils),
            Request::ReadDiscreteInputs(at, n) => {
                cut(&memory.discrete, at, n).map(Response::ReadDiscreteInputs)
            }
            Request::ReadInputRegisters(at, n) => cut(&memory.input, at, n).map(Response::ReadInputRegisters),
            Request::ReadHoldingRegisters(at, n) => {
                cut(&memory.holding, at, n).map(Response::ReadHoldingRegisters)
            }
            Request::WriteSingleCoil(at, on) => {
                put(&mut memory.coils, at, &[on]).map(|()| Response::WriteSingleCoil(at, on))
            }
            Request::WriteSingleRegister(at, word) => {
                put(&mut memory.holding, at, &[word]).map(|()| Response::WriteSingleRegister(at, word))
            }
            Request::WriteMultipleCoils(at, bits) => put(&mut memory.coils, at, &bits)
                .map(|()| Response::WriteMultipleCoils(at, bits.len() as u16)),
            Request::WriteMultipleRegisters(at, words) => put(&mut memory.holding, at, &words)
                .map(|()| Response::WriteMultipleRegisters(at, words.len() as u16)),
            Request::MaskWriteRegister(at, and, or) => cut(&memory.holding, at, 1)
                .and_then(|now| put(&mut memory.holding, at, &[now[0] & and | or & !and]))
                .map(|()| Response::MaskWriteRegister(at, and, or)),
            Request::ReadWriteMultipleRegisters(start, n, at, words) => {
                let taken: Vec<_> = words.iter().map(|word| (*word).min(memory.most)).collect();
                put(&mut memory.holding, at, &taken)
                    .and_then(|()| cut(&memory.holding, start, n))
                    .map(Response::ReadWriteMultipleRegisters)
            }
            _ => Err(ExceptionCode::IllegalFunction),
        };
        ready(answer.map(Some))
    }
}

impl Plc {
    /// The same device in our own words, for the framings that tokio-modbus has not: the PDU of its answer.
    fn answer(&self, unit: u8, pdu: &[u8]) -> Option<Vec<u8>> {
        use fieldgate::drivers::modbus::address::Area;
        use fieldgate::drivers::modbus::pdu::{self, Request as Query};
        let mut memory = self.memory();
        memory.log.push((unit, pdu[0]));
        if memory.silent || !(1..=2).contains(&unit) {
            return None;
        }
        let mut out = Vec::new();
        let mut raw = Raw::default();
        let done = match memory.refuse.map_or(Query::decode(pdu), |code| Err(code.into())) {
            Err(code) => Err(code),
            Ok(Query::Read { area, start, count }) => match area {
                Area::Coil => cut(&memory.coils, start, count).map(|bits| raw.bits = bits),
                Area::Discrete => cut(&memory.discrete, start, count).map(|bits| raw.bits = bits),
                Area::Input => cut(&memory.input, start, count).map(|words| raw.words = words),
                Area::Holding => cut(&memory.holding, start, count).map(|words| raw.words = words),
            }
            .map(|()| pdu::encode_read_answer(area, &raw, pdu[0], &mut out))
            .map_err(u8::from),
            Ok(Query::WriteThenRead { start, count, at, words }) => {
                let taken: Vec<_> = words.iter().map(|word| (*word).min(memory.most)).collect();
                put(&mut memory.holding, at, &taken)
                    .and_then(|()| cut(&memory.holding, start, count))
                    .map(|words| raw.words = words)
                    .map(|()| pdu::encode_read_answer(Area::Holding, &raw, pdu[0], &mut out))
                    .map_err(u8::from)
            }
            Ok(Query::MaskRegister { at, and, or }) => cut(&memory.holding, at, 1)
                .and_then(|now| put(&mut memory.holding, at, &[now[0] & and | or & !and]))
                .map(|()| out.extend_from_slice(pdu))
                .map_err(u8::from),
            Ok(Query::Identify(_)) => Err(pdu::exception::ILLEGAL_FUNCTION),
            Ok(write) => match write {
                Query::WriteCoil { at, on } => put(&mut memory.coils, at, &[on]),
                Query::WriteRegister { at, word } => put(&mut memory.holding, at, &[word]),
                Query::WriteCoils { at, bits } => put(&mut memory.coils, at, &bits),
                Query::WriteRegisters { at, words } => put(&mut memory.holding, at, &words),
                _ => unreachable!(),
            }
            .map(|()| out.extend_from_slice(&pdu[..5]))
            .map_err(u8::from),
        };
        if let Err(code) = done {
            pdu::encode_exception(pdu[0], code, &mut out);
        }
        Some(out)
    }

    /// Serves one line with this framing. An adapter that `echoes` gives each request back first.
    pub(crate) async fn serve(
        self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        framing: Framing,
        echoes: bool,
    ) {
        let (mut input, mut scratch) = (Vec::new(), Vec::new());
        loop {
            let length = |_, pdu: &[u8]| fieldgate::drivers::modbus::pdu::request_length(pdu);
            match framing.start(&input, length) {
                Ok(Start::Frame(length)) => {
                    let (unit, pdu) =
                        framing.decode(&input[..length], &mut scratch).expect("a whole request");
                    let mut out = if echoes { input[..length].to_vec() } else { Vec::new() };
                    if let Some(answer) = self.answer(unit, pdu) {
                        // Number 0: a gateway that does not echo the one of the request.
                        framing.encode(0, unit, &mut out, |out| out.extend(answer));
                    }
                    input.drain(..length);
                    if stream.write_all(&out).await.is_err() {
                        return;
                    }
                }
                Ok(Start::Noise(bytes)) => drop(input.drain(..bytes)),
                Ok(Start::More(_)) => match stream.read_buf(&mut input).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                Err(fault) => panic!("{fault}"),
            }
        }
    }
}

/// Runs the device on a runtime of its own: without it all its sockets and ports are closed.
fn host() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A device on a socket.
pub(crate) struct OnSocket {
    pub(crate) plc: Plc,
    pub(crate) port: u16,
    /// None: Modbus TCP as others wrote it.
    framing: Option<Framing>,
    host: Option<Runtime>,
}

impl OnSocket {
    pub(crate) fn new() -> OnSocket {
        OnSocket::of(None)
    }

    /// With this framing, and without transaction identifiers.
    pub(crate) fn with(framing: Framing) -> OnSocket {
        OnSocket::of(Some(framing))
    }

    fn of(framing: Option<Framing>) -> OnSocket {
        let mut device = OnSocket { plc: Plc::new(), port: 0, framing, host: None };
        device.plug();
        device
    }

    pub(crate) fn unplug(&mut self) {
        if let Some(host) = self.host.take() {
            host.shutdown_background();
        }
        // Its tasks end in the background, the listener not before its connections: wait until nobody listens.
        for _ in 0..1000 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("port {} is still open", self.port);
    }

    pub(crate) fn plug(&mut self) {
        let (host, plc, port, framing) = (host(), self.plc.clone(), self.port, self.framing);
        let (tell, told) = std::sync::mpsc::channel();
        host.spawn(async move {
            let listener = loop {
                match TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            if let Some(framing) = framing {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(plc.clone().serve(stream, framing, false));
                }
            }
            let connected = |stream, _| {
                let plc = plc.clone();
                async move { Ok(Some((plc, stream))) }
            };
            let _ = tokio_modbus::server::tcp::Server::new(listener).serve(&connected, |_| {}).await;
        });
        self.port = told.recv().unwrap();
        self.host = Some(host);
    }

    pub(crate) fn link(&self, timeout: &str) -> TcpLink {
        let text = format!(
            "name = \"net\"\nhost = \"127.0.0.1\"\nport = {}\ntimeout = \"{timeout}\"\nconnect-timeout = \"2s\"\n{}",
            self.port,
            match self.framing {
                None => "",
                Some(Framing::Tcp) => "echo-transaction-id = false",
                Some(Framing::Rtu) => "framing = \"rtu\"",
                Some(Framing::Ascii) => "framing = \"ascii\"",
            }
        );
        toml::from_str(&text).unwrap()
    }
}

impl Drop for OnSocket {
    fn drop(&mut self) {
        self.unplug();
    }
}

/// A pseudo-terminal pair; the gateway opens `path`, the other end is for whoever plays the device.
pub(crate) struct Cable {
    pub(crate) path: PathBuf,
    /// Without it the device's end would find nobody there whenever the gateway has closed.
    _keep: std::fs::File,
}

impl Cable {
    /// Within a runtime only.
    pub(crate) fn new() -> (Cable, SerialStream) {
        let (device, end) = SerialStream::pair().unwrap();
        let path: PathBuf = end.name().unwrap().into();
        let keep = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        (Cable { path, _keep: keep }, device)
    }
}

/// The link table of a serial port, fast.
pub(crate) fn rtu_link(port: &std::path::Path, timeout: &str) -> SerialLink {
    let text = format!(
        "name = \"bus\"\nport = \"{}\"\nbaud = 115200\nparity = \"none\"\ntimeout = \"{timeout}\"",
        port.display()
    );
    toml::from_str(&text).unwrap()
}

/// A device at the end of a cable. Its port has a stable name, as those in `/dev/serial/by-id` have.
pub(crate) struct OnCable {
    pub(crate) plc: Plc,
    pub(crate) port: PathBuf,
    /// As others wrote it: RTU.
    framing: Option<Framing>,
    echoes: bool,
    _folder: tempfile::TempDir,
    host: Option<(Runtime, Cable)>,
}

impl OnCable {
    pub(crate) fn new() -> OnCable {
        OnCable::of(None, false)
    }

    pub(crate) fn ascii() -> OnCable {
        OnCable::of(Some(Framing::Ascii), false)
    }

    /// Behind an adapter that hears what it sends.
    pub(crate) fn echoing(framing: Framing) -> OnCable {
        OnCable::of(Some(framing), true)
    }

    fn of(framing: Option<Framing>, echoes: bool) -> OnCable {
        let folder = tempfile::tempdir().unwrap();
        let port = folder.path().join("bus");
        let mut device = OnCable { plc: Plc::new(), port, framing, echoes, _folder: folder, host: None };
        device.plug();
        device
    }

    pub(crate) fn unplug(&mut self) {
        if let Some((host, cable)) = self.host.take() {
            std::fs::remove_file(&self.port).unwrap();
            drop(cable);
            host.shutdown_background();
        }
    }

    pub(crate) fn plug(&mut self) {
        let host = host();
        let (cable, device) = {
            let _inside = host.enter();
            Cable::new()
        };
        let plc = self.plc.clone();
        match self.framing {
            Some(framing) => drop(host.spawn(plc.serve(device, framing, self.echoes))),
            None => drop(host.spawn(tokio_modbus::server::rtu::Server::new(device).serve_forever(plc))),
        }
        std::os::unix::fs::symlink(&cable.path, &self.port).unwrap();
        self.host = Some((host, cable));
    }

    pub(crate) fn link(&self, timeout: &str) -> SerialLink {
        rtu_link(&self.port, timeout)
    }

    pub(crate) fn compile(
        &self,
        link: &SerialLink,
        devices: &[ModbusDevice],
        requests: &[Asked<'_>],
    ) -> Result<Compiled<LineSpec>, Vec<(usize, AddressError)>> {
        let is_ascii = self.framing == Some(Framing::Ascii);
        if is_ascii { compile_ascii(link, devices, requests) } else { compile_rtu(link, devices, requests) }
    }
}

impl Drop for OnCable {
    fn drop(&mut self) {
        self.unplug();
    }
}
