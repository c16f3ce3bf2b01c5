//! The Modbus tables of the configuration file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Period, Spanned};

/// One Modbus TCP socket and all units behind it: the gateway dials `host`, or the device dials in to
/// `listen`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "ModbusTcp", title = "[[link.modbus-tcp]]")]
pub struct TcpLink {
    /// Unique among links; not `system`.
    #[schemars(length(min = 1, max = 128), extend("examples" = ["plc"]))]
    pub name: Spanned<String>,
    /// Host name or IP address; this or `listen` must be there.
    #[schemars(extend("examples" = ["192.0.2.10"]))]
    pub host: Option<Spanned<String>>,
    /// TCP port.
    #[schemars(range(min = 1, max = 65535), extend("default" = 502, "x-default" = "`502`, with `tls` `802`", "examples" = [1502]))]
    pub port: Option<Spanned<u16>>,
    /// Tried when `host` cannot be reached: an address, with or without a port; `"[fe80::1]:502"`.
    #[schemars(extend("examples" = ["192.0.2.11:502"]))]
    pub backup: Option<Spanned<String>>,
    /// Modbus/TCP Security.
    #[schemars(extend("examples" = [{"ca": "/etc/fieldgate/plant-ca.pem"}]))]
    pub tls: Option<Spanned<Tls>>,
    /// In place of `host`: IP address and port at which the device dials in, see
    /// docs/modbus.md#modems-that-dial-in.
    #[schemars(extend("examples" = ["127.0.0.1:5502"]))]
    pub listen: Option<Spanned<String>>,
    /// With `listen`: the first bytes by which the dialler is known; `"0x0102ab"` is hexadecimal.
    #[schemars(extend("x-default" = "anybody", "x-range" = "1 to 64 bytes", "examples" = ["PUMP-07"]))]
    pub identity: Option<Spanned<String>>,
    /// For an answer.
    #[serde(default = "one_second")]
    #[schemars(extend("x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["2s"]))]
    pub timeout: Spanned<Period>,
    /// For the connection, with the handshake of TLS; `host` and `backup` have it each.
    #[serde(default = "three_seconds")]
    #[schemars(extend("x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["10s"]))]
    pub connect_timeout: Spanned<Period>,
    /// Between an answer and the next request on one connection, for devices that need it.
    #[serde(default)]
    #[schemars(extend("x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["20ms"]))]
    pub pause: Option<Spanned<Period>>,
    /// Connections at once to this host, each with one transaction at a time; many PLCs take only 1 to 4, and
    /// two links to one host add up.
    #[schemars(range(min = 1, max = 16), extend("default" = 1, "examples" = [2]))]
    pub connections: Option<Spanned<u16>>,
    /// Requests in flight on one connection, for devices that take a request before they answered the last
    /// one; not with `pause`.
    #[schemars(range(min = 1, max = 16), extend("default" = 1, "x-unit" = "requests", "examples" = [4]))]
    pub pipeline: Option<Spanned<u16>>,
    /// Expected time from a request to its answer; only for the plan of the link, it cuts nothing short.
    #[serde(default = "two_milliseconds")]
    #[schemars(extend("x-range" = "`\"0s\"` to `\"60s\"`", "examples" = ["20ms"]))]
    pub turnaround: Spanned<Period>,
    /// What is said over the socket; see docs/modbus.md#over-a-socket.
    #[serde(default)]
    #[schemars(extend("examples" = ["rtu"]))]
    pub framing: Framing,
    /// `false`: the gateway answers with another transaction identifier than it was asked with; only with
    /// `framing = "tcp"`, see docs/modbus.md#over-a-socket.
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub echo_transaction_id: Option<Spanned<bool>>,
}

/// Modbus/TCP Security: TLS 1.2 or 1.3. The files are read at every connection.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "ModbusTls", title = "tls of a [[link.modbus-tcp]]")]
pub struct Tls {
    /// File with the certificates of the authority to trust, PEM.
    #[schemars(extend("x-default" = "the system's", "examples" = ["/etc/fieldgate/plant-ca.pem"]))]
    pub ca: Option<PathBuf>,
    /// File with the gateway's own certificate, and those between it and its authority, PEM; the
    /// specification asks for one.
    #[schemars(extend("examples" = ["/etc/fieldgate/gateway.pem"]))]
    pub certificate: Option<PathBuf>,
    /// File with the private key of `certificate`, PEM.
    #[schemars(extend("examples" = ["/etc/fieldgate/gateway.key"]))]
    pub key: Option<PathBuf>,
    /// The name that the device's certificate is made out to, also where the backup is in use.
    #[schemars(extend("x-default" = "`host`", "examples" = ["plc-2.plant.example"]))]
    pub server_name: Option<String>,
}

impl TcpLink {
    /// Whether each answer says which request it answers.
    pub fn is_numbered(&self) -> bool {
        self.framing == Framing::Tcp && self.echo_transaction_id.as_ref().is_none_or(|echo| *echo.get_ref())
    }
}

/// How a PDU is wrapped in a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Framing {
    /// The header of Modbus TCP.
    #[default]
    Tcp,
    /// The frames of a serial line, bytes and CRC, from a device server that passes bytes through.
    Rtu,
    /// The frames of a serial line, hexadecimal digits and LRC, from a device server that passes bytes
    /// through.
    Ascii,
}

/// One serial bus and all units on it. A serial port belongs to one link.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "ModbusSerial", title = "[[link.modbus-rtu]], [[link.modbus-ascii]]")]
pub struct SerialLink {
    /// Unique among links; not `system`.
    #[schemars(length(min = 1, max = 128), extend("examples" = ["bus-a"]))]
    pub name: Spanned<String>,
    /// The serial port: `/dev/ttyAMA0`, better a stable name as `/dev/serial/by-id/…`.
    #[schemars(extend("examples" = ["/dev/serial/by-id/usb-FTDI_FT232R-if00-port0"]))]
    pub port: Spanned<String>,
    /// Speed of the line.
    #[serde(default = "baud_19200")]
    #[schemars(range(min = 300, max = 4000000), extend("x-unit" = "bits per second", "examples" = [9600]))]
    pub baud: Spanned<u32>,
    /// Parity bit; even is the specification's default.
    #[serde(default)]
    #[schemars(extend("examples" = ["none"]))]
    pub parity: Parity,
    /// Stop bits, as the specification asks.
    #[schemars(range(min = 1, max = 2), extend("default" = 1, "x-default" = "`1`, without parity `2`", "examples" = [2]))]
    pub stop_bits: Option<Spanned<u8>>,
    /// Who switches an RS-485 transceiver to sending; see docs/modbus.md#rs-485.
    #[serde(default)]
    #[schemars(extend("examples" = ["rs485"]))]
    pub rts: Rts,
    /// From the switch to the first bit.
    #[schemars(extend("default" = "0s", "x-range" = "`\"0s\"` to `\"100ms\"`", "examples" = ["1ms"]))]
    pub rts_delay_before: Option<Spanned<Period>>,
    /// From the last bit to the switch back.
    #[schemars(extend("default" = "0s", "x-range" = "`\"0s\"` to `\"100ms\"`", "examples" = ["1ms"]))]
    pub rts_delay_after: Option<Spanned<Period>>,
    /// For the first byte of an answer, from the last byte of the request on.
    #[serde(default = "half_second")]
    #[schemars(extend("x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["300ms"]))]
    pub timeout: Spanned<Period>,
    /// Silence before each request, where it shall be longer than the specification's 3.5 characters.
    #[serde(default)]
    #[schemars(extend("x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["10ms"]))]
    pub pause: Option<Spanned<Period>>,
    /// Expected time that a device takes before its answer begins; only for the plan of the link, it cuts
    /// nothing short.
    #[serde(default = "five_milliseconds")]
    #[schemars(extend("x-range" = "`\"0s\"` to `\"60s\"`", "examples" = ["20ms"]))]
    pub turnaround: Spanned<Period>,
    /// Only RTU. `true`: a pause of more than 1.5 characters (above 19200 baud: 750 µs) within a frame spoils
    /// it; needs a native UART, see docs/modbus.md#serial-lines.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub strict_timing: Option<Spanned<bool>>,
    /// RTU has always 8.
    #[serde(default)]
    #[schemars(range(min = 7, max = 8), extend("x-default" = "`8`, with ASCII `7`", "examples" = [8]))]
    pub data_bits: Option<Spanned<u8>>,
}

/// Parity of a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Rts {
    /// The adapter, by itself.
    #[default]
    None,
    /// The kernel's driver: RTS is up while it sends.
    Rs485,
    /// The kernel's driver: RTS is down while it sends.
    Rs485Inverted,
    /// The gateway: RTS is up while it sends.
    Up,
    /// The gateway: RTS is down while it sends.
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
