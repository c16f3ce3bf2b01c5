//! What has to be done to come from one plan to another: plain data, stops first.

use std::mem::discriminant;

use super::{GatewayPlan, PublisherPlan};
use crate::model::{Device, Tag};
use crate::poll::LinkPlan;

/// One thing to do to a running gateway.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The link of this name ends.
    StopLink(String),
    /// The publisher of this name ends.
    StopPublisher(String),
    /// A link that is new, or that goes on over another carrier.
    StartLink(LinkPlan),
    /// A running link has other work; its driver says whether the connection can stay.
    Replan(LinkPlan),
    /// A publisher that is new, or whose own table is another.
    StartPublisher(PublisherPlan),
}

/// All that is to be done, and nothing else. What is in both plans and is the same is not named. A new list of
/// tags alone is no change of a publisher: the publishers follow it.
pub fn diff(old: &GatewayPlan, new: &GatewayPlan) -> Vec<Change> {
    let (mut stops, mut starts) = (Vec::new(), Vec::new());
    for link in &old.links {
        match new.links.iter().find(|n| n.name == link.name) {
            Some(next) if is_same_carrier(link, next) => {}
            _ => stops.push(Change::StopLink(link.name.clone())),
        }
    }
    for publisher in &old.publishers {
        if !new.publishers.contains(publisher) {
            stops.push(Change::StopPublisher(publisher.name.clone()));
        }
    }
    for link in &new.links {
        match old.links.iter().find(|o| o.name == link.name) {
            Some(before) if before == link => {}
            Some(before) if is_same_carrier(before, link) => starts.push(Change::Replan(link.clone())),
            _ => starts.push(Change::StartLink(link.clone())),
        }
    }
    for publisher in &new.publishers {
        if !old.publishers.contains(publisher) {
            starts.push(Change::StartPublisher(publisher.clone()));
        }
    }
    stops.append(&mut starts);
    stops
}

/// What of a new plan cannot be taken on by a gateway that runs; it has to be started again for that, in order, and
/// nothing that waits is lost.
pub fn needs_restart(old: &GatewayPlan, new: &GatewayPlan) -> Vec<&'static str> {
    let name = |plan: &GatewayPlan| (plan.directory.group.clone(), plan.directory.node.clone());
    let reasons = [
        ("`[node]`: the gateway's group or name", name(old) != name(new)),
        ("`[store]`", old.store != new.store),
        ("`[clock]`", old.trusts_clock != new.trusts_clock),
    ];
    reasons.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
}

/// The same for people, a line each: `+` is new, `-` goes, `~` is another.
pub fn describe(old: &GatewayPlan, new: &GatewayPlan) -> Vec<String> {
    let mut lines: Vec<String> = needs_restart(old, new)
        .iter()
        .map(|what| format!("~ {what} (needs a restart of the gateway)"))
        .collect();
    let is_new = |name: &str| !old.links.iter().any(|link| link.name == name);
    let stays = |name: &str| new.links.iter().any(|link| link.name == name);
    let published = |plan: &GatewayPlan, name: &str| plan.publishers.iter().any(|p| p.name == name);
    for change in diff(old, new) {
        match change {
            Change::StopLink(name) if !stays(&name) => lines.push(format!("- link {name}")),
            Change::StopPublisher(name) if !published(new, &name) => {
                lines.push(format!("- publisher {name}"))
            }
            Change::StopLink(_) | Change::StopPublisher(_) => {}
            Change::StartLink(link) if is_new(&link.name) => lines.push(format!("+ link {}", link.name)),
            Change::StartLink(link) => lines.push(format!("~ link {} (opened anew)", link.name)),
            Change::Replan(link) => lines.push(format!("~ link {}", link.name)),
            Change::StartPublisher(publisher) if published(old, &publisher.name) => {
                lines.push(format!("~ publisher {} (connected anew)", publisher.name));
            }
            Change::StartPublisher(publisher) => lines.push(format!("+ publisher {}", publisher.name)),
        }
    }
    let known =
        |plan: &GatewayPlan, device: &Device| plan.directory.devices().iter().any(|d| d.name == device.name);
    let tags = |plan: &GatewayPlan, device: &Device| plan.directory.tags_of(device.id).count();
    for device in old.directory.devices().iter().filter(|device| !known(new, device)) {
        lines.push(format!("- device {} ({} tags)", device.name, tags(old, device)));
    }
    for device in new.directory.devices().iter().filter(|device| !known(old, device)) {
        lines.push(format!("+ device {} ({} tags)", device.name, tags(new, device)));
    }
    let in_both = |tag: &Tag| {
        let has = |plan: &GatewayPlan| {
            plan.directory
                .devices()
                .iter()
                .any(|d| tag.path.split_once('/').is_some_and(|(device, _)| device == &*d.name))
        };
        has(old) && has(new)
    };
    for tag in old.directory.tags().iter().filter(|tag| in_both(tag)) {
        match new.directory.find(&tag.path) {
            None => lines.push(format!("- tag {}", tag.path)),
            Some(now) if now != tag => lines.push(format!("~ tag {}", tag.path)),
            Some(_) => {}
        }
    }
    for tag in
        new.directory.tags().iter().filter(|tag| in_both(tag) && old.directory.find(&tag.path).is_none())
    {
        lines.push(format!("+ tag {}", tag.path));
    }
    lines
}

/// Whether the task can go on: the same driver with as many lanes.
fn is_same_carrier(old: &LinkPlan, new: &LinkPlan) -> bool {
    discriminant(&old.spec) == discriminant(&new.spec)
        && (old.connections, old.pipeline) == (new.connections, new.pipeline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Directory;

    fn plan(tags: &str, rest: &str, previous: Option<&Directory>) -> GatewayPlan {
        let text = format!(
            "[node]\ngroup = \"g\"\nname = \"n\"\n[scan]\nfast = \"1s\"\n\
             [[link.modbus-tcp]]\nname = \"a\"\nhost = \"127.0.0.1\"\n\
             [[link.modbus-tcp]]\nname = \"b\"\nhost = \"127.0.0.2\"\n\
             [[device]]\nname = \"one\"\nlink = \"a\"\nunit = 1\nscan = \"fast\"\n[device.tag]\n{tags}\n\
             [[device]]\nname = \"two\"\nlink = \"b\"\nunit = 1\nscan = \"fast\"\n[device.tag]\n\
             x = {{ at = \"holding:1\", type = \"u16\" }}\n{rest}"
        );
        let config = crate::config::load(&text).config.unwrap();
        crate::plan::compile(&config, false, previous).unwrap()
    }

    const X: &str = "x = { at = \"holding:1\", type = \"u16\" }\n";
    const Y: &str = "y = { at = \"holding:9\", type = \"u16\" }\n";
    const Z: &str = "z = { at = \"holding:5\", type = \"u16\" }\n";

    #[test]
    fn the_same_file_again_changes_nothing() {
        let old = plan(X, "", None);
        let new = plan(X, "", Some(&old.directory));
        assert_eq!(diff(&old, &new), []);
        assert_eq!(old.directory, new.directory);
    }

    #[test]
    fn a_file_with_a_mistake_is_the_same_plan_again_as_far_as_it_can_be_read() {
        // A link without its port is left out, and its device with it.
        let text = "[node]\ngroup = \"g\"\nname = \"n\"\n[[link.modbus-rtu]]\nname = \"plc\"\n[[device]]\nname = \"pump\"\n\
                    link = \"plc\"\n[device.tag]\nflow = { at = \"holding:0\", type = \"f32\" }\n";
        let loaded = crate::config::load(text);
        assert!(loaded.incomplete);
        let config = loaded.config.unwrap();
        let old = crate::plan::compile(&config, true, None).unwrap();
        assert_eq!(crate::plan::compile(&config, true, Some(&old.directory)).unwrap(), old);
    }

    #[test]
    fn a_new_tag_replans_its_own_link_alone_and_the_others_keep_their_numbers() {
        let old = plan(Y, "", None);
        // `x` stands before `y`, and `y` keeps its number.
        let new = plan(&format!("{X}{Y}"), "", Some(&old.directory));
        let changed = diff(&old, &new);
        assert!(matches!(&changed[..], [Change::Replan(link)] if link.name == "a"), "{changed:?}");
        for tag in old.directory.tags() {
            assert_eq!(new.directory.find(&tag.path).map(|t| t.id), Some(tag.id), "{}", tag.path);
        }
    }

    #[test]
    fn the_number_of_a_removed_tag_is_given_to_no_other_one_also_after_several_reloads() {
        let first = plan(X, "", None);
        let second = plan(&format!("{X}{Y}"), "", Some(&first.directory));
        let third = plan(X, "", Some(&second.directory));
        let fourth = plan(&format!("{X}{Z}"), "", Some(&third.directory));
        let (y, z) = (second.directory.find("one/y").unwrap(), fourth.directory.find("one/z").unwrap());
        assert_ne!(y.id, z.id);
    }

    #[test]
    fn another_publisher_starts_and_ends_alone_and_stops_come_first() {
        let http = |port: u16| format!("[publish.http]\nlisten = \"127.0.0.1:{port}\"\n");
        let (none, one, two) = (plan(X, "", None), plan(X, &http(8080), None), plan(X, &http(8081), None));
        let publishers = |changes: Vec<Change>| -> Vec<&'static str> {
            changes
                .iter()
                .filter_map(|change| match change {
                    Change::StopPublisher(_) => Some("stop"),
                    Change::StartPublisher(_) => Some("start"),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(publishers(diff(&none, &one)), ["start"]);
        assert_eq!(publishers(diff(&one, &two)), ["stop", "start"]);
        assert_eq!(publishers(diff(&two, &none)), ["stop"]);
    }
}
