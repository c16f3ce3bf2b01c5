//! What NCMD and DCMD ask for: pure, for any bytes that come.

use schemars::JsonSchema;
use std::sync::Arc;

use crate::model::{DataType, TagId, Timestamp, Value};

use super::payload::{self, Metric, Payload, Raw, Template, weigh};
use super::topic::{Target, Topics};

/// Commands that are older than this are refused: a write must not come when nobody expects it any more.
pub const EXPIRY_MS: u64 = 60_000;
/// Larger payloads are refused unread.
pub const MAX_BYTES: usize = 1 << 20;
/// Writes in one payload.
pub const MAX_WRITES: usize = 1000;

/// The metric of a rebirth (tck-id-operational-behavior-data-commands-rebirth-name).
pub const REBIRTH: &str = "Node Control/Rebirth";

/// What a host may ask of the node beside a rebirth, where the configuration allows it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Control {
    /// To leave this broker for the next one.
    NextServer,
    /// To start anew: the program, never the computer.
    Reboot,
}

impl Control {
    const ALL: [Control; 2] = [Control::NextServer, Control::Reboot];

    /// Its metric, as the NBIRTH of the specification's examples names it.
    pub fn metric(self) -> &'static str {
        match self {
            Control::NextServer => "Node Control/Next Server",
            Control::Reboot => "Node Control/Reboot",
        }
    }
}

/// One thing that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// All births again.
    Rebirth,
    /// Something that the configuration may not allow.
    Control(Control),
    /// A value for a tag; the gate decides.
    Write(TagId, Value),
    /// Nothing that can be done, and why.
    Refused(&'static str),
}

/// What a command's metrics may name.
pub trait Names {
    /// A tag by the name within its device (`None`: a metric of the node).
    fn by_name(&self, device: Option<&str>, name: &str) -> Option<(TagId, DataType)>;
    /// A tag by its alias; of this device only (`None`: of the node, which knows all aliases).
    fn by_alias(&self, device: Option<&str>, alias: u64) -> Option<(TagId, DataType)>;
    /// A device that is published as an instance of a template, by the instance's name or alias.
    fn instance(&self, _device: Option<&str>, _name: Option<&str>, _alias: Option<u64>) -> Option<Instance> {
        None
    }
}

/// A device as an instance of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// The device's name.
    pub device: Arc<str>,
    /// The name of the definition.
    pub template: Arc<str>,
}

/// Reads a command.
pub fn read(
    topics: &Topics,
    topic: &str,
    bytes: &[u8],
    retained: bool,
    now: Timestamp,
    names: &impl Names,
) -> Vec<Asked> {
    let refused = |why| vec![Asked::Refused(why)];
    let Some(target) = topics.target(topic) else { return refused("not one of our topics") };
    if retained {
        // A retained command would be carried out again at each connect.
        return refused("retained");
    }
    if bytes.len() > MAX_BYTES {
        return refused("too large");
    }
    if !weigh::is_light(bytes, weigh::MOST) {
        return refused("too many metrics");
    }
    let Some(payload) = Payload::parse(bytes) else { return refused("no Sparkplug payload") };
    let payload = match payload.expanded(MAX_BYTES) {
        Ok(payload) => payload,
        Err(why) => return refused(why),
    };
    if payload.metrics.is_empty() {
        return refused("no metrics");
    }
    let mut asked = Vec::new();
    // All or nothing: half of a recipe is worse than none.
    let writes = |metric: &Metric| match &metric.value {
        Some(Raw::Template(instance)) => instance.metrics.len(),
        _ => 1,
    };
    if payload.metrics.iter().map(writes).sum::<usize>() > MAX_WRITES {
        return refused("too many metrics");
    }
    for metric in &payload.metrics {
        if let Some(Raw::Template(instance)) = &metric.value {
            members(target, metric, instance, payload.timestamp, now, names, &mut asked);
        } else if let Some(one) = one(target, metric, payload.timestamp, now, names) {
            asked.push(one);
        }
    }
    asked
}

/// The members of an instance, each a write of its own.
fn members(
    target: Target<'_>,
    metric: &Metric,
    template: &Template,
    sent: Option<u64>,
    now: Timestamp,
    names: &impl Names,
    asked: &mut Vec<Asked>,
) {
    let device = match target {
        Target::Node => None,
        Target::Device(device) => Some(device),
    };
    let name = metric.name.as_deref().filter(|name| !name.is_empty());
    let Some(instance) = names.instance(device, name, metric.alias) else {
        return asked.push(Asked::Refused("no such instance of a template"));
    };
    let of_another = template.template_ref.as_deref().is_some_and(|name| name != &*instance.template);
    if of_another
        || template.is_definition == Some(true)
        || metric.is_historical == Some(true)
        || metric.is_null == Some(true)
    {
        return asked.push(Asked::Refused("not an instance of this template"));
    }
    for member in &template.metrics {
        let member =
            Metric { timestamp: member.timestamp.or(metric.timestamp), alias: None, ..member.clone() };
        asked.push(
            write(Some(&instance.device), &member, sent, now, names)
                .map_or_else(Asked::Refused, |(tag, value)| Asked::Write(tag, value)),
        );
    }
}

fn one(
    target: Target<'_>,
    metric: &Metric,
    sent: Option<u64>,
    now: Timestamp,
    names: &impl Names,
) -> Option<Asked> {
    let device = match target {
        Target::Node => None,
        Target::Device(device) => Some(device),
    };
    let control = |control: &Control| metric.name.as_deref() == Some(control.metric());
    let control = Control::ALL.into_iter().find(control).filter(|_| device.is_none());
    if control.is_some() || device.is_none() && metric.name.as_deref() == Some(REBIRTH) {
        // Hosts send it with and without type and time stamp; false asks for nothing.
        let is_said = metric.is_null != Some(true) && metric.is_historical != Some(true);
        let is_bool = matches!(metric.datatype, None | Some(0 | payload::BOOLEAN));
        return match metric.value.as_ref().filter(|_| is_said && is_bool) {
            Some(Raw::Bool(true)) => Some(match control {
                None => Asked::Rebirth,
                // Late, it would come when nobody expects it any more; a late rebirth does no harm.
                Some(_) if is_expired(metric, sent, now) => Asked::Refused("expired"),
                Some(control) => Asked::Control(control),
            }),
            Some(Raw::Bool(false)) => None,
            _ => Some(Asked::Refused("a node control is true or false, now")),
        };
    }
    Some(
        write(device, metric, sent, now, names)
            .map_or_else(Asked::Refused, |(tag, value)| Asked::Write(tag, value)),
    )
}

/// By its own time stamp, or that of its payload; without one it is taken for new.
fn is_expired(metric: &Metric, sent: Option<u64>, now: Timestamp) -> bool {
    metric.timestamp.or(sent).is_some_and(|at| at.saturating_add(EXPIRY_MS) < payload::millis(now))
}

fn write(
    device: Option<&str>,
    metric: &Metric,
    sent: Option<u64>,
    now: Timestamp,
    names: &impl Names,
) -> Result<(TagId, Value), &'static str> {
    let found = match (metric.name.as_deref().filter(|n| !n.is_empty()), metric.alias) {
        (Some(name), _) => names.by_name(device, name),
        (None, Some(alias)) => names.by_alias(device, alias),
        (None, None) => return Err("neither name nor alias"),
    };
    let (tag, kind) = found.ok_or("no such metric")?;
    if is_expired(metric, sent, now) {
        return Err("expired");
    }
    if metric.is_null == Some(true) || metric.is_historical == Some(true) {
        return Err("null or historical");
    }
    let raw = metric.value.as_ref().ok_or("no value")?;
    // Without a type it is that of the birth.
    let sent_as = match metric.datatype {
        None | Some(0) => kind,
        Some(number) => payload::kind(number, kind).ok_or("a type that no tag has")?,
    };
    let value = raw.value(sent_as).ok_or("the value is not of its type")?;
    Ok((tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plant;

    impl Names for Plant {
        fn by_name(&self, device: Option<&str>, name: &str) -> Option<(TagId, DataType)> {
            let pair = DataType::array(DataType::F32, 2)?;
            match name {
                "speed" if device == Some("d") => Some((TagId(7), DataType::U16)),
                "pair" if device == Some("d") => Some((TagId(9), pair)),
                _ => None,
            }
        }
        fn by_alias(&self, _device: Option<&str>, alias: u64) -> Option<(TagId, DataType)> {
            (alias == 8).then_some((TagId(7), DataType::U16))
        }
    }

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    fn topics() -> Topics {
        Topics::new(&"g".into(), &"n".into())
    }

    fn ask(kind: &str, metrics: Vec<Metric>) -> Vec<Asked> {
        let topics = topics();
        let topic = if kind == "NCMD" { topics.node(kind) } else { topics.device(kind, "d") };
        let bytes = Payload { metrics, ..Payload::default() }.bytes();
        read(&topics, &topic, &bytes, false, NOW, &Plant)
    }

    fn named(name: &str, value: Raw) -> Metric {
        Metric { name: Some(name.into()), value: Some(value), ..Metric::default() }
    }

    #[test]
    fn a_rebirth_comes_in_any_form_and_false_is_none() {
        assert_eq!(ask("NCMD", vec![named(REBIRTH, Raw::Bool(true))]), [Asked::Rebirth]);
        let full = Metric { timestamp: Some(1), datatype: Some(11), ..named(REBIRTH, Raw::Bool(true)) };
        assert_eq!(ask("NCMD", vec![full]), [Asked::Rebirth]);
        assert_eq!(ask("NCMD", vec![named(REBIRTH, Raw::Bool(false))]), []);
        assert!(matches!(ask("NCMD", vec![named(REBIRTH, Raw::Int(1))])[..], [Asked::Refused(_)]));
        assert!(matches!(ask("DCMD", vec![named(REBIRTH, Raw::Bool(true))])[..], [Asked::Refused(_)]));
    }

    #[test]
    fn a_control_is_told_from_other_commands_and_is_never_carried_out_late() {
        for control in Control::ALL {
            let name = control.metric();
            assert_eq!(ask("NCMD", vec![named(name, Raw::Bool(true))]), [Asked::Control(control)]);
            assert_eq!(ask("NCMD", vec![named(name, Raw::Bool(false))]), []);
            let old = payload::millis(NOW) - EXPIRY_MS - 1;
            let late = Metric { timestamp: Some(old), ..named(name, Raw::Bool(true)) };
            assert_eq!(ask("NCMD", vec![late]), [Asked::Refused("expired")]);
            let yes = || named(name, Raw::Bool(true));
            for metric in [
                named(name, Raw::Int(1)),
                Metric { is_null: Some(true), ..yes() },
                Metric { is_historical: Some(true), ..yes() },
                Metric { datatype: Some(12), ..yes() },
            ] {
                let asked = ask("NCMD", vec![metric.clone()]);
                assert!(matches!(asked[..], [Asked::Refused(_)]), "{metric:?}: {asked:?}");
            }
            assert!(matches!(ask("DCMD", vec![named(name, Raw::Bool(true))])[..], [Asked::Refused(_)]));
        }
    }

    #[test]
    fn a_write_comes_by_name_or_by_alias_with_and_without_a_type() {
        let wanted = [Asked::Write(TagId(7), Value::U16(42))];
        assert_eq!(ask("DCMD", vec![named("speed", Raw::Int(42))]), wanted);
        let alias = Metric { alias: Some(8), value: Some(Raw::Int(42)), ..Metric::default() };
        assert_eq!(ask("DCMD", vec![alias.clone()]), wanted);
        assert_eq!(ask("NCMD", vec![alias]), wanted);
        let double = Metric { datatype: Some(10), ..named("speed", Raw::Double(42.0)) };
        assert_eq!(ask("DCMD", vec![double]), [Asked::Write(TagId(7), Value::F64(42.0))]);
    }

    #[test]
    fn an_array_is_written_as_a_whole_of_its_own_length() {
        let bytes = |all: &[f32]| Raw::Bytes(all.iter().flat_map(|v| v.to_le_bytes()).collect());
        let pair = Value::Array(crate::model::Array::F32([1.5, -2.0].into()));
        let typed = |datatype, value| Metric { datatype: Some(datatype), ..named("pair", value) };
        for metric in [named("pair", bytes(&[1.5, -2.0])), typed(30, bytes(&[1.5, -2.0]))] {
            assert_eq!(ask("DCMD", vec![metric]), [Asked::Write(TagId(9), pair.clone())]);
        }
        let refused = [
            named("pair", bytes(&[1.5])),
            named("pair", bytes(&[1.5; 3])),
            named("pair", Raw::Bytes(vec![0; 7])),
            named("pair", Raw::Float(1.5)),
            named("speed", Raw::Bytes(vec![1, 0])),
            Metric { datatype: Some(27), ..named("speed", Raw::Bytes(vec![1, 0])) },
            typed(34, Raw::Bytes(vec![0; 16])),
        ];
        for metric in refused {
            let asked = ask("DCMD", vec![metric.clone()]);
            assert!(matches!(asked[..], [Asked::Refused(_)]), "{metric:?}: {asked:?}");
        }
    }

    #[test]
    fn too_many_metrics_are_refused_together_and_none_is_carried_out() {
        let many = |count| ask("DCMD", vec![named("speed", Raw::Int(1)); count]);
        assert_eq!(many(MAX_WRITES).len(), MAX_WRITES);
        assert_eq!(many(MAX_WRITES + 1), [Asked::Refused("too many metrics")]);
        let aliases = |alias| Metric { alias: Some(alias), value: Some(Raw::Int(1)), ..Metric::default() };
        assert_eq!(ask("DCMD", (0..10_000).map(aliases).collect()), [Asked::Refused("too many metrics")]);
        assert_eq!(ask("DCMD", vec![Metric::default(); 500_000]), [Asked::Refused("too many metrics")]);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let old = payload::millis(NOW) - EXPIRY_MS - 1;
        let refused = [
            named("nonsense", Raw::Int(1)),
            named("speed", Raw::Text("fast".into())),
            Metric { datatype: Some(16), ..named("speed", Raw::Int(1)) },
            Metric { timestamp: Some(old), ..named("speed", Raw::Int(1)) },
            Metric { is_null: Some(true), ..named("speed", Raw::Int(1)) },
            Metric { name: Some("speed".into()), ..Metric::default() },
            Metric::default(),
        ];
        for metric in refused {
            let asked = ask("DCMD", vec![metric.clone()]);
            assert!(matches!(asked[..], [Asked::Refused(_)]), "{metric:?}: {asked:?}");
        }
        let topics = topics();
        let good = Payload { metrics: vec![named("speed", Raw::Int(1))], ..Payload::default() }.bytes();
        let topic = topics.device("DCMD", "d");
        assert_eq!(read(&topics, &topic, &good, true, NOW, &Plant), [Asked::Refused("retained")]);
        for junk in [vec![], vec![0xFF; 40], vec![0; 12_000], vec![0; MAX_BYTES + 1]] {
            assert!(matches!(read(&topics, &topic, &junk, false, NOW, &Plant)[..], [Asked::Refused(_)]));
        }
    }
}
