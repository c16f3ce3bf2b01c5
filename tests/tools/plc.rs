//! A device that others wrote (tokio-modbus), and a file that describes it.

use std::collections::BTreeSet;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject, ReadDeviceIdentificationResponse};
use tokio_modbus::server::Service;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) holding: Vec<u16>,
    pub(crate) input: Vec<u16>,
    /// Registers that are not there.
    pub(crate) holes: BTreeSet<u16>,
    /// A write of more is taken and cut to this.
    pub(crate) most: Option<u16>,
    /// Unit, function and first address of each request.
    pub(crate) log: Vec<(u8, u8, u16)>,
}

/// Units 1 and 2 are there, 3 refuses all, behind 4 the gateway finds nobody, the others are silent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plc(Arc<Mutex<Memory>>);

impl Plc {
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }

    fn answer(&self, unit: u8, request: &Request<'_>) -> Result<Option<Response>, ExceptionCode> {
        let mut memory = self.memory();
        let at = match request {
            Request::ReadHoldingRegisters(at, _)
            | Request::ReadInputRegisters(at, _)
            | Request::WriteSingleRegister(at, _) => *at,
            _ => 0,
        };
        memory.log.push((unit, request.function_code().value(), at));
        match unit {
            1 | 2 => {}
            3 => return Err(ExceptionCode::IllegalFunction),
            4 => return Err(ExceptionCode::GatewayTargetDevice),
            _ => return Ok(None),
        }
        let read = |all: &[u16], at: u16, count: u16| {
            if memory.holes.iter().any(|hole| (at..at + count).contains(hole)) {
                return Err(ExceptionCode::IllegalDataAddress);
            }
            let (at, count) = (usize::from(at), usize::from(count));
            all.get(at..at + count).map(<[u16]>::to_vec).ok_or(ExceptionCode::IllegalDataAddress)
        };
        Ok(Some(match request {
            Request::ReadHoldingRegisters(at, n) => {
                Response::ReadHoldingRegisters(read(&memory.holding, *at, *n)?)
            }
            Request::ReadInputRegisters(at, n) => Response::ReadInputRegisters(read(&memory.input, *at, *n)?),
            Request::WriteSingleRegister(at, word) => {
                let most = memory.most.unwrap_or(u16::MAX);
                memory.holding[usize::from(*at)] = (*word).min(most);
                Response::WriteSingleRegister(*at, *word)
            }
            // The crate's own answer to this function has a length in its header that is one byte short.
            Request::ReportServerId if unit == 1 => Response::Custom(17, b"\x09\x07\xFFPump v2"[..].into()),
            Request::ReadDeviceIdentification(code, _) if unit == 1 => {
                let object = |id, text: &'static str| DeviceIdObject { id, value: text.into() };
                Response::ReadDeviceIdentification(ReadDeviceIdentificationResponse {
                    read_code: *code,
                    conformity_level: ConformityLevel::RegularIdentification,
                    more_follows: false,
                    next_object_id: 0,
                    device_id_objects: match code.value() {
                        1 => vec![object(0, "Acme"), object(1, "P-100"), object(2, "2.11")],
                        _ => vec![object(4, "Pump"), object(5, "evil\u{1b}[2J")],
                    },
                })
            }
            _ => return Err(ExceptionCode::IllegalFunction),
        }))
    }
}

impl Service for Plc {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, SlaveRequest { slave, request }: SlaveRequest<'static>) -> Self::Future {
        ready(self.answer(slave, &request))
    }
}

/// A device on a socket; its runtime goes with it.
pub(crate) struct Device {
    pub(crate) plc: Plc,
    pub(crate) port: u16,
    _host: Runtime,
}

pub(crate) fn device() -> Device {
    let plc = Plc::default();
    {
        let mut memory = plc.memory();
        memory.holding = vec![0; 1000];
        memory.input = vec![0; 1000];
    }
    let host = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = host.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = plc.clone();
    host.spawn(async move {
        let connected = |stream, _| {
            let plc = served.clone();
            async move { Ok(Some((plc, stream))) }
        };
        let _ = tokio_modbus::server::tcp::Server::new(listener).serve(&connected, |_| {}).await;
    });
    Device { plc, port, _host: host }
}

impl Device {
    pub(crate) fn set(&self, at: usize, words: &[u16]) {
        self.plc.memory().holding[at..at + words.len()].copy_from_slice(words);
    }

    pub(crate) fn url(&self, unit: u8, at: &str) -> String {
        format!("modbus-tcp://127.0.0.1:{}/{unit}/{at}?timeout=500ms", self.port)
    }

    /// A file with two devices on this socket, one of them by a profile.
    pub(crate) fn file(&self) -> (tempfile::TempDir, String) {
        let text = format!(
            r#"
[node]
group = "plant"
name = "gw"

[scan]
default = "100ms"
slow = "1h"

[[link.modbus-tcp]]
name = "net"
host = "127.0.0.1"
port = {}
timeout = "500ms"

[[link.modbus-tcp]]
name = "elsewhere"
host = "127.0.0.1"
port = 1

[profile.pump]
order = "cdab"
[profile.pump.tag]
power = {{ at = "holding:10", type = "f32", unit = "kW" }}
speed = {{ at = "holding:20", type = "u16", scale = 0.1, unit = "rpm", low = 0, high = 300, access = "read-write" }}
state = {{ at = "holding:30", type = "u16", scan = "slow" }}

[[device]]
name = "pump-1"
link = "net"
unit = 1
profile = "pump"

[[device]]
name = "pump-3"
link = "net"
unit = 3
profile = "pump"

[[device]]
name = "far"
link = "elsewhere"
[device.tag]
value = {{ at = "holding:0", type = "u16" }}

[publish.http]
listen = "127.0.0.1:9"
"#,
            self.port
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path.to_str().unwrap().to_owned())
    }
}
