//! The Modbus tables of the configuration file.

use serde::Deserialize;
use toml::Spanned;

use crate::model::Period;

/// `[[link.modbus-tcp]]`: one Modbus TCP socket and all units behind it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TcpLink {
    /// Unique name of the link.
    pub name: Spanned<String>,
    /// Host name or IP address.
    pub host: Spanned<String>,
    /// TCP port, 1 to 65535.
    #[serde(default = "port_502")]
    pub port: Spanned<u16>,
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
}

/// `[[link.modbus-rtu]]`: one serial bus and all units on it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RtuLink {
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

/// The Modbus keys of a `[[device]]`, handed to `compile`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusDevice {
    /// The device's name, for messages.
    pub name: String,
    /// Unit identifier, 1 to 247 (TCP: 0 to 255).
    pub unit: u8,
    /// Most registers in one read, 1 to 125.
    pub max_registers: u16,
    /// Most unused registers read to merge two neighbours, where that is cheaper than two requests.
    pub max_gap: u16,
    /// Write one register with function 16 and one coil with function 15.
    pub write_multiple: bool,
    /// Time-out of this device where it differs from the link's.
    pub timeout: Option<std::time::Duration>,
}

impl Default for ModbusDevice {
    fn default() -> ModbusDevice {
        ModbusDevice {
            name: String::new(),
            unit: 1,
            max_registers: 125,
            max_gap: 120,
            write_multiple: false,
            timeout: None,
        }
    }
}

fn implied<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
fn port_502() -> Spanned<u16> {
    implied(502)
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
