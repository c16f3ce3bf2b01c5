//! The tables of the file, as written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "File", title = "the file")]
pub struct Config {
    /// Files with one profile each, relative to this file; `*` stands for any part of a file's name. The name
    /// of the profile is that of the file without `.toml`, its keys are those of `[profile.NAME]`. See
    /// docs/profiles.md.
    #[serde(default)]
    #[schemars(extend("examples" = [["profiles/*.toml"]]))]
    pub profiles: Vec<Spanned<String>>,
    /// Who this gateway is.
    #[schemars(extend("examples" = [{"group": "water", "name": "pump-station-07"}]))]
    pub node: Spanned<Node>,
    /// Scan classes: a name and its period each.
    #[serde(default)]
    #[schemars(extend("x-default" = "`{ default = \"1s\" }`", "examples" = [{"fast": "100ms", "default": "1s", "hourly": "1h"}], "x-range" = "each `\"1ms\"` to `\"1d\"`"))]
    pub scan: BTreeMap<Spanned<String>, Spanned<Period>>,
    /// The ways to the devices.
    #[serde(default)]
    #[schemars(extend("examples" = [{"modbus-tcp": [{"name": "plc", "host": "192.0.2.10"}]}]))]
    pub link: Links,
    /// The devices.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "pump-1", "link": "plc"}]]))]
    pub device: Vec<Spanned<Device>>,
    /// Profiles by name: tags for every device of a kind.
    #[serde(default)]
    #[schemars(extend("examples" = [{"drive": {"tag": {"speed": {"at": "input:0", "type": "f32"}}}}]))]
    pub profile: BTreeMap<Spanned<String>, Profile>,
    /// How what is not delivered is kept.
    #[serde(default)]
    #[schemars(extend("examples" = [{"path": "/var/lib/fieldgate"}]))]
    pub store: Store,
    /// The ways north.
    #[serde(default)]
    #[schemars(extend("examples" = [{"http": {}}]))]
    pub publish: Publishers,
    /// The gateway's own health.
    #[serde(default)]
    #[schemars(extend("examples" = [{"enabled": true}]))]
    pub system: System,
    /// Registers in, tags out.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "it runs", "device": "pump-1", "given": {"coil:7": [true]}, "expect": {"running": true}}]]))]
    pub test: Vec<Spanned<Test>>,
}

/// Who this gateway is. Both names are those of Sparkplug topics.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Node", title = "[node]")]
pub struct Node {
    /// Sparkplug group: the plant or site.
    #[schemars(length(min = 1, max = 128), extend("examples" = ["water"]))]
    pub group: Spanned<String>,
    /// Sparkplug edge node: this gateway.
    #[schemars(length(min = 1, max = 128), extend("examples" = ["pump-station-07"]))]
    pub name: Spanned<String>,
    /// For people.
    #[schemars(extend("examples" = ["Pumps of the north shore"]))]
    pub description: Option<String>,
    /// Who says whether this computer's clock is right; see docs/store.md, "Time".
    #[serde(default)]
    #[schemars(extend("examples" = ["trusted"]))]
    pub clock: ClockSource,
}

/// Who says whether the clock is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ClockSource {
    /// The operating system, by NTP or PTP.
    #[default]
    System,
    /// You: the computer has a battery, and no time server.
    Trusted,
}

/// One array of tables a driver.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Links", title = "[[link.…]]")]
pub struct Links {
    /// Modbus TCP: one socket each.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "plc", "host": "192.0.2.10"}]]))]
    pub modbus_tcp: Vec<Spanned<TcpLink>>,
    /// Modbus RTU: one serial bus each.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "bus-a", "port": "/dev/ttyS0"}]]))]
    pub modbus_rtu: Vec<Spanned<SerialLink>>,
    /// Modbus ASCII: one serial bus each, with the keys of `[[link.modbus-rtu]]` but `strict-timing`.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "old-bus", "port": "/dev/ttyS1"}]]))]
    pub modbus_ascii: Vec<Spanned<SerialLink>>,
}

/// A device on a link.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Device", title = "[[device]]")]
pub struct Device {
    /// Unique in the gateway; not `system`.
    #[schemars(length(min = 1, max = 128), extend("examples" = ["pump-1"]))]
    pub name: Spanned<String>,
    /// The link that it hangs on.
    #[schemars(extend("examples" = ["plc"]))]
    pub link: Spanned<String>,
    /// Modbus unit; 0 over TCP is the device at that address itself.
    #[schemars(range(min = 0, max = 255), extend("default" = 1, "x-default" = "`1`, of a broadcast `0`", "x-range" = "serial line: 1 to 247; TCP: 0 to 255", "examples" = [17]))]
    pub unit: Option<Spanned<u16>>,
    /// `true`: unit 0 of a serial line, which all devices obey and none answers; its tags have `access =
    /// "write-only"`.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub broadcast: Option<Spanned<bool>>,
    /// Scan class of its tags.
    #[schemars(extend("x-default" = "`default`, else the first class", "examples" = ["fast"]))]
    pub scan: Option<Spanned<String>>,
    /// Order of the bytes of 32- and 64-bit values.
    #[schemars(extend("default" = "abcd", "examples" = ["cdab"]))]
    pub order: Option<Order>,
    /// Adds the tags of `[profile.NAME]` or of a profile file of that name.
    #[schemars(extend("examples" = ["drive"]))]
    pub profile: Option<Spanned<String>>,
    /// Most registers in one read.
    #[schemars(range(min = 1, max = 125), extend("default" = 125, "x-unit" = "registers", "examples" = [64]))]
    pub max_registers: Option<Spanned<u16>>,
    /// Most coils or discrete inputs in one read.
    #[schemars(range(min = 1, max = 2000), extend("default" = 2000, "x-unit" = "bits", "examples" = [256]))]
    pub max_bits: Option<Spanned<u16>>,
    /// `true`: one register or bit a read, whatever the other limits say; a value of several registers is
    /// then a mistake.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub single_register: Option<bool>,
    /// Most unused registers read to merge two neighbours, where that is cheaper than two requests.
    #[schemars(range(min = 0, max = 120), extend("default" = 120, "x-unit" = "registers", "examples" = [8]))]
    pub max_gap: Option<Spanned<u16>>,
    /// Registers and bits that the device has not, first to last; never read over, see docs/modbus.md.
    #[schemars(extend("examples" = [["holding:100..102", "input:7", "40101..40103"]]))]
    pub holes: Option<Vec<Spanned<String>>>,
    /// Whether it is asked who it is (functions 43/14 and 17), see docs/modbus.md; `false` for a device that
    /// stumbles over functions that it does not know.
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub identify: Option<bool>,
    /// Functions used to write registers and coils.
    #[schemars(extend("default" = "single", "examples" = ["read-back"]))]
    pub write: Option<WriteFunctions>,
    /// How a bit or a byte of a register is written.
    #[schemars(extend("default" = "mask", "examples" = ["read-modify-write"]))]
    pub bit_write: Option<BitWrite>,
    /// For an answer of this device; of a broadcast the time that the devices have to obey it.
    #[schemars(extend("x-default" = "that of the link, of a broadcast `\"100ms\"`", "x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["2s"]))]
    pub timeout: Option<Spanned<Period>>,
    /// An unchanged value is reported again after this time.
    #[schemars(extend("x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["1h"]))]
    pub max_silence: Option<Spanned<Period>>,
    /// How urgent its tags are on the way north; see docs/store.md#classes.
    #[schemars(extend("default" = "normal", "examples" = ["critical"]))]
    pub class: Option<Class>,
    /// For people.
    #[schemars(extend("examples" = ["Pump in the cellar"]))]
    pub description: Option<String>,
    /// Adds the tags of a CSV file, relative to this file; see docs/profiles.md.
    #[schemars(extend("examples" = ["pump-1.csv"]))]
    pub tags: Option<Spanned<String>>,
    /// What `tags` gave.
    #[serde(skip)]
    pub listed: BTreeMap<Spanned<String>, Spanned<Tag>>,
    /// Its tags by name; `/` in a name makes folders.
    #[serde(default)]
    #[schemars(extend("examples" = [{"flow": {"at": "holding:40", "type": "f32", "unit": "m3/h"}}]))]
    pub tag: BTreeMap<Spanned<String>, Spanned<Tag>>,
    /// Tables of its tags by name.
    #[serde(default)]
    #[schemars(extend("examples" = [{"recipe": {"columns": ["step", "temp"], "rows": [["s1", "t1"], ["s2", "t2"]]}}]))]
    pub table: BTreeMap<Spanned<String>, Spanned<Table>>,
}

/// A table of tags. Sparkplug publishes it as a DataSet, besides the tags themselves; see
/// docs/sparkplug.md#tables.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Table", title = "[device.table]")]
pub struct Table {
    /// The heads of the columns, each once.
    #[schemars(extend("examples" = [["step", "temp"]]))]
    pub columns: Vec<Spanned<String>>,
    /// Row after row the names of tags of the device, one a column; all tags of a column have one type and
    /// are read.
    #[schemars(extend("examples" = [[["s1", "t1"], ["s2", "t2"]]]))]
    pub rows: Vec<Spanned<Vec<Spanned<String>>>>,
}

/// Functions used to write registers and coils.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum WriteFunctions {
    /// Functions 6 and 5 for one register or coil.
    #[default]
    Single,
    /// Functions 16 and 15 always.
    Multiple,
    /// Function 23 for registers, which reads them again: a write that the device changes or ignores fails; 5
    /// for a coil.
    ReadBack,
}

/// How a bit or a byte of a register is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum BitWrite {
    /// Function 22.
    #[default]
    Mask,
    /// The register is read and written, which undoes what the device or another master changes in between.
    ReadModifyWrite,
}

/// Tags for all devices of a kind; also the keys of a file of `profiles`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Profile", title = "[profile.NAME]")]
pub struct Profile {
    /// For people.
    #[schemars(extend("examples" = ["Drives of the mixers"]))]
    pub description: Option<String>,
    /// Who makes the device.
    #[schemars(extend("examples" = ["Example Drives"]))]
    pub manufacturer: Option<String>,
    /// What they call it.
    #[schemars(extend("examples" = ["D-100"]))]
    pub model: Option<String>,
    /// The document that the addresses were taken from.
    #[schemars(extend("examples" = ["D-100 communication manual, edition 3, chapter 7"]))]
    pub source: Option<String>,
    /// Order of the bytes of 32- and 64-bit values, where the device says none.
    #[schemars(extend("examples" = ["cdab"]))]
    pub order: Option<Order>,
    /// Most registers in one read, where the device says none.
    #[schemars(range(min = 1, max = 125), extend("x-unit" = "registers", "examples" = [64]))]
    pub max_registers: Option<Spanned<u16>>,
    /// Most coils or discrete inputs in one read, where the device says none.
    #[schemars(range(min = 1, max = 2000), extend("x-unit" = "bits", "examples" = [256]))]
    pub max_bits: Option<Spanned<u16>>,
    /// One register or bit a read, where the device says nothing.
    #[schemars(extend("examples" = [true]))]
    pub single_register: Option<bool>,
    /// Most unused registers read to merge two neighbours, where the device says none.
    #[schemars(range(min = 0, max = 120), extend("x-unit" = "registers", "examples" = [8]))]
    pub max_gap: Option<Spanned<u16>>,
    /// Registers and bits that such a device has not, besides those that the device names itself.
    #[schemars(extend("examples" = [["holding:100..102"]]))]
    pub holes: Option<Vec<Spanned<String>>>,
    /// Whether such a device is asked who it is, where the device says nothing.
    #[schemars(extend("examples" = [false]))]
    pub identify: Option<bool>,
    /// Functions used to write registers and coils, where the device says none.
    #[schemars(extend("examples" = ["multiple"]))]
    pub write: Option<WriteFunctions>,
    /// How a bit or a byte of a register is written, where the device does not say.
    #[schemars(extend("examples" = ["read-modify-write"]))]
    pub bit_write: Option<BitWrite>,
    /// Registers in, tags out; run by `fieldgate test`, whether or not a device uses the profile.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "full speed", "given": {"input:0": [0, 17096]}, "expect": {"speed": 100.0}}]]))]
    pub test: Vec<Spanned<ProfileTest>>,
    /// Tags by name; a device's own tag of the same name takes precedence.
    #[serde(default)]
    #[schemars(extend("examples" = [{"speed": {"at": "input:0", "type": "f32", "unit": "rpm"}}]))]
    pub tag: BTreeMap<Spanned<String>, Spanned<Tag>>,
}

/// A tag.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Tag", title = "[device.tag]")]
pub struct Tag {
    /// Address: `holding:40`, `40041`, `coil:7`, `holding:40.3`; see docs/modbus.md.
    #[schemars(extend("examples" = ["holding:40"]))]
    pub at: Spanned<String>,
    /// Type on the wire; with a length, `"f32[8]"`, an array of 1 to 2000 of these that one request reads,
    /// see docs/modbus.md#arrays.
    #[serde(rename = "type")]
    #[schemars(extend("examples" = ["f32"]))]
    pub kind: Spanned<DataType>,
    /// Scan class.
    #[schemars(extend("x-default" = "that of the device", "examples" = ["slow"]))]
    pub scan: Option<Spanned<String>>,
    /// Order of the bytes; of 16-bit values and strings only where the tag itself says so.
    #[schemars(extend("x-default" = "that of the device", "examples" = ["dcba"]))]
    pub order: Option<Order>,
    /// Bytes of a string, in an array of each; at most 246 where it can be written, 242 with `write =
    /// "read-back"`.
    #[schemars(range(min = 1, max = 250), extend("x-default" = "a string must have one", "x-unit" = "bytes", "examples" = [16]))]
    pub length: Option<Spanned<u16>>,
    /// Engineering value = raw × scale + offset; the value is then a double.
    #[schemars(extend("examples" = [0.1], "x-range" = "not 0"))]
    pub scale: Option<Spanned<f64>>,
    /// See `scale`.
    #[schemars(extend("examples" = [-40.0]))]
    pub offset: Option<Spanned<f64>>,
    /// Engineering unit.
    #[schemars(extend("examples" = ["m3/h"]))]
    pub unit: Option<String>,
    /// Below it the value is uncertain, and a write refused.
    #[schemars(extend("examples" = [0.0]))]
    pub low: Option<Spanned<f64>>,
    /// Above it the value is uncertain, and a write refused.
    #[schemars(extend("examples" = [500.0], "x-range" = "more than `low`"))]
    pub high: Option<Spanned<f64>>,
    /// A change up to this is not reported: in engineering units, or in percent of `low` … `high`.
    #[schemars(extend("default" = 0.0, "examples" = ["0.5%"]))]
    pub deadband: Option<Spanned<Deadband>>,
    /// When its value is reported.
    #[serde(default)]
    #[schemars(extend("examples" = ["always"]))]
    pub report: Report,
    /// How urgent it is on the way north; see docs/store.md#classes.
    #[schemars(extend("x-default" = "that of the device", "examples" = ["diagnostic"]))]
    pub class: Option<Class>,
    /// An unchanged value is reported again after this time.
    #[schemars(extend("x-default" = "that of the device", "x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["10m"]))]
    pub max_silence: Option<Spanned<Period>>,
    /// Whether the north may write it.
    #[serde(default)]
    #[schemars(extend("examples" = ["read-write"]))]
    pub access: Access,
    /// What its values are called: `off` and `on` of a `bool`, else whole numbers.
    #[schemars(extend("examples" = [{"0": "Idle", "1": "Running"}]))]
    pub labels: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    /// What of its values is an alarm.
    #[schemars(extend("examples" = [{"hi": 80.0, "hysteresis": 2.0}]))]
    pub alarm: Option<Spanned<Alarm>>,
    /// For people.
    #[schemars(extend("examples" = ["Flow behind the filter"]))]
    pub description: Option<String>,
}

/// When a value is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Report {
    /// When it changed by more than the deadband.
    #[default]
    Change,
    /// At every poll.
    Always,
}

/// How what is not delivered is kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Store", title = "[store]")]
pub struct Store {
    /// Folder of the spool and of all state; without it nothing outlives the process.
    #[schemars(extend("examples" = ["/var/lib/fieldgate"]))]
    pub path: Option<Spanned<PathBuf>>,
    /// When samples are written to disk.
    #[serde(default)]
    #[schemars(extend("examples" = ["always"]))]
    pub durability: Durability,
    /// With `spill`: how far a publisher may lag before samples go to disk.
    #[schemars(extend("default" = "10s", "x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["1m"]))]
    pub spill_after: Option<Spanned<Period>>,
    /// With `always`: samples accepted within this time share one flush.
    #[schemars(extend("default" = "250ms", "x-range" = "`\"1ms\"` to `\"60s\"`", "examples" = ["1s"]))]
    pub commit: Option<Spanned<Period>>,
    /// Most memory for what is not delivered.
    #[schemars(extend("default" = "16MiB", "x-range" = "from `\"1MiB\"`", "examples" = ["64MiB"]))]
    pub memory: Option<Spanned<Size>>,
    /// Most disk for what is not delivered.
    #[schemars(extend("default" = "1GiB", "x-range" = "from `\"16MiB\"`", "examples" = ["256MiB"]))]
    pub max_bytes: Option<Spanned<Size>>,
    /// A file that is given up first when the disk is full, and made again when twice its size is free.
    #[schemars(extend("default" = "8MiB", "x-range" = "`\"0\"` for none, or from `\"1MiB\"`", "examples" = ["0"]))]
    pub ballast: Option<Spanned<Size>>,
    /// Oldest sample kept.
    #[schemars(extend("default" = "7d", "x-range" = "`\"1ms\"` to `\"3660d\"`", "examples" = ["30d"]))]
    pub max_age: Option<Spanned<Period>>,
    /// How history and live share the way north.
    #[serde(default)]
    #[schemars(extend("examples" = ["in-order"]))]
    pub replay: Replay,
    /// Most history while live samples flow.
    #[schemars(range(min = 1, max = 10000000), extend("default" = 15000, "x-unit" = "samples a second", "examples" = [500]))]
    pub history_rate: Option<Spanned<u32>>,
    /// What goes when a bound is reached.
    #[schemars(extend("default" = "drop-oldest", "examples" = ["drop-newest"]))]
    pub when_full: Option<Spanned<WhenFull>>,
    /// With `when-full = "downsample"`: the window of which a few samples of each tag stay.
    #[schemars(extend("default" = "1m", "x-range" = "`\"1s\"` to `\"1d\"`", "examples" = ["5m"]))]
    pub downsample: Option<Spanned<Period>>,
    /// What is delivered is kept, too.
    #[schemars(extend("examples" = [{"keep": "7d"}]))]
    pub history: Option<Spanned<History>>,
}

/// What is delivered is kept, too, for SCADA to read back; see docs/store.md#history. Without this table
/// nothing is kept that is delivered. It needs `path` in `[store]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "History", title = "[store.history]")]
pub struct History {
    /// Samples are kept so long, and up to one segment longer.
    #[schemars(extend("x-range" = "`\"60s\"` to `\"3660d\"`", "examples" = ["7d"]))]
    pub keep: Spanned<Period>,
    /// Most disk for it, besides `max-bytes` of `[store]`.
    #[schemars(extend("default" = "512MiB", "x-range" = "from `\"16MiB\"`", "examples" = ["2GiB"]))]
    pub max_bytes: Option<Spanned<Size>>,
}

/// The ways north.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Publishers", title = "[publish.…]")]
pub struct Publishers {
    /// MQTT Sparkplug B.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "cloud", "broker": "mqtts://broker.example.org:8883"}]]))]
    pub sparkplug: Vec<Spanned<sparkplug::Config>>,
    /// Plain MQTT.
    #[serde(default)]
    #[schemars(extend("examples" = [[{"name": "cloud", "broker": "mqtts://broker.example.org:8883"}]]))]
    pub mqtt: Vec<Spanned<mqtt::Config>>,
    /// The OPC UA server.
    #[schemars(extend("examples" = [{"listen": "192.0.2.1:4840"}]))]
    pub opcua: Option<Spanned<opcua::Config>>,
    /// The page, its API and the metrics.
    #[schemars(extend("examples" = [{"listen": "127.0.0.1:8080"}]))]
    pub http: Option<Spanned<http::Config>>,
}

/// The gateway's own health, as a device `system`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(rename = "System", title = "[system]")]
pub struct System {
    /// `false`: there is no device `system`.
    #[schemars(extend("examples" = [false]))]
    pub enabled: bool,
    /// How often its counters are read.
    #[schemars(extend("default" = "5s", "x-range" = "`\"1ms\"` to `\"1d\"`", "examples" = ["1m"]))]
    pub interval: Option<Spanned<Period>>,
}

impl Default for System {
    fn default() -> System {
        System { enabled: true, interval: None }
    }
}

/// Registers in, tags out, run by `fieldgate test`: shows without any device that addresses, orders and
/// scales are right.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Test", title = "[[test]]")]
pub struct Test {
    /// What it shows.
    #[schemars(extend("examples" = ["the flow is read with its words swapped"]))]
    pub name: Spanned<String>,
    /// A device of this file.
    #[schemars(extend("examples" = ["pump-1"]))]
    pub device: Spanned<String>,
    /// Address of the first register or bit → array of registers (0 to 65535) or of `true` and `false`.
    #[schemars(extend("examples" = [{"holding:40": [0, 16968]}]))]
    pub given: BTreeMap<Spanned<String>, Spanned<Vec<Scalar>>>,
    /// Tag → its value, of an array a list; `"bad"` where there is none, `"uncertain"` where it is out of
    /// limits.
    #[schemars(extend("examples" = [{"flow": 50.0}]))]
    pub expect: BTreeMap<Spanned<String>, Spanned<Scalar>>,
}

/// Registers in, tags out, run by `fieldgate test` whether or not a device uses the profile; in a profile
/// file `[[test]]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "ProfileTest", title = "[[profile.NAME.test]]")]
pub struct ProfileTest {
    /// What it shows.
    #[schemars(extend("examples" = ["full speed"]))]
    pub name: Spanned<String>,
    /// As in `[[test]]`.
    #[schemars(extend("examples" = [{"input:0": [0, 17096]}]))]
    pub given: BTreeMap<Spanned<String>, Spanned<Vec<Scalar>>>,
    /// As in `[[test]]`.
    #[schemars(extend("examples" = [{"speed": 100.0}]))]
    pub expect: BTreeMap<Spanned<String>, Spanned<Scalar>>,
}
