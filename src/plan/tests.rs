//! `[[test]]` tables: registers laid where the driver would read them.

use std::collections::HashMap;

use super::compile::DeviceDraft;
use super::{TestCase, TestPlan};
use crate::config::leaf::Scalar;
use crate::config::{Config, closest};
use crate::drivers::modbus::address::{Address, Area};
use crate::model::{Mistake, Place, Raw};
use crate::normalize::PlacedRule;
use crate::poll::LinkPlan;

/// What a test gives: area and address → word, or bit as 0 and 1.
type Given = HashMap<(Area, u16), u16>;

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
        let given = given(table, mistakes);
        let mut cases = Vec::new();
        for (name, expected) in &table.expect {
            let Some(tag) = device.tags.iter().find(|t| t.name == name.get_ref()) else {
                if !incomplete {
                    mistakes.push(Mistake::new(
                        "unknown-tag",
                        name.span(),
                        format!("the device `{}` has no tag `{}`", table.device.get_ref(), name.get_ref()),
                        match closest(name.get_ref(), device.tags.iter().map(|t| t.name)) {
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
                path: super::compile::path(table.device.get_ref(), name.get_ref()),
                placed: PlacedRule::new(place, tag.rule.clone()),
                raw,
                expected: expected.get_ref().clone(),
            });
        }
        plans.push(TestPlan { name: table.name.get_ref().clone(), cases });
    }
    plans
}

fn given(table: &crate::config::Test, mistakes: &mut Vec<Mistake>) -> Given {
    let mut given = Given::new();
    for (address, values) in &table.given {
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
                Scalar::Float(_) | Scalar::Text(_) => None,
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
