//! The topics of the `spBv1.0` namespace (Sparkplug 3.0, chapter 4).

use std::sync::Arc;

/// The topics of one edge node.
#[derive(Debug, Clone)]
pub struct Topics {
    group: Arc<str>,
    node: Arc<str>,
}

/// Whom a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// NCMD.
    Node,
    /// DCMD, with the device's name.
    Device(&'a str),
}

impl Topics {
    /// Names are checked by the configuration: none holds `+`, `#` or `/` (tck-id-topic-structure-namespace-a).
    pub fn new(group: &Arc<str>, node: &Arc<str>) -> Topics {
        Topics { group: group.clone(), node: node.clone() }
    }

    /// `spBv1.0/group/KIND/node`.
    pub fn node(&self, kind: &str) -> Arc<str> {
        format!("spBv1.0/{}/{kind}/{}", self.group, self.node).into()
    }

    /// `spBv1.0/group/KIND/node/device`.
    pub fn device(&self, kind: &str, device: &str) -> Arc<str> {
        format!("spBv1.0/{}/{kind}/{}/{device}", self.group, self.node).into()
    }

    /// Whom a command came for; `None` when it is none of ours.
    pub fn target<'a>(&self, topic: &'a str) -> Option<Target<'a>> {
        let mut parts = topic.split('/');
        if parts.next() != Some("spBv1.0") || parts.next() != Some(&*self.group) {
            return None;
        }
        let kind = parts.next()?;
        if parts.next() != Some(&*self.node) {
            return None;
        }
        match (kind, parts.next(), parts.next()) {
            ("NCMD", None, None) => Some(Target::Node),
            ("DCMD", Some(device), None) if !device.is_empty() => Some(Target::Device(device)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_topic_names_node_or_device_and_nothing_else_does() {
        let topics = Topics::new(&"g".into(), &"n".into());
        assert_eq!(topics.target(&topics.node("NCMD")), Some(Target::Node));
        assert_eq!(topics.target(&topics.device("DCMD", "d")), Some(Target::Device("d")));
        for other in [
            "",
            "spBv1.0/g/NCMD/x",
            "spBv1.0/x/NCMD/n",
            "spBv1.0/g/DCMD/n",
            "spBv1.0/g/NDATA/n",
            "spBv1.0/g/DCMD/n/d/e",
        ] {
            assert_eq!(topics.target(other), None, "{other}");
        }
    }
}
