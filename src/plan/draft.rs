//! What the steps of the compilation hand to each other: devices and tags on their way, and their names.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use super::tags::Asked;
use crate::config;
use crate::model::{DeviceId, Labels, Mistake, Spanned, Tag, TagId};
use crate::normalize::Rule;

/// The name of the gateway's own link and device.
pub(super) const SYSTEM: &str = "system";

/// A device with its tags, ready for its link's driver.
pub(super) struct DeviceDraft<'a> {
    pub(super) table: &'a config::Device,
    pub(super) profile: Option<&'a config::Profile>,
    pub(super) id: DeviceId,
    pub(super) link: usize,
    pub(super) tags: Vec<TagDraft<'a>>,
}

/// A tag of it.
pub(super) struct TagDraft<'a> {
    pub(super) id: TagId,
    pub(super) name: &'a str,
    pub(super) class: usize,
    pub(super) rule: Rule,
    pub(super) labels: Option<Labels>,
    pub(super) asked: Asked<'a>,
    pub(super) table: &'a config::Tag,
    /// The tags that show its alarm.
    pub(super) shown: Vec<Tag>,
}

/// A scan class: its name and period.
pub(super) type Class<'a> = (&'a str, Duration);

pub(super) fn path(device: &str, tag: &str) -> String {
    format!("{device}/{tag}")
}

/// Notes a name that was there before.
pub(super) fn duplicate(
    what: &str,
    code: &'static str,
    name: &Spanned<String>,
    seen: &mut HashMap<String, Range<usize>>,
    mistakes: &mut Vec<Mistake>,
) {
    if seen.insert(name.get_ref().clone(), name.span()).is_some() {
        mistakes.push(Mistake::new(
            code,
            name.span(),
            format!("there is another {what} of the name `{}`", name.get_ref()),
            "give it a name of its own",
        ));
    }
}

/// The gateway's own device and link have this name.
pub(super) fn reserved(what: &str, name: &Spanned<String>, mistakes: &mut Vec<Mistake>) {
    if name.get_ref() == SYSTEM {
        mistakes.push(Mistake::new(
            "reserved-name",
            name.span(),
            format!("`{}` is the gateway's own {what}", SYSTEM),
            "choose another name",
        ));
    }
}
