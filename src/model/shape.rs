//! What tags form together: templates of devices of a kind, and tables.

use std::sync::Arc;

use super::{DataType, DeviceId, TagId};

/// A kind of device: what every instance of it has (a UDT; a Template in Sparkplug).
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// The name of the profile.
    pub name: Arc<str>,
    /// Name and type of each member, in the order of the profile.
    pub members: Vec<(Arc<str>, DataType)>,
}

impl Template {
    /// Another one whenever the members are others.
    pub fn version(&self) -> String {
        let mut sum = 0;
        for (name, kind) in &self.members {
            for part in [name, &*kind.to_string(), ";"] {
                sum = crc32c::crc32c_append(sum, part.as_bytes());
                sum = crc32c::crc32c_append(sum, b"\0");
            }
        }
        format!("{sum:08x}")
    }
}

/// Tags of a device in rows and columns (a DataSet in Sparkplug).
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Whose tags.
    pub device: DeviceId,
    /// Its name within the device; no tag has it.
    pub name: Arc<str>,
    /// Name and type of each column.
    pub columns: Vec<(Arc<str>, DataType)>,
    /// Row after row, each as long as `columns`.
    pub cells: Vec<TagId>,
}

impl Table {
    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = &[TagId]> {
        self.cells.chunks(self.columns.len().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_with_another_member_or_type_has_another_version() {
        let template = |members: &[(&str, DataType)]| Template {
            name: "meter".into(),
            members: members.iter().map(|(name, kind)| ((*name).into(), *kind)).collect(),
        };
        let one = template(&[("power", DataType::F32)]).version();
        assert_eq!(one, template(&[("power", DataType::F32)]).version());
        for other in [
            &[("power", DataType::F64)][..],
            &[("powe", DataType::F32)],
            &[("power", DataType::F32), ("a", DataType::F32)],
        ] {
            assert_ne!(one, template(other).version());
        }
    }
}
