//! How links are opened: over real sockets and pseudo-terminals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod backup;
mod dial_in;
mod ports;
#[cfg(feature = "tls")]
mod security;

use std::time::Duration;

use fieldgate::drivers::driver::{Block, Driver, Request};
use fieldgate::drivers::modbus::config::{ModbusDevice, TcpLink};
use fieldgate::drivers::modbus::{ModbusTcp, compile_tcp, tcp};
use fieldgate::model::{DataType, Fault, Raw};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// One register of one device.
fn request() -> Request<'static> {
    Request {
        device: 0,
        address: "holding:0",
        kind: DataType::U16,
        length: 0,
        writable: false,
        period: Duration::from_secs(1),
    }
}

/// A link that reads `holding:0` of unit 1; `keys` are those of its table.
fn link(keys: &str) -> ModbusTcp {
    let mut link = ModbusTcp::default();
    load(&mut link, keys);
    link
}

fn load(link: &mut ModbusTcp, keys: &str) {
    let table: TcpLink = toml::from_str(&format!("name = \"net\"\n{keys}")).unwrap();
    let compiled = compile_tcp(&table, &[ModbusDevice::default()], &[request()]).unwrap();
    link.load(&compiled.spec);
}

/// The register.
async fn value(link: &mut impl Driver) -> Result<u16, Fault> {
    link.connect().await?;
    let mut raw = Raw::default();
    link.read(Block(0), &mut raw).await.map(|()| raw.words[0])
}

/// The register, after as many tries as it takes.
async fn value_at_last(link: &mut impl Driver) -> u16 {
    for _ in 0..1000 {
        match value(link).await {
            Ok(value) => return value,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("no value: {}", link.trouble());
}

/// A device that answers each read with this register, `before` in front of each answer.
async fn device(mut stream: impl AsyncRead + AsyncWrite + Unpin, value: u16, before: &'static [u8]) {
    let mut request = [0; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        let mut answer = before.to_vec();
        let transaction = u16::from_be_bytes([request[0], request[1]]);
        tcp::encode(transaction, request[6], &mut answer, |pdu| {
            pdu.extend_from_slice(&[3, 2]);
            pdu.extend_from_slice(&value.to_be_bytes());
        });
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Devices at this listener, one after the other.
async fn devices(listener: TcpListener, value: u16) {
    while let Ok((stream, _)) = listener.accept().await {
        device(stream, value, b"").await;
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port where nobody listens.
async fn closed_port() -> u16 {
    listener().await.1
}
