//! The tables of the file, as written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::alarm::Alarm;
use super::leaf::{Deadband, Scalar};
use crate::drivers::modbus::config::{SerialLink, TcpLink};
use crate::model::{Access, Class, DataType, Order, Period, Size, Spanned};
use crate::publishers::http::config as http;
use crate::publishers::mqtt::config as mqtt;
use crate::publishers::opcua::config as opcua;
use crate::publishers::sparkplug::config as sparkplug;
use crate::store::{Durability, Replay, WhenFull};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Files with a profile each, relative to this file; `*` stands for any part of a file's name.
    #[serde(default)]
    pub profiles: Vec<Spanned<String>>,
    /// `[node]`
    pub node: Spanned<Node>,
    /// `[scan]`: scan classes by name.
    #[serde(default)]
    pub scan: BTreeMap<Spanned<String>, Spanned<Period>>,
    /// `[[link.…]]`
    #[serde(default)]
    pub link: Links,
    /// `[[device]]`
    #[serde(default)]
    pub device: Vec<Spanned<Device>>,
    /// `[profile.NAME]`
    #[serde(default)]
    pub profile: BTreeMap<Spanned<String>, Profile>,
    /// `[store]`
    #[serde(default)]
    pub store: Store,
    /// `[publish.…]`
    #[serde(default)]
    pub publish: Publishers,
    /// `[system]`
    #[serde(default)]
    pub system: System,
    /// `[[test]]`
    #[serde(default)]
    pub test: Vec<Spanned<Test>>,
}

/// `[node]`: who this gateway is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Node {
    /// Sparkplug group; the plant or site.
    pub group: Spanned<String>,
    /// Sparkplug edge node; this gateway.
    pub name: Spanned<String>,
    /// For people.
    pub description: Option<String>,
    /// Who says whether this computer's clock is right.
    #[serde(default)]
    pub clock: ClockSource,
}

/// Who says whether the clock is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// The operating system, which knows of NTP and PTP.
    #[default]
    System,
    /// Whoever runs the plant: it has a battery, and is set by hand.
    Trusted,
}

/// `[[link.…]]`, one array per driver.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Links {
    /// `[[link.modbus-tcp]]`
    #[serde(default)]
    pub modbus_tcp: Vec<Spanned<TcpLink>>,
    /// `[[link.modbus-rtu]]`
    #[serde(default)]
    pub modbus_rtu: Vec<Spanned<SerialLink>>,
    /// `[[link.modbus-ascii]]`
    #[serde(default)]
    pub modbus_ascii: Vec<Spanned<SerialLink>>,
}

/// `[[device]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Device {
    /// Unique in the gateway.
    pub name: Spanned<String>,
    /// The link that it hangs on.
    pub link: Spanned<String>,
    /// Modbus unit: 1 to 247 on a serial line, 0 to 255 over TCP; 1 by default.
    pub unit: Option<Spanned<u16>>,
    /// Unit 0 of a serial line: all devices on it obey, none answers.
    pub broadcast: Option<Spanned<bool>>,
    /// Scan class of its tags; `default` where there is one, else the first.
    pub scan: Option<Spanned<String>>,
    /// Order of 32- and 64-bit values; `abcd` by default.
    pub order: Option<Order>,
    /// Adds the tags of `[profile.NAME]`.
    pub profile: Option<Spanned<String>>,
    /// Most registers in one read, 1 to 125.
    pub max_registers: Option<Spanned<u16>>,
    /// Most coils or discrete inputs in one read, 1 to 2000.
    pub max_bits: Option<Spanned<u16>>,
    /// One register or bit a read.
    pub single_register: Option<bool>,
    /// Most unused registers read to merge two neighbours, 0 to 120; 120 by default.
    pub max_gap: Option<Spanned<u16>>,
    /// Registers and bits that the device has not, `holding:100..102`: never read over.
    pub holes: Option<Vec<Spanned<String>>>,
    /// Whether it is asked who it is (functions 43/14 and 17); true by default.
    pub identify: Option<bool>,
    /// Functions used to write registers and coils.
    pub write: Option<WriteFunctions>,
    /// How a bit or a byte of a register is written.
    pub bit_write: Option<BitWrite>,
    /// Time-out where it differs from the link's.
    pub timeout: Option<Spanned<Period>>,
    /// An unchanged value is reported again after this time.
    pub max_silence: Option<Spanned<Period>>,
    /// How urgent its tags are.
    pub class: Option<Class>,
    /// For people.
    pub description: Option<String>,
    /// Adds the tags of a CSV file, relative to this file.
    pub tags: Option<Spanned<String>>,
    /// What `tags` gave.
    #[serde(skip)]
    pub listed: BTreeMap<Spanned<String>, Spanned<Tag>>,
    /// `[device.tag]`
    #[serde(default)]
    pub tag: BTreeMap<Spanned<String>, Spanned<Tag>>,
    /// `[device.table]`: tags in rows and columns.
    #[serde(default)]
    pub table: BTreeMap<Spanned<String>, Spanned<Table>>,
}

/// A table of tags.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    /// The heads of the columns.
    pub columns: Vec<Spanned<String>>,
    /// Row after row, the names of tags of the device.
    pub rows: Vec<Spanned<Vec<Spanned<String>>>>,
}

/// Functions used to write registers and coils.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteFunctions {
    /// 6 for one register, 5 for one coil.
    #[default]
    Single,
    /// 16 and 15 always.
    Multiple,
    /// 23 for registers, which are read again by it and compared; 5 for a coil.
    ReadBack,
}

/// How a bit or a byte of a register is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BitWrite {
    /// Function 22.
    #[default]
    Mask,
    /// The register is read, changed and written.
    ReadModifyWrite,
}

/// `[profile.NAME]`, or a file of `profiles`: tags for every device of a kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// For people.
    pub description: Option<String>,
    /// Who makes the device.
    pub manufacturer: Option<String>,
    /// What they call it.
    pub model: Option<String>,
    /// The document that the addresses were taken from.
    pub source: Option<String>,
    /// Order of 32- and 64-bit values, where the device says none.
    pub order: Option<Order>,
    /// Most registers in one read, where the device says none.
    pub max_registers: Option<Spanned<u16>>,
    /// Most coils or discrete inputs in one read, where the device says none.
    pub max_bits: Option<Spanned<u16>>,
    /// One register or bit a read, where the device says nothing.
    pub single_register: Option<bool>,
    /// Unused registers read to merge two neighbours, where the device says none.
    pub max_gap: Option<Spanned<u16>>,
    /// Registers and bits that such a device has not, besides those that the device names itself.
    pub holes: Option<Vec<Spanned<String>>>,
    /// Whether such a device is asked who it is, where the device says nothing.
    pub identify: Option<bool>,
    /// Functions used to write registers and coils, where the device says none.
    pub write: Option<WriteFunctions>,
    /// How a bit or a byte of a register is written, where the device does not say.
    pub bit_write: Option<BitWrite>,
    /// Registers in, tags out; run by `fieldgate test`, whether or not a device uses the profile.
    #[serde(default)]
    pub test: Vec<Spanned<ProfileTest>>,
    /// Tags; a device's own tag of the same name takes precedence.
    #[serde(default)]
    pub tag: BTreeMap<Spanned<String>, Spanned<Tag>>,
}

/// One tag.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tag {
    /// Address, `holding:40`.
    pub at: Spanned<String>,
    /// Type on the wire.
    #[serde(rename = "type")]
    pub kind: Spanned<DataType>,
    /// Scan class where it differs from the device's.
    pub scan: Option<Spanned<String>>,
    /// Order where it differs from the device's; also for 16-bit values and text.
    pub order: Option<Order>,
    /// Bytes of a string, 1 to 250.
    pub length: Option<Spanned<u16>>,
    /// Engineering value = raw × scale + offset.
    pub scale: Option<Spanned<f64>>,
    /// See `scale`.
    pub offset: Option<Spanned<f64>>,
    /// Engineering unit.
    pub unit: Option<String>,
    /// Below it the value is uncertain and a write refused.
    pub low: Option<Spanned<f64>>,
    /// Above it the value is uncertain and a write refused.
    pub high: Option<Spanned<f64>>,
    /// A change up to this is not reported: engineering units, or `"2%"` of `low` … `high`.
    pub deadband: Option<Spanned<Deadband>>,
    /// When the value is reported.
    #[serde(default)]
    pub report: Report,
    /// How urgent it is, where it differs from the device.
    pub class: Option<Class>,
    /// An unchanged value is reported again after this time.
    pub max_silence: Option<Spanned<Period>>,
    /// Whether the north may write it.
    #[serde(default)]
    pub access: Access,
    /// What its values are called: of a bool `off` and `on`, else of whole numbers.
    pub labels: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    /// What of its values is an alarm.
    pub alarm: Option<Spanned<Alarm>>,
    /// For people.
    pub description: Option<String>,
}

/// When a value is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// When it changed by more than the deadband.
    #[default]
    Change,
    /// At every poll.
    Always,
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Store {
    /// Folder of the spool and of all state; without it nothing outlives the process.
    pub path: Option<Spanned<PathBuf>>,
    /// When samples are written to disk.
    #[serde(default)]
    pub durability: Durability,
    /// With `spill`: how far a publisher may lag before the head goes to disk; 10 s.
    pub spill_after: Option<Spanned<Period>>,
    /// With `always`: samples accepted within this time share one flush; 250 ms.
    pub commit: Option<Spanned<Period>>,
    /// Most memory for what is not delivered; 16 MiB.
    pub memory: Option<Spanned<Size>>,
    /// Most disk; 1 GiB.
    pub max_bytes: Option<Spanned<Size>>,
    /// A file that is given up first when the disk is full; 8 MiB, `"0"` for none.
    pub ballast: Option<Spanned<Size>>,
    /// Oldest sample kept; 7 d.
    pub max_age: Option<Spanned<Period>>,
    /// How history and live share the way north.
    #[serde(default)]
    pub replay: Replay,
    /// Most history samples a second while live ones flow; 15000.
    pub history_rate: Option<Spanned<u32>>,
    /// What goes when a bound is reached.
    pub when_full: Option<Spanned<WhenFull>>,
    /// With `downsample`: the window of which a few samples of each tag stay; 1 min.
    pub downsample: Option<Spanned<Period>>,
    /// `[store.history]`
    pub history: Option<Spanned<History>>,
}

/// `[store.history]`: what is delivered is kept, too, for SCADA to read back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct History {
    /// Samples up to this age.
    pub keep: Spanned<Period>,
    /// Most disk, besides what is not delivered; 512 MiB.
    pub max_bytes: Option<Spanned<Size>>,
}

/// `[publish.…]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Publishers {
    /// `[[publish.sparkplug]]`
    #[serde(default)]
    pub sparkplug: Vec<Spanned<sparkplug::Config>>,
    /// `[[publish.mqtt]]`
    #[serde(default)]
    pub mqtt: Vec<Spanned<mqtt::Config>>,
    /// `[publish.opcua]`
    pub opcua: Option<Spanned<opcua::Config>>,
    /// `[publish.http]`
    pub http: Option<Spanned<http::Config>>,
}

/// `[system]`: the gateway's own health as a device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct System {
    /// Off: no device `system`.
    pub enabled: bool,
    /// How often its counters are read; 5 s.
    pub interval: Option<Spanned<Period>>,
}

impl Default for System {
    fn default() -> System {
        System { enabled: true, interval: None }
    }
}

/// `[[test]]`: registers in, tags out; run by `fieldgate test`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Test {
    /// What it shows.
    pub name: Spanned<String>,
    /// The device.
    pub device: Spanned<String>,
    /// Address of the first register or bit → what the wire gives.
    pub given: BTreeMap<Spanned<String>, Spanned<Vec<Scalar>>>,
    /// Tag → the value; `"bad"` where it has none, `"uncertain"` where it is out of limits.
    pub expect: BTreeMap<Spanned<String>, Spanned<Scalar>>,
}

/// `[[test]]` of a profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProfileTest {
    /// What it shows.
    pub name: Spanned<String>,
    /// Address of the first register or bit → what the wire gives.
    pub given: BTreeMap<Spanned<String>, Spanned<Vec<Scalar>>>,
    /// Tag → the value; `"bad"` where it has none, `"uncertain"` where it is out of limits.
    pub expect: BTreeMap<Spanned<String>, Spanned<Scalar>>,
}
