//! `[[test]]` tables: registers laid where the driver would read them.

use std::collections::{BTreeMap, HashMap};

use super::draft::DeviceDraft;
use super::tags::{Asked, Inherited, asked, rule};
use super::{TestCase, TestPlan};
use crate::config::leaf::Scalar;
use crate::config::{Config, Profile, closest};
use crate::drivers::modbus::address::{Address, Area};
use crate::model::{Mistake, Place, Raw, Spanned, TagId};
use crate::normalize::{PlacedRule, Rule};
use crate::poll::LinkPlan;

/// What a test gives: area and address → word, or bit as 0 and 1.
type Given = HashMap<(Area, u16), u16>;
type Table<T> = BTreeMap<Spanned<String>, Spanned<T>>;

/// Whose tags a test is about.
struct Subject<'a> {
    what: &'static str,
    name: &'a str,
    tags: Vec<SubjectTag<'a>>,
}

struct SubjectTag<'a> {
    id: TagId,
    name: &'a str,
    asked: Asked<'a>,
    rule: Rule,
}

/// The tests of the file, and those of all profiles.
pub(super) fn compile(
    config: &Config,
    devices: &[DeviceDraft<'_>],
    _links: &[LinkPlan],
    incomplete: bool,
    mistakes: &mut Vec<Mistake>,
) -> Vec<TestPlan> {
    let mut plans = Vec::new();
    for table in &config.test {
        let table = table.get_ref();
        let Some(device) = devices.iter().find(|d| d.table.name.get_ref() == table.device.get_ref()) else {
            if !incomplete {
                let known = devices.iter().map(|d| d.table.name.get_ref().as_str());
                mistakes.push(Mistake::new(
                    "unknown-device",
                    table.device.span(),
                    format!("there is no device `{}`", table.device.get_ref()),
                    match closest(table.device.get_ref(), known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "name a device of this file".to_owned(),
                    },
                ));
            }
            continue;
        };
        let tags = device.tags.iter().map(|t| SubjectTag {
            id: t.id,
            name: t.name,
            asked: t.asked.clone(),
            rule: t.rule.clone(),
        });
        let subject = Subject { what: "device", name: table.device.get_ref(), tags: tags.collect() };
        let cases = cases(&subject, &table.given, &table.expect, incomplete, mistakes);
        plans.push(TestPlan { name: table.name.get_ref().clone(), cases });
    }
    let mut profiles: Vec<_> = config.profile.iter().collect();
    profiles.sort_by_key(|(name, _)| name.span().start);
    for (name, profile) in profiles {
        let subject = profile_subject(name.get_ref(), profile, mistakes);
        for table in profile.test.iter().map(Spanned::get_ref) {
            let cases = cases(&subject, &table.given, &table.expect, incomplete, mistakes);
            plans.push(TestPlan { name: format!("{}: {}", subject.name, table.name.get_ref()), cases });
        }
    }
    plans
}

/// The tags of a profile as a device would have them that says nothing of its own. Their mistakes are
/// told also where no device uses the profile.
fn profile_subject<'a>(name: &'a str, profile: &'a Profile, mistakes: &mut Vec<Mistake>) -> Subject<'a> {
    let inherited = Inherited { order: profile.order, max_silence: None };
    let mut tags = Vec::new();
    for (at, (name, tag)) in profile.tag.iter().enumerate() {
        super::names::check_tag(name, mistakes);
        let (id, tag) = (TagId(u32::try_from(at).unwrap_or(u32::MAX)), tag.get_ref());
        let (asked, rule) = (asked(tag), rule(id, tag, inherited, mistakes));
        if let Err(error) = Address::parse(asked.at.get_ref(), asked.kind, asked.length) {
            mistakes.push(Mistake::new(error.code, asked.at.span(), error.message, error.help));
        }
        tags.push(SubjectTag { id, name: name.get_ref(), asked, rule });
    }
    Subject { what: "profile", name, tags }
}

fn cases(
    subject: &Subject<'_>,
    given: &Table<Vec<Scalar>>,
    expect: &Table<Scalar>,
    incomplete: bool,
    mistakes: &mut Vec<Mistake>,
) -> Vec<TestCase> {
    let given = self::given(given, mistakes);
    let mut cases = Vec::new();
    for (name, expected) in expect {
        let Some(tag) = subject.tags.iter().find(|t| t.name == name.get_ref()) else {
            if !incomplete {
                mistakes.push(Mistake::new(
                    "unknown-tag",
                    name.span(),
                    format!("the {} `{}` has no tag `{}`", subject.what, subject.name, name.get_ref()),
                    match closest(name.get_ref(), subject.tags.iter().map(|t| t.name)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "name one of its tags".to_owned(),
                    },
                ));
            }
            continue;
        };
        // A wrong address has been told at the tag itself.
        let Ok(address) = Address::parse(tag.asked.at.get_ref(), tag.asked.kind, tag.asked.length) else {
            continue;
        };
        let Some((place, raw)) = lay(&address, &given) else {
            mistakes.push(Mistake::new(
                "test-incomplete",
                name.span(),
                format!("`given` lacks registers of `{}` at {}", name.get_ref(), tag.asked.at.get_ref()),
                "give all words of the tag, from its address on",
            ));
            continue;
        };
        cases.push(TestCase {
            tag: tag.id,
            path: super::draft::path(subject.name, name.get_ref()),
            placed: PlacedRule::new(place, tag.rule.clone()),
            raw,
            expected: expected.get_ref().clone(),
        });
    }
    cases
}

fn given(table: &Table<Vec<Scalar>>, mistakes: &mut Vec<Mistake>) -> Given {
    let mut given = Given::new();
    for (address, values) in table {
        let start = match Address::parse_start(address.get_ref()) {
            Ok(start) => start,
            Err(error) => {
                mistakes.push(Mistake::new(error.code, address.span(), error.message, error.help));
                continue;
            }
        };
        for (offset, value) in values.get_ref().iter().enumerate() {
            let word = match value {
                Scalar::Bool(bit) => Some(u16::from(*bit)),
                Scalar::Integer(word) => u16::try_from(*word).ok(),
                Scalar::Float(_) | Scalar::Text(_) | Scalar::List(_) => None,
            };
            let at = u16::try_from(offset).ok().and_then(|offset| start.1.checked_add(offset));
            match (word, at) {
                (Some(word), Some(at)) => {
                    given.insert((start.0, at), word);
                }
                _ => mistakes.push(Mistake::new(
                    "wrong-value",
                    values.span(),
                    format!("`{value}` is no register or bit"),
                    "write registers as 0 to 65535 (0x0000 to 0xFFFF), bits as true and false",
                )),
            }
        }
    }
    given
}

/// The tag's own words, cut out of what is given.
fn lay(address: &Address, given: &Given) -> Option<(Place, Raw)> {
    let mut raw = Raw::default();
    for at in 0..address.count() {
        let word = *given.get(&(address.area, address.start.checked_add(at)?))?;
        if address.area.is_bits() {
            raw.bits.push(word != 0);
        } else {
            raw.words.push(word);
        }
    }
    Some((address.place(0), raw))
}
