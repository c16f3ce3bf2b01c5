//! What has to be done to come from one plan to another: plain data, stops first.

use std::mem::discriminant;

use super::{GatewayPlan, PublisherPlan};
use crate::model::{Device, DeviceId, Directory, Tag};
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

/// The same for people, a line each: `+` is new, `-` goes, `~` is another. Empty only where nothing changes.
pub fn describe(old: &GatewayPlan, new: &GatewayPlan) -> Vec<String> {
    let restart = needs_restart(old, new).into_iter();
    let mut lines: Vec<String> =
        restart.map(|what| format!("~ {what} (needs a restart of the gateway)")).collect();
    lines.extend(describe_tasks(old, new));
    let (before, now) = (&*old.directory, &*new.directory);
    let named = |directory: &Directory, name: &str| directory.devices().iter().any(|d| &*d.name == name);
    let tags = |directory: &Directory, device: &Device| directory.tags_of(device.id).count();
    for device in before.devices().iter().filter(|device| !named(now, &device.name)) {
        lines.push(format!("- device {} ({} tags)", device.name, tags(before, device)));
    }
    for device in now.devices() {
        if !named(before, &device.name) {
            lines.push(format!("+ device {} ({} tags)", device.name, tags(now, device)));
        } else if outline(before, device.id) != outline(now, device.id) {
            lines.push(format!("~ device {}", device.name));
        }
    }
    // Those of a device that is new or gone are told with it.
    let in_both = |tag: &&Tag| {
        let device = tag.path.split_once('/').map_or("", |(device, _)| device);
        named(before, device) && named(now, device)
    };
    for tag in before.tags().iter().filter(in_both) {
        match now.find(&tag.path) {
            None => lines.push(format!("- tag {}", tag.path)),
            Some(other) if told(before, tag) != told(now, other) => lines.push(format!("~ tag {}", tag.path)),
            Some(_) => {}
        }
    }
    let is_new = |tag: &&Tag| before.find(&tag.path).is_none();
    lines.extend(now.tags().iter().filter(in_both).filter(is_new).map(|tag| format!("+ tag {}", tag.path)));
    if lines.is_empty() && before != now {
        lines.push("~ the order of devices or tags".to_owned());
    }
    lines
}

/// What the diff says of links and publishers.
fn describe_tasks(old: &GatewayPlan, new: &GatewayPlan) -> impl Iterator<Item = String> {
    let has_link = |plan: &GatewayPlan, name: &str| plan.links.iter().any(|link| link.name == name);
    let publishes = |plan: &GatewayPlan, name: &str| plan.publishers.iter().any(|p| p.name == name);
    let line = move |change| match change {
        Change::StopLink(name) => (!has_link(new, &name)).then(|| format!("- link {name}")),
        Change::StopPublisher(name) => (!publishes(new, &name)).then(|| format!("- publisher {name}")),
        Change::StartLink(link) if has_link(old, &link.name) => {
            Some(format!("~ link {} (opened anew)", link.name))
        }
        Change::StartLink(link) => Some(format!("+ link {}", link.name)),
        Change::Replan(link) => Some(format!("~ link {}", link.name)),
        Change::StartPublisher(publisher) if publishes(old, &publisher.name) => {
            Some(format!("~ publisher {} (connected anew)", publisher.name))
        }
        Change::StartPublisher(publisher) => Some(format!("+ publisher {}", publisher.name)),
    };
    diff(old, new).into_iter().filter_map(line)
}

/// What is told of a device beside its tags.
fn outline(directory: &Directory, device: DeviceId) -> impl PartialEq {
    let tables = directory.tables().iter().filter(|table| table.device == device).collect::<Vec<_>>();
    (directory.device(device), directory.plate(device), directory.template(device), tables)
}

/// What is told of a tag, and how urgent it is.
fn told<'a>(directory: &'a Directory, tag: &'a Tag) -> impl PartialEq + 'a {
    let alarm = directory.alarms().iter().find(|alarm| alarm.source == tag.id);
    (tag, directory.labels(tag.id), directory.class(tag.id), alarm)
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
    fn whatever_is_told_of_a_tag_or_a_device_is_a_difference_that_is_said() {
        let old = plan(X, "", None);
        for (tag, says) in [
            (
                "x = { at = \"holding:1\", type = \"u16\", labels = { 0 = \"off\", 1 = \"on\" } }\n",
                "~ tag one/x",
            ),
            ("x = { at = \"holding:1\", type = \"u16\", class = \"critical\" }\n", "~ tag one/x"),
            ("x = { at = \"holding:1\", type = \"u16\", unit = \"bar\" }\n", "~ tag one/x"),
            ("x = { at = \"holding:1\", type = \"u16\", deadband = 2.0 }\n", "~ link a"),
        ] {
            let new = plan(tag, "", Some(&old.directory));
            let lines = describe(&old, &new);
            assert!(lines.iter().any(|line| line == says), "{tag}: {lines:?}");
        }
        let more = "[[device]]\nname = \"three\"\nlink = \"b\"\nunit = 3\nscan = \"fast\"\n[device.tag]\n\
                    a = { at = \"holding:1\", type = \"u16\" }\nb = { at = \"holding:2\", type = \"u16\" }\n";
        let new = plan(X, more, Some(&old.directory));
        assert_eq!(describe(&old, &new), ["~ link b", "+ device three (2 tags)"]);
        assert_eq!(describe(&new, &old), ["~ link b", "- device three (2 tags)"]);
        assert_eq!(describe(&old, &plan(X, "", Some(&old.directory))), [""; 0]);
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
