//! One tag of the file to a rule, and to what the driver needs of it.

use std::time::Duration;

use crate::config;
use crate::config::leaf::Deadband;
use crate::model::{Access, DataType, Mistake, Order, Spanned, TagId};
use crate::normalize::{Rule, Scaling};

/// What a device gives its tags where they say nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited {
    pub(super) order: Option<Order>,
    pub(super) max_silence: Option<Duration>,
}

/// The rule of a tag; all its mistakes are noted, and the rule is as good as can be had.
pub(super) fn rule(id: TagId, tag: &config::Tag, inherited: Inherited, mistakes: &mut Vec<Mistake>) -> Rule {
    let kind = *tag.kind.get_ref();
    let number = kind.is_number();
    let mut only_numbers = |key: &str, span: std::ops::Range<usize>| {
        if !number {
            mistakes.push(Mistake::new(
                "not-a-number",
                span,
                format!("`{key}` needs a number, and this tag is a `{kind}`"),
                format!("remove `{key}`, or give the tag a numeric type"),
            ));
        }
    };
    for (key, value) in
        [("scale", &tag.scale), ("offset", &tag.offset), ("low", &tag.low), ("high", &tag.high)]
    {
        if let Some(value) = value {
            only_numbers(key, value.span());
        }
    }
    if let Some(deadband) = &tag.deadband {
        only_numbers("deadband", deadband.span());
    }
    for value in [&tag.scale, &tag.offset, &tag.low, &tag.high].into_iter().flatten() {
        if !value.get_ref().is_finite() {
            mistakes.push(Mistake::new(
                "not-finite",
                value.span(),
                "this is no finite number",
                "write a number",
            ));
        }
    }
    if let Some(scale) = tag.scale.as_ref().filter(|s| *s.get_ref() == 0.0) {
        mistakes.push(Mistake::new(
            "scale-zero",
            scale.span(),
            "a scale of 0 makes every value the same",
            "write the engineering units per raw unit, as 0.1",
        ));
    }
    if let (Some(low), Some(high)) = (&tag.low, &tag.high)
        && low.get_ref() >= high.get_ref()
    {
        mistakes.push(Mistake::new(
            "low-not-below-high",
            low.span(),
            format!("`low` ({}) is not below `high` ({})", low.get_ref(), high.get_ref()),
            "exchange or correct them",
        ));
    }
    text_length(tag, kind, mistakes);
    if let Some(silence) = &tag.max_silence {
        super::ranges::period("max-silence", silence, mistakes);
    }
    Rule {
        tag: id,
        kind,
        // A device's order is that of its 32- and 64-bit values. The specification fixes the bytes of a
        // single register; only a tag that says otherwise swaps them.
        order: tag.order.or(inherited.order.filter(|_| kind.is_wide())).unwrap_or_default(),
        scaling: (tag.scale.is_some() || tag.offset.is_some()).then(|| Scaling {
            scale: tag.scale.as_ref().map_or(1.0, |s| *s.get_ref()),
            offset: tag.offset.as_ref().map_or(0.0, |o| *o.get_ref()),
        }),
        low: tag.low.as_ref().map(|v| *v.get_ref()),
        high: tag.high.as_ref().map(|v| *v.get_ref()),
        deadband: deadband(tag, mistakes),
        always: tag.report == config::Report::Always,
        max_silence: tag.max_silence.as_ref().map(|p| p.get_ref().0).or(inherited.max_silence),
        // It needs the numbers of its own tags: see alarms.rs.
        alarm: None,
    }
}

fn text_length(tag: &config::Tag, kind: DataType, mistakes: &mut Vec<Mistake>) {
    match (&tag.length, kind.element()) {
        (None, DataType::Text) => mistakes.push(Mistake::new(
            "length-missing",
            tag.kind.span(),
            "a string needs its length",
            "add `length = …`, the number of its bytes; a register holds two",
        )),
        (Some(length), DataType::Text) if !(1..=250).contains(length.get_ref()) => {
            mistakes.push(Mistake::new(
                "length-out-of-range",
                length.span(),
                format!("a string cannot have {} bytes", length.get_ref()),
                "write 1 to 250: as much as one request reads, two bytes a register",
            ));
        }
        (Some(length), element) if element != DataType::Text => mistakes.push(Mistake::new(
            "length-without-string",
            length.span(),
            format!("`length` belongs to a string, and this tag is a `{kind}`"),
            "remove `length`, or write `type = \"string\"`",
        )),
        _ => {}
    }
}

/// In engineering units.
fn deadband(tag: &config::Tag, mistakes: &mut Vec<Mistake>) -> f64 {
    let Some(deadband) = &tag.deadband else { return 0.0 };
    let mut wrong = |code, message: String, help: &str| {
        mistakes.push(Mistake::new(code, deadband.span(), message, help));
        0.0
    };
    match *deadband.get_ref() {
        Deadband::Absolute(units) if units >= 0.0 && units.is_finite() => units,
        Deadband::Percent(percent) if (0.0..=100.0).contains(&percent) => match (&tag.low, &tag.high) {
            (Some(low), Some(high)) => (high.get_ref() - low.get_ref()).abs() * percent / 100.0,
            _ => wrong(
                "deadband-without-range",
                "a deadband in percent needs the range that it is a part of".into(),
                "add `low` and `high`, or write the deadband in engineering units",
            ),
        },
        wide => wrong(
            "deadband-out-of-range",
            match wide {
                Deadband::Absolute(units) => format!("a deadband cannot be {units}"),
                Deadband::Percent(percent) => format!("a deadband cannot be {percent}% of the range"),
            },
            "write engineering units from 0 on, or a percentage from \"0%\" to \"100%\"",
        ),
    }
}

/// What the driver is asked for; the address was written at `span`.
#[derive(Debug, Clone)]
pub(super) struct Asked<'a> {
    pub(super) at: &'a Spanned<String>,
    pub(super) kind: DataType,
    pub(super) length: u16,
    pub(super) access: Access,
}

pub(super) fn asked(tag: &config::Tag) -> Asked<'_> {
    Asked {
        at: &tag.at,
        kind: *tag.kind.get_ref(),
        // A wrong length is one mistake, not another one of the address.
        length: tag.length.as_ref().map_or(0, |l| (*l.get_ref()).clamp(1, 250)),
        access: tag.access,
    }
}
