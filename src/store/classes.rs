//! A batch to batches of one class each, so that the urgent ones need not wait for the others.

use crate::model::{Batch, Class, DeviceState, Directory};

/// Hands out a batch in parts of one class each, the most urgent first. Whether the device answers is said by
/// one class alone, its most urgent: so births and deaths keep their order, and the parts of other classes
/// say `Unknown`. `changed`: the device's state is another than before.
///
/// Where a batch has one class, which is the usual case, it goes as it is and nothing is allocated.
pub(super) fn split(
    mut batch: Batch,
    directory: &Directory,
    changed: bool,
    mut give: impl FnMut(Batch, Class),
) {
    let lead = directory.lead(batch.device);
    if !directory.is_mixed(batch.device) {
        give(batch, lead);
        return;
    }
    let class_of = |tag| directory.class(tag);
    let has = |batch: &Batch, class| batch.samples.iter().any(|s| class_of(s.tag) == class);
    if !batch.samples.is_empty() && !has(&batch, lead) {
        if changed {
            give(Batch { samples: Vec::new(), ..batch }, lead);
        }
        batch.state = DeviceState::Unknown;
    }
    let first = batch.samples.first().map_or(lead, |s| class_of(s.tag));
    if batch.samples.iter().all(|s| class_of(s.tag) == first) {
        give(batch, first);
        return;
    }
    for class in Class::ALL {
        let samples: Vec<_> = batch.samples.iter().filter(|s| class_of(s.tag) == class).cloned().collect();
        if !samples.is_empty() {
            let state = if class == lead { batch.state } else { DeviceState::Unknown };
            give(Batch { device: batch.device, state, samples }, class);
        }
    }
}

/// Which classes the batches of a block have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Classes(u8);

impl Classes {
    /// Of a block that does not say: written before there were classes.
    pub(super) const NORMAL: Classes = Classes(1 << Class::Normal as u8);

    /// Whether one is among them.
    pub(super) fn has(self, class: Class) -> bool {
        self.0 & 1 << class as u8 != 0
    }

    pub(super) fn with(self, class: Class) -> Classes {
        Classes(self.0 | 1 << class as u8)
    }

    /// As a number: 0, as before there were classes, where all is normal.
    pub(super) fn bits(self) -> u8 {
        if self == Classes::NORMAL { 0 } else { self.0 }
    }

    /// See `bits`.
    pub(super) fn from_bits(bits: u8) -> Classes {
        if bits == 0 { Classes::NORMAL } else { Classes(bits & 0b111) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DataType, Device, DeviceId, Sample, Tag, TagId, Timestamp, Value};

    fn directory(classes: &[Class]) -> Directory {
        let id = DeviceId(0);
        let device = Device::plain(id, "d", "l");
        let tag = |i: usize| Tag::plain(TagId(i as u32), id, &format!("d/{i}"), DataType::Bool);
        let named = classes.iter().enumerate().map(|(i, class)| (TagId(i as u32), *class)).collect();
        Directory::new("g", "n", vec![device], (0..classes.len()).map(tag).collect()).with_classes(named)
    }

    fn parts(classes: &[Class], tags: &[u32], changed: bool) -> Vec<(Class, DeviceState, Vec<u32>)> {
        let sample = |tag: &u32| Sample::good(TagId(*tag), Value::Bool(true), Timestamp(1));
        let batch = Batch {
            device: DeviceId(0),
            state: DeviceState::Alive,
            samples: tags.iter().map(sample).collect(),
        };
        let directory = directory(classes);
        let mut parts = Vec::new();
        split(batch, &directory, changed, |batch, class| {
            assert_eq!(directory.class_of(&batch), class);
            parts.push((class, batch.state, batch.samples.iter().map(|s| s.tag.0).collect()));
        });
        parts
    }

    #[test]
    fn a_device_of_one_class_goes_as_it_is_with_its_state() {
        use Class::{Critical, Normal};
        use DeviceState::Alive;
        assert_eq!(parts(&[Normal, Normal], &[0, 1], true), [(Normal, Alive, vec![0, 1])]);
        assert_eq!(parts(&[Critical, Critical], &[1, 0], false), [(Critical, Alive, vec![1, 0])]);
        assert_eq!(parts(&[Critical], &[], true), [(Critical, Alive, vec![])]);
    }

    #[test]
    fn a_mixed_batch_is_split_and_the_most_urgent_class_of_the_device_alone_says_its_state() {
        use Class::{Critical, Diagnostic, Normal};
        use DeviceState::{Alive, Unknown};
        let classes = [Diagnostic, Normal, Critical, Normal];
        assert_eq!(
            parts(&classes, &[0, 1, 2, 3], false),
            [(Critical, Alive, vec![2]), (Normal, Unknown, vec![1, 3]), (Diagnostic, Unknown, vec![0])]
        );
        assert_eq!(parts(&classes, &[3, 1], false), [(Normal, Unknown, vec![3, 1])]);
        assert_eq!(parts(&classes, &[], true), [(Critical, Alive, vec![])]);
        // A change of state is never left out, and comes before the samples that came with it.
        assert_eq!(
            parts(&classes, &[0, 1], true),
            [(Critical, Alive, vec![]), (Normal, Unknown, vec![1]), (Diagnostic, Unknown, vec![0])]
        );
    }
}
