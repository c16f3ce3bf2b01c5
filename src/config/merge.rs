//! The tags of a device from all the places that may give it some.

use crate::model::Spanned;
use std::collections::BTreeMap;

use super::{Config, Device, Profile, Tag};

impl Config {
    /// A profile by name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profile.iter().find(|(key, _)| key.get_ref() == name).map(|(_, profile)| profile)
    }

    /// All tags of a device, in the order of the files. One of its own takes the place of one of the same
    /// name from its list, and that the place of its profile's.
    pub fn tags_of<'a>(&'a self, device: &'a Device) -> Vec<(&'a Spanned<String>, &'a Tag)> {
        let profile = device.profile.as_ref().and_then(|name| self.profile(name.get_ref()));
        let all = profile.iter().flat_map(|p| &p.tag).chain(&device.listed).chain(&device.tag);
        let by_name: BTreeMap<&str, _> =
            all.map(|(name, tag)| (name.get_ref().as_str(), (name, tag.get_ref()))).collect();
        let mut ordered: Vec<_> = by_name.into_values().collect();
        ordered.sort_by_key(|(name, _)| name.span().start);
        ordered
    }
}
