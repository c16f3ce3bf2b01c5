//! The Modbus tables of the configuration file.

use std::path::PathBuf;

use serde::Deserialize;

use crate::model::{Period, Spanned};

/// `[[link.modbus-tcp]]`: one socket and all units behind it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TcpLink {
    /// Unique name of the link.
    pub name: Spanned<String>,
    /// Host name or IP address; not with `listen`.
    pub host: Option<Spanned<String>>,
    /// TCP port, 1 to 65535; by default 502, and 802 with `tls`.
    pub port: Option<Spanned<u16>>,
    /// Tried when `host` cannot be reached: an address, with or without a port.
    pub backup: Option<Spanned<String>>,
    /// Modbus/TCP Security.
    pub tls: Option<Spanned<Tls>>,
    /// In place of `host`: the gateway listens at this address and port, and the device dials in.
    pub listen: Option<Spanned<String>>,
    /// With `listen`: the first bytes by which the dialler is known; `"0x0102ab"` is hexadecimal.
    pub identity: Option<Spanned<String>>,
    /// Time to wait for an answer.
    #[serde(default = "one_second")]
    pub timeout: Spanned<Period>,
    /// Time to wait for the connection.
    #[serde(default = "three_seconds")]
    pub connect_timeout: Spanned<Period>,
    /// Pause between an answer and the next request.
    #[serde(default)]
    pub pause: Option<Spanned<Period>>,
    /// Connections at once to this host, 1 to 16.
    #[serde(default)]
    pub connections: Option<Spanned<u16>>,
    /// Requests in flight on one connection, 1 to 16.
    #[serde(default)]
    pub pipeline: Option<Spanned<u16>>,
    /// Expected time from a request to its answer, for the plan of the link; it cuts nothing short.
    #[serde(default = "two_milliseconds")]
    pub turnaround: Spanned<Period>,
    /// What is said over the socket: Modbus TCP, or the frames of a serial line.
    #[serde(default)]
    pub framing: Framing,
    /// Whether answers carry the transaction identifier of their request, as they must; only of Modbus TCP.
    #[serde(default)]
    pub echo_transaction_id: Option<Spanned<bool>>,
}

/// `tls` of a `[[link.modbus-tcp]]`: whom to trust, and who this gateway is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// File with the certificates of the authority to trust, PEM; by default the system's.
    pub ca: Option<PathBuf>,
    /// File with this gateway's own certificate, and those between it and its authority, PEM.
    pub certificate: Option<PathBuf>,
    /// File with the private key of `certificate`, PEM.
    pub key: Option<PathBuf>,
    /// The name that the device's certificate is made out to, where it is not that of `host`.
    pub server_name: Option<String>,
}

impl TcpLink {
    /// Whether each answer says which request it answers.
    pub fn is_numbered(&self) -> bool {
        self.framing == Framing::Tcp && self.echo_transaction_id.as_ref().is_none_or(|echo| *echo.get_ref())
    }
}

/// How a PDU is wrapped in a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// The header of Modbus TCP.
    #[default]
    Tcp,
    /// Bytes and CRC, as on a serial line.
    Rtu,
    /// Hexadecimal digits and LRC, as on a serial line.
    Ascii,
}

/// `[[link.modbus-rtu]]`, `[[link.modbus-ascii]]`: one serial bus and all units on it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SerialLink {
    /// Unique name of the link.
    pub name: Spanned<String>,
    /// The serial port, as `/dev/ttyAMA0` or `/dev/serial/by-id/…`.
    pub port: Spanned<String>,
    /// Bits per second, 300 to 4,000,000.
    #[serde(default = "baud_19200")]
    pub baud: Spanned<u32>,
    /// Parity bit; even is the specification's default.
    #[serde(default)]
    pub parity: Parity,
    /// Stop bits, 1 or 2; by default 1, and 2 without parity, as the specification asks.
    #[serde(default)]
    pub stop_bits: Option<Spanned<u8>>,
    /// How the transceiver is switched to sending, where it does not do so by itself.
    #[serde(default)]
    pub rts: Rts,
    /// From the switch to the first bit; 0 by default.
    pub rts_delay_before: Option<Spanned<Period>>,
    /// From the last bit to the switch back; 0 by default.
    pub rts_delay_after: Option<Spanned<Period>>,
    /// Time to wait for the first byte of an answer.
    #[serde(default = "half_second")]
    pub timeout: Spanned<Period>,
    /// Silence before each request where it shall be longer than the specification's 3.5 characters.
    #[serde(default)]
    pub pause: Option<Spanned<Period>>,
    /// Expected time that a device takes before its answer begins, for the plan of the link; it cuts
    /// nothing short.
    #[serde(default = "five_milliseconds")]
    pub turnaround: Spanned<Period>,
    /// Only RTU: a pause of more than 1.5 characters within a frame spoils it, as the specification has it.
    #[serde(default)]
    pub strict_timing: Option<Spanned<bool>>,
    /// Only ASCII: 7, the specification's default, or 8; RTU always has 8.
    #[serde(default)]
    pub data_bits: Option<Spanned<u8>>,
}

/// Parity of a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even parity.
    #[default]
    Even,
    /// Odd parity.
    Odd,
}

/// How the transceiver of an RS-485 bus is switched to sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rts {
    /// Not at all: the adapter does it by itself.
    #[default]
    None,
    /// The kernel's driver does it: RTS is up while it sends.
    Rs485,
    /// The kernel's driver does it: RTS is down while it sends.
    Rs485Inverted,
    /// This program does it: RTS is up while it sends.
    Up,
    /// This program does it: RTS is down while it sends.
    Down,
}

/// The Modbus keys of a `[[device]]`, handed to `compile`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusDevice {
    /// The device's name, for messages.
    pub name: String,
    /// Unit identifier, 1 to 247 (TCP: 0 to 255).
    pub unit: u8,
    /// All who hear it do what it says, and nobody answers (serial line guide V1.02, section 2.1).
    pub broadcast: bool,
    /// Most registers in one read, 1 to 125.
    pub max_registers: u16,
    /// Most bits in one read, 1 to 2000.
    pub max_bits: u16,
    /// One register or bit a read, whatever the other limits are.
    pub single_register: bool,
    /// Most unused registers read to merge two neighbours, where that is cheaper than two requests.
    pub max_gap: u16,
    /// Write one register with function 16 and one coil with function 15.
    pub write_multiple: bool,
    /// Write registers with function 23, which reads them again.
    pub read_back: bool,
    /// Write a part of a register by reading it, changing it and writing it, and not with function 22.
    pub read_modify_write: bool,
    /// Time-out of this device where it differs from the link's; of a broadcast the turnaround delay.
    pub timeout: Option<std::time::Duration>,
    /// Asked who it is, once each time that it answers anew.
    pub identify: bool,
    /// What is never read over.
    pub holes: Vec<super::holes::Hole>,
}

impl Default for ModbusDevice {
    fn default() -> ModbusDevice {
        ModbusDevice {
            name: String::new(),
            unit: 1,
            broadcast: false,
            max_registers: 125,
            max_bits: 2000,
            single_register: false,
            max_gap: 120,
            write_multiple: false,
            read_back: false,
            read_modify_write: false,
            timeout: None,
            identify: true,
            holes: Vec::new(),
        }
    }
}

fn implied<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
fn baud_19200() -> Spanned<u32> {
    implied(19_200)
}
fn two_milliseconds() -> Spanned<Period> {
    implied(Period(std::time::Duration::from_millis(2)))
}
fn five_milliseconds() -> Spanned<Period> {
    implied(Period(std::time::Duration::from_millis(5)))
}
fn half_second() -> Spanned<Period> {
    implied(Period(std::time::Duration::from_millis(500)))
}
fn one_second() -> Spanned<Period> {
    implied(Period(std::time::Duration::from_secs(1)))
}
fn three_seconds() -> Spanned<Period> {
    implied(Period(std::time::Duration::from_secs(3)))
}
