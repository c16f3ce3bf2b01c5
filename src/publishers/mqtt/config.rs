//! The `[[publish.mqtt]]` table.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pattern::{Field, Pattern};
use crate::model::{Directory, Mistake, Period, Secret, Size, Spanned};
use crate::publishers::mqtt_wire::config as mqtt_wire;
use crate::store::options::OutboxTable;

/// Plain MQTT for clouds that do not speak Sparkplug; see docs/mqtt.md.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Mqtt", title = "[[publish.mqtt]]")]
pub struct Config {
    /// Unique among publishers; its delivery state is kept under it.
    #[schemars(length(min = 1, max = 128), extend("examples" = ["cloud"]))]
    pub name: Spanned<String>,
    /// As in `[[publish.sparkplug]]`.
    #[schemars(extend("examples" = [["mqtts://a.example.org:8883", "mqtts://b.example.org:8883"]]))]
    pub broker: mqtt_wire::Brokers,
    /// MQTT client id.
    #[schemars(extend("x-default" = "`GROUP-NODE-NAME`", "x-range" = "1 to 256 bytes", "examples" = ["water-07"]))]
    pub client_id: Option<Spanned<String>>,
    /// User name at the broker.
    #[schemars(extend("examples" = ["station-07"]))]
    pub username: Option<String>,
    /// Password at the broker.
    #[schemars(extend("examples" = [{"env": "BROKER_PASSWORD"}]))]
    pub password: Option<Secret>,
    /// File with the certificates of the authority to trust, PEM.
    #[schemars(extend("x-default" = "the system's", "examples" = ["/etc/fieldgate/ca.pem"]))]
    pub ca: Option<PathBuf>,
    /// File with the gateway's own certificate, PEM; together with `key`.
    #[schemars(extend("examples" = ["/etc/fieldgate/gateway.pem"]))]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM; read at each connect.
    #[schemars(extend("examples" = [{"credential": "gateway-key"}]))]
    pub key: Option<Secret>,
    /// Protocols offered in the TLS handshake.
    #[serde(default)]
    #[schemars(extend("x-range" = "each 1 to 255 bytes", "examples" = [["x-amzn-mqtt-ca"]]))]
    pub alpn: Vec<Spanned<String>>,
    /// Version of MQTT.
    #[schemars(extend("default" = "3.1.1", "enum" = ["3.1.1","5"], "examples" = ["5"]))]
    pub mqtt: Option<Spanned<String>>,
    /// MQTT keep-alive.
    #[schemars(extend("default" = "30s", "x-range" = "`\"5s\"` to `\"18h\"`", "examples" = ["60s"]))]
    pub keep_alive: Option<Spanned<Period>>,
    /// Largest MQTT packet.
    #[schemars(extend("default" = "1MiB", "x-range" = "`\"1KiB\"` to `\"256MiB\"`", "examples" = ["256KiB"]))]
    pub max_packet: Option<Spanned<Size>>,
    /// What a message has.
    #[schemars(extend("default" = "batch", "examples" = ["tag"]))]
    pub per: Option<Spanned<Per>>,
    /// Where data go; placeholders `{group}`, `{node}`, `{device}`, `{tag}`.
    #[schemars(extend("x-default" = "`\"{group}/{node}\"`, with `/{device}` and `/{tag}` after `per`", "examples" = ["plant/{node}/{device}/{tag}"]))]
    pub topic: Option<Spanned<String>>,
    /// `"json"`, or with `per = "tag"` a template; see docs/mqtt.md#payloads.
    #[schemars(extend("default" = "json", "examples" = ["{value}"]))]
    pub payload: Option<Spanned<String>>,
    /// MQTT quality of service.
    #[schemars(range(min = 0, max = 1), extend("default" = 1, "examples" = [0]))]
    pub qos: Option<Spanned<u8>>,
    /// The broker keeps the last value; with `per = "tag"`.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub retain: Option<Spanned<bool>>,
    /// Where `online` and `offline` are retained; placeholders `{group}`, `{node}`.
    #[schemars(extend("examples" = ["plant/{node}/status"]))]
    pub status_topic: Option<Spanned<String>>,
    /// Where writes come in; their answers go to the same with `/result` behind it; placeholders `{group}`,
    /// `{node}`.
    #[schemars(extend("examples" = ["plant/{node}/set"]))]
    pub commands: Option<Spanned<String>>,
    /// Payload that samples are gathered up to; not with `per = "tag"`.
    #[schemars(extend("x-default" = "`\"64KiB\"`, at most `max-packet`", "x-range" = "`\"1KiB\"` to `max-packet`", "examples" = ["128KiB"]))]
    pub max_bytes: Option<Spanned<Size>>,
    /// Longest wait to put more samples into a batch; with `per = "batch"` only.
    #[schemars(extend("default" = "1s", "x-range" = "`\"0s\"` to `\"60s\"`", "examples" = ["10s"]))]
    pub max_delay: Option<Spanned<Period>>,
    /// Longest wait for a PUBACK or any other answer before the connection is made anew; never more than
    /// `keep-alive`.
    #[schemars(extend("default" = "30s", "x-range" = "`\"1s\"` to `\"10m\"`", "examples" = ["10s"]))]
    pub ack_timeout: Option<Spanned<Period>>,
    /// Random wait up to this before the first connection, so that a fleet does not come at once.
    #[schemars(extend("default" = "0s", "x-range" = "`\"0s\"` to `\"1h\"`", "examples" = ["1m"]))]
    pub start_delay: Option<Spanned<Period>>,
    /// How what waits for this publisher is kept.
    #[serde(default)]
    #[schemars(extend("x-default" = "as `[store]`", "examples" = [{"budget": "10MiB"}]))]
    pub outbox: OutboxTable,
}

/// What goes into one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Per {
    /// One sample of one tag.
    Tag,
    /// What came together of one device.
    Device,
    /// All that comes within `max-delay`, up to `max-bytes`.
    #[default]
    Batch,
}

impl Per {
    /// The topic when the file does not say.
    fn topic(self) -> &'static str {
        match self {
            Per::Tag => "{group}/{node}/{device}/{tag}",
            Per::Device => "{group}/{node}/{device}",
            Per::Batch => "{group}/{node}",
        }
    }
}

/// How a payload is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// As the guide says.
    Json,
    /// As the plant says.
    Pattern(Pattern),
}

/// How samples become messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// What goes into one message.
    pub per: Per,
    /// Where it goes.
    pub topic: Pattern,
    /// What it says.
    pub payload: Payload,
    /// The broker keeps the last value.
    pub retain: bool,
    /// Payload size that samples are gathered up to.
    pub max_bytes: usize,
}

/// Compiled: plain data, comparable.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Brokers and log-in.
    pub mqtt: mqtt_wire::Spec,
    /// How samples become messages.
    pub shape: Shape,
    /// Every message is acknowledged; false: only some, which prove the others.
    pub acknowledged: bool,
    /// Where `online` and `offline` are retained.
    pub status_topic: Option<Pattern>,
    /// Where writes come in.
    pub commands: Option<Pattern>,
    /// Batching delay.
    pub max_delay: Duration,
    /// Longest wait for a PUBACK.
    pub ack_timeout: Duration,
    /// Longest wait before the first connection.
    pub start_delay: Duration,
}

/// Batching delay when the file does not say.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Size of a batch when the file does not say; AWS IoT Core takes 128 KiB, Azure IoT Hub 256 KiB.
const MAX_BYTES: usize = 64 << 10;
/// Wait for a PUBACK when the file does not say.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest topic of MQTT (3.1.1, section 1.5.3).
const LONGEST_TOPIC: usize = 65_535;

/// Checks the table; all mistakes at once.
pub fn compile(config: &Config) -> Result<Spec, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let keys = mqtt_wire::Keys {
        brokers: &config.broker,
        client_id: config.client_id.as_ref(),
        username: config.username.as_ref(),
        password: config.password.as_ref(),
        mqtt: config.mqtt.as_ref(),
        ca: config.ca.as_ref(),
        certificate: config.certificate.as_ref(),
        key: config.key.as_ref(),
        alpn: &config.alpn,
        keep_alive: config.keep_alive.as_ref(),
        max_packet: config.max_packet.as_ref(),
    };
    let mqtt = mqtt_wire::compile(keys, &mut mistakes);
    let most = mqtt.max_packet;
    let per = config.per.as_ref().map_or(Per::default(), |per| *per.get_ref());
    let payload = payload(config, per, &mut mistakes);
    let retain = config.retain.as_ref().is_some_and(|retain| *retain.get_ref());
    if let Some(place) = config.retain.as_ref().filter(|_| retain && per != Per::Tag) {
        mistakes.push(Mistake::new(
            "retain-per-tag",
            place.span(),
            "`retain` keeps the last message of a topic, and only `per = \"tag\"` has a topic for each value",
            "write `per = \"tag\"`, or leave `retain` out",
        ));
    }
    let topic = topic(config, per, &payload, retain, &mut mistakes);
    let mut other = |key: &str, text: &Option<Spanned<String>>| {
        let text = text.as_ref()?;
        let pattern = pattern(key, text, &mut mistakes)?;
        if pattern.has(Field::Device) || pattern.has(Field::Tag) {
            mistakes.push(Mistake::new(
                "bad-topic",
                text.span(),
                format!("`{key}` is one topic for the whole gateway"),
                "write no placeholders but {group} and {node}",
            ));
        }
        Some(pattern)
    };
    let status_topic = other("status-topic", &config.status_topic);
    let commands = other("commands", &config.commands);
    let acknowledged = match &config.qos {
        None => true,
        Some(qos) => {
            if *qos.get_ref() > 1 {
                mistakes.push(Mistake::new(
                    "out-of-range",
                    qos.span(),
                    format!("`qos` is {}", qos.get_ref()),
                    "write 1, or 0; QoS 2 is not needed, since each value carries its time",
                ));
            }
            *qos.get_ref() != 0
        }
    };
    let seconds = Duration::from_secs;
    let mut period = |key: &str, value: &Option<Spanned<Period>>, default, least, most| {
        mqtt_wire::period(key, value.as_ref(), default, least..=most, &mut mistakes)
    };
    let max_delay = period("max-delay", &config.max_delay, MAX_DELAY, Duration::ZERO, seconds(60));
    let ack_timeout = period("ack-timeout", &config.ack_timeout, ACK_TIMEOUT, seconds(1), seconds(600));
    // An answer stands in line with that to a ping, which is due by then.
    let ack_timeout = ack_timeout.min(mqtt.keep_alive);
    let start_delay =
        period("start-delay", &config.start_delay, Duration::ZERO, Duration::ZERO, seconds(3600));
    let max_bytes = match &config.max_bytes {
        None => MAX_BYTES.min(most),
        Some(size) => {
            let bytes = usize::try_from(size.get_ref().0).unwrap_or(usize::MAX);
            if bytes < 1 << 10 || bytes > most {
                mistakes.push(Mistake::new(
                    "out-of-range",
                    size.span(),
                    format!("`max-bytes` is {bytes} bytes"),
                    format!("write a size from \"1KiB\" to that of `max-packet`, {} KiB", most >> 10),
                ));
            }
            bytes
        }
    };
    let no_effect = [
        ("max-delay", config.max_delay.as_ref().map(Spanned::span).filter(|_| per != Per::Batch)),
        ("max-bytes", config.max_bytes.as_ref().map(Spanned::span).filter(|_| per == Per::Tag)),
    ];
    for (key, place) in no_effect {
        let Some(place) = place else { continue };
        mistakes.push(Mistake::new(
            "no-effect",
            place,
            format!("`{key}` has no effect: nothing is gathered with this `per`"),
            format!("leave `{key}` out, or write `per = \"batch\"`"),
        ));
    }
    match topic {
        Some(topic) if mistakes.is_empty() => Ok(Spec {
            mqtt,
            shape: Shape { per, topic, payload, retain, max_bytes },
            acknowledged,
            status_topic,
            commands,
            max_delay,
            ack_timeout,
            start_delay,
        }),
        _ => Err(mistakes),
    }
}

fn payload(config: &Config, per: Per, mistakes: &mut Vec<Mistake>) -> Payload {
    let Some(text) = config.payload.as_ref().filter(|text| text.get_ref() != "json") else {
        return Payload::Json;
    };
    let mut wrong = |message: String, help: &str| {
        mistakes.push(Mistake::new("bad-payload", text.span(), message, help));
        Payload::Json
    };
    let pattern = match Pattern::parse(text.get_ref()) {
        Ok(pattern) => pattern,
        Err(why) => {
            return wrong(
                format!("this is no template: {why}"),
                "write \"json\", or placeholders as \"{value}\" or \"{value:json}\"; a brace is `{{` or `}}`",
            );
        }
    };
    if per != Per::Tag {
        return wrong("a template says one value".into(), "write `per = \"tag\"` with it, or leave it out");
    }
    if pattern.fields().next().is_none() {
        return wrong(
            "it says the same of every value".into(),
            "write \"json\", or a placeholder as \"{value}\"",
        );
    }
    Payload::Pattern(pattern)
}

/// A topic with names in it.
fn pattern(key: &str, text: &Spanned<String>, mistakes: &mut Vec<Mistake>) -> Option<Pattern> {
    let mut wrong = |message: String, help: String| {
        mistakes.push(Mistake::new("bad-topic", text.span(), message, help));
    };
    let pattern = match Pattern::parse(text.get_ref()) {
        Ok(pattern) => pattern,
        Err(why) => {
            let help = format!("write placeholders from {}; a brace is `{{{{` or `}}}}`", Field::OF_TOPICS);
            wrong(format!("`{key}`: {why}"), help);
            return None;
        }
    };
    if pattern.fields().any(|(field, json)| json || !field.is_of_topics()) {
        wrong(
            format!("`{key}` can only name what does not change"),
            format!("write placeholders from {}", Field::OF_TOPICS),
        );
        return None;
    }
    let forbidden = |c: char| matches!(c, '+' | '#') || c.is_control();
    if text.get_ref().is_empty() || pattern.texts().any(|part| part.contains(forbidden)) {
        wrong(
            format!("`{key}` is empty, or holds `+`, `#` or a control character"),
            "write a topic to publish to, as \"plant/{node}\"; wildcards are for those who subscribe".into(),
        );
        return None;
    }
    Some(pattern)
}

fn topic(
    config: &Config,
    per: Per,
    payload: &Payload,
    retain: bool,
    mistakes: &mut Vec<Mistake>,
) -> Option<Pattern> {
    let written = config.topic.clone().unwrap_or_else(|| Spanned::new(0..0, per.topic().to_owned()));
    let topic = pattern("topic", &written, mistakes)?;
    let mut wrong = |message: &str, help: &str| {
        mistakes.push(Mistake::new("bad-topic", written.span(), message, help));
    };
    match per {
        Per::Batch if topic.has(Field::Device) || topic.has(Field::Tag) => wrong(
            "a batch has values of all devices, so its topic can name none",
            "write `per = \"tag\"` or `per = \"device\"`, or take {device} and {tag} out of the topic",
        ),
        Per::Device if topic.has(Field::Tag) => wrong(
            "the message of a device has several tags, so its topic can name none",
            "write `per = \"tag\"`, or take {tag} out of the topic",
        ),
        Per::Tag
            if must_tell_apart(payload, retain) && !(topic.has(Field::Device) && topic.has(Field::Tag)) =>
        {
            wrong(
                "nothing tells which tag a message is of, or retained values would overwrite each other",
                "write {device} and {tag} into the topic",
            );
        }
        _ => {}
    }
    Some(topic)
}

/// Whether the topic alone says which tag it is, so that no two may have the same.
fn must_tell_apart(payload: &Payload, retain: bool) -> bool {
    let named = match payload {
        Payload::Json => true,
        Payload::Pattern(p) => p.has(Field::Path) || p.has(Field::Device) && p.has(Field::Tag),
    };
    retain || !named
}

/// What is wrong with the topics of this plant; `place` is that of the topic, or of the table.
pub fn clashes(spec: &Spec, directory: &Directory, place: &Range<usize>) -> Vec<Mistake> {
    let shape = &spec.shape;
    let mut mistakes = Vec::new();
    let mut wrong = |message: String, help: &str| {
        mistakes.push(Mistake::new("topic-clash", place.clone(), message, help));
    };
    let mut taken: HashMap<String, String> = HashMap::new();
    let single = |pattern: &Pattern| pattern.names(directory, None, None);
    if let Some(status) = &spec.status_topic {
        taken.insert(single(status), "`status-topic`".into());
    }
    if let Some(commands) = spec.commands.as_ref().map(single) {
        let result = format!("{commands}/result");
        for (topic, what) in [(commands, "`commands`"), (result, "the answers to `commands`")] {
            if let Some(other) = taken.insert(topic.clone(), what.into()) {
                wrong(format!("{other} and {what} have the same topic `{topic}`"), "give each its own");
            }
        }
    }
    let own = taken.len();
    let data: Vec<(String, String)> = match shape.per {
        Per::Batch => vec![(single(&shape.topic), "the data".into())],
        Per::Device => {
            let of =
                |name: &str| (shape.topic.names(directory, Some(name), None), format!("device `{name}`"));
            directory.devices().iter().map(|d| of(&d.name)).collect()
        }
        Per::Tag => {
            let of = |tag: &crate::model::Tag| {
                let device = directory.device(tag.device).map(|d| &*d.name);
                (shape.topic.names(directory, device, Some(&tag.name)), format!("tag `{}`", tag.path))
            };
            directory.tags().iter().map(of).collect()
        }
    };
    let apart = shape.per == Per::Tag && must_tell_apart(&shape.payload, shape.retain);
    for (topic, what) in data {
        if topic.len() > LONGEST_TOPIC {
            wrong(
                format!("the topic of {what} has {} bytes", topic.len()),
                "write a shorter one; MQTT allows 65535",
            );
        }
        match taken.get(&topic) {
            Some(other) if apart || other.starts_with('`') || other.starts_with("the answers") => wrong(
                format!("{other} and {what} have the same topic `{topic}`"),
                "put `/` between the placeholders, or choose other names",
            ),
            Some(_) => {}
            None if apart || own > 0 => drop(taken.insert(topic, what)),
            None => {}
        }
    }
    mistakes.truncate(10);
    mistakes
}
