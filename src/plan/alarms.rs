//! The alarm of a tag, and the tags that show it.

use std::sync::Arc;
use std::time::Duration;

use super::compile::Compiler;
use super::draft::path;
use super::{names, ranges};
use crate::config;
use crate::config::alarm::Alarm as Table;
use crate::config::leaf::Scalar;
use crate::model::{
    Access, Alarm, DataType, DeviceId, Limits, Mistake, Period, Spanned, Tag, Trigger, Value,
};
use crate::normalize::Rule;

/// What the tags that show an alarm are called, after the name of the tag itself.
const STATE: &str = "alarm";
const ACTIVE: &str = "alarm-active";
const ACKED: &str = "alarm-acked";
/// The longest message, in characters: it is said by every north.
const LONGEST_MESSAGE: usize = 200;

impl Compiler<'_> {
    /// Gives a rule its alarm; the tags that show it.
    pub(super) fn alarm(
        &mut self,
        device: &config::Device,
        name: &Spanned<String>,
        tag: &config::Tag,
        id: DeviceId,
        rule: &mut Rule,
    ) -> Vec<Tag> {
        let Some(table) = &tag.alarm else { return Vec::new() };
        let before = self.mistakes.len();
        let trigger = trigger(table, tag, rule.value_type(), &mut self.mistakes);
        if let Some(Trigger::Limits(limits)) = &trigger {
            outside(table.get_ref(), limits, rule, &mut self.warnings);
        }
        let message = message(table.get_ref(), &mut self.mistakes);
        let on_delay = delay("delay", &table.get_ref().delay, &mut self.mistakes);
        let off_delay = delay("off-delay", &table.get_ref().off_delay, &mut self.mistakes);
        let acked_access = access(table.get_ref(), &mut self.mistakes);
        let device_name = device.name.get_ref();
        let source = path(device_name, name.get_ref());
        let taken: Vec<&str> =
            self.config.tags_of(device).into_iter().map(|(name, _)| name.get_ref().as_str()).collect();
        let mut shown = Vec::new();
        for (part, kind, access, says) in [
            (STATE, DataType::Text, Access::Read, "how the alarm stands"),
            (ACTIVE, DataType::Bool, Access::Read, "whether the alarm is raised"),
            (ACKED, DataType::Bool, acked_access, "whether the alarm is acknowledged"),
        ] {
            let own = format!("{}/{part}", name.get_ref());
            if taken.contains(&own.as_str()) {
                self.mistakes.push(Mistake::new(
                    "alarm-name-taken",
                    table.span(),
                    format!("the alarm is shown by the tag `{own}`, and the device has a tag of that name"),
                    "give the device's own tag another name",
                ));
            }
            names::check_tag(&Spanned::new(name.span(), own.clone()), &mut self.mistakes);
            let path = path(device_name, &own);
            shown.push(Tag {
                id: self.numbers.tag(&path, kind),
                device: id,
                name: own.into(),
                path: path.into(),
                kind,
                access,
                unit: None,
                low: None,
                high: None,
                description: Some(format!("{says} of {}", name.get_ref()).into()),
            });
        }
        let (Some(trigger), [state, active, acked], true) =
            (trigger, shown.as_slice(), self.mistakes.len() == before)
        else {
            return Vec::new();
        };
        rule.alarm = Some(Arc::new(Alarm {
            source: rule.tag,
            path: source.into(),
            state: state.id,
            active: active.id,
            acked: acked.id,
            trigger,
            on_delay,
            off_delay,
            priority: table.get_ref().priority,
            message,
        }));
        shown
    }
}

fn trigger(
    table: &Spanned<Table>,
    tag: &config::Tag,
    kind: DataType,
    mistakes: &mut Vec<Mistake>,
) -> Option<Trigger> {
    let (whole, alarm) = (table.span(), table.get_ref());
    let mut wrong = |code, span, message: String, help: &str| {
        mistakes.push(Mistake::new(code, span, message, help));
        None
    };
    if !tag.access.is_readable() {
        return wrong(
            "alarm-never-read",
            whole,
            "the tag is never read, so nothing can raise its alarm".into(),
            "remove `alarm`, or write `access = \"read-write\"`",
        );
    }
    if kind.length().is_some() || !(kind.is_number() || kind == DataType::Bool) {
        return wrong(
            "alarm-of-another-type",
            whole,
            format!("an alarm watches one number or boolean, and this tag is a `{kind}`"),
            "remove `alarm`, or give the tag another type",
        );
    }
    let limits = [("lolo", &alarm.lolo), ("lo", &alarm.lo), ("hi", &alarm.hi), ("hihi", &alarm.hihi)];
    let written: Vec<_> = limits.into_iter().filter_map(|(key, v)| Some((key, v.as_ref()?))).collect();
    let kinds = usize::from(!written.is_empty())
        + usize::from(alarm.when.is_some())
        + usize::from(alarm.normal.is_some());
    if kinds != 1 {
        let message = match kinds {
            0 => "nothing raises this alarm",
            _ => "limits, `when` and `normal` are three kinds of alarms, and a tag has one",
        };
        return wrong(
            "alarm-trigger",
            whole,
            message.into(),
            "write limits (`hihi`, `hi`, `lo`, `lolo`), or `when = …`, or `normal = …`",
        );
    }
    if let Some((key, values)) =
        alarm.when.as_ref().map(|v| ("when", v)).or(alarm.normal.as_ref().map(|v| ("normal", v)))
    {
        if let Some(hysteresis) = &alarm.hysteresis {
            wrong(
                "hysteresis-without-limits",
                hysteresis.span(),
                format!("`hysteresis` belongs to limits, and `{key}` has none"),
                "remove `hysteresis`; `delay` and `off-delay` calm a state",
            );
        }
        let values = match states(values.get_ref(), kind) {
            Ok(values) => values,
            Err(why) => {
                return wrong(
                    "alarm-value",
                    values.span(),
                    why,
                    "write values of the tag's own type: `true`, `3`, `[3, 4]`",
                );
            }
        };
        return Some(if key == "when" { Trigger::When(values) } else { Trigger::NotNormal(values) });
    }
    if kind == DataType::Bool {
        return wrong(
            "limits-of-a-bool",
            written.first().map_or(whole, |(_, limit)| limit.span()),
            "a boolean has no limits".into(),
            "write `when = true` or `when = false`",
        );
    }
    checked(alarm, &written, mistakes).then(|| {
        let value = |v: &Option<Spanned<f64>>| v.as_ref().map(|v| *v.get_ref());
        Trigger::Limits(Limits {
            hihi: value(&alarm.hihi),
            hi: value(&alarm.hi),
            lo: value(&alarm.lo),
            lolo: value(&alarm.lolo),
            hysteresis: value(&alarm.hysteresis).unwrap_or(0.0),
        })
    })
}

/// Limits in their order, and a hysteresis that fits between them.
fn checked(alarm: &Table, written: &[(&str, &Spanned<f64>)], mistakes: &mut Vec<Mistake>) -> bool {
    let before = mistakes.len();
    for (key, limit) in written.iter().filter(|(_, limit)| !limit.get_ref().is_finite()) {
        mistakes.push(Mistake::new(
            "not-finite",
            limit.span(),
            format!("`{key}` is no finite number"),
            "write a number",
        ));
    }
    for pair in written.windows(2) {
        let [(lower, low), (upper, high)] = pair else { continue };
        if low.get_ref() >= high.get_ref() {
            mistakes.push(Mistake::new(
                "alarm-limits-out-of-order",
                high.span(),
                format!("`{upper}` ({}) is not above `{lower}` ({})", high.get_ref(), low.get_ref()),
                "exchange or correct them: `lolo` < `lo` < `hi` < `hihi`",
            ));
        }
    }
    let Some(hysteresis) = &alarm.hysteresis else { return mistakes.len() == before };
    let width = *hysteresis.get_ref();
    if !(width >= 0.0 && width.is_finite()) {
        mistakes.push(Mistake::new(
            "hysteresis-out-of-range",
            hysteresis.span(),
            format!("a hysteresis cannot be {width}"),
            "write engineering units from 0 on",
        ));
    } else if mistakes.len() == before {
        for pair in written.windows(2) {
            let [(lower, low), (upper, high)] = pair else { continue };
            let between = high.get_ref() - low.get_ref();
            if width >= between {
                mistakes.push(Mistake::new(
                    "hysteresis-too-wide",
                    hysteresis.span(),
                    format!(
                        "the hysteresis ({width}) is not smaller than what is between `{lower}` and `{upper}` ({between})"
                    ),
                    "write a smaller hysteresis, or limits further apart",
                ));
            }
        }
    }
    mistakes.len() == before
}

/// Limits that only a value of doubtful quality reaches.
fn outside(table: &Table, limits: &Limits, rule: &Rule, warnings: &mut Vec<Mistake>) {
    let range = |limit: f64| {
        rule.low
            .filter(|low| limit < *low)
            .map(|low| ("below `low`", low))
            .or(rule.high.filter(|high| limit > *high).map(|high| ("above `high`", high)))
    };
    for (key, written, limit) in [
        ("lolo", &table.lolo, limits.lolo),
        ("lo", &table.lo, limits.lo),
        ("hi", &table.hi, limits.hi),
        ("hihi", &table.hihi, limits.hihi),
    ] {
        if let (Some(written), Some(limit)) = (written, limit)
            && let Some((where_, end)) = range(limit)
        {
            let warning = Mistake::new(
                "alarm-outside-range",
                written.span(),
                format!("`{key}` ({limit}) is {where_} ({end}), where a value is uncertain"),
                "write a limit within `low` … `high`, or a wider range",
            );
            // A tag of a profile comes once for each device.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
}

/// One value or several, of the tag's own type.
fn states(written: &Scalar, kind: DataType) -> Result<Vec<Value>, String> {
    let all = match written {
        Scalar::List(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    if all.is_empty() {
        return Err("the list has no value".into());
    }
    let value = |one: &Scalar| {
        let value = match one {
            Scalar::Bool(v) if kind == DataType::Bool => Some(Value::Bool(*v)),
            Scalar::Integer(v) if kind.is_number() => Value::I64(*v).coerce(kind),
            Scalar::Float(v) if kind.is_number() && v.is_finite() => Value::F64(*v).coerce(kind),
            _ => None,
        };
        value.ok_or_else(|| format!("`{one}` is no value of a `{kind}`"))
    };
    all.iter().map(value).collect()
}

fn delay(key: &str, period: &Option<Spanned<Period>>, mistakes: &mut Vec<Mistake>) -> Duration {
    let day = Duration::ZERO..=Duration::from_secs(86_400);
    period.as_ref().map_or(Duration::ZERO, |period| ranges::period_within(key, period, day, mistakes))
}

fn message(table: &Table, mistakes: &mut Vec<Mistake>) -> Option<Arc<str>> {
    let written = table.message.as_ref()?;
    let text = written.get_ref().trim();
    if text.is_empty() || text.chars().count() > LONGEST_MESSAGE || text.chars().any(char::is_control) {
        mistakes.push(Mistake::new(
            "alarm-message",
            written.span(),
            "a message is one line of words",
            format!("write 1 to {LONGEST_MESSAGE} characters, without a line end"),
        ));
    }
    Some(text.into())
}

/// Whether the tag that says whether it is acknowledged can be written.
fn access(table: &Table, mistakes: &mut Vec<Mistake>) -> Access {
    let Some(written) = &table.access else { return Access::Read };
    if *written.get_ref() == Access::WriteOnly {
        mistakes.push(Mistake::new(
            "alarm-access",
            written.span(),
            "whether an alarm is acknowledged can always be read",
            "write \"read-write\", or remove `access`",
        ));
    }
    *written.get_ref()
}
