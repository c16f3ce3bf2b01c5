//! What the JSON says of a sample.

use crate::model::Sample;
use crate::publishers::words::{self, Shown};

use super::pattern::{encode, quality};

/// Value, quality, time and what is special, to the closing brace.
pub(super) fn body(sample: &Sample, historical: bool, into: &mut Vec<u8>) {
    into.extend_from_slice(b"\"value\":");
    match &sample.value {
        Some(value) => encode(&Shown(value.clone()), into),
        None => into.extend_from_slice(b"null"),
    }
    let quality = quality(sample);
    into.extend_from_slice(b",\"quality\":");
    encode(words::quality(quality), into);
    if !quality.is_good() {
        into.extend_from_slice(b",\"reason\":");
        encode(&words::reason(quality).unwrap_or_default(), into);
    }
    into.extend_from_slice(b",\"timestamp\":");
    encode(&sample.at.millis(), into);
    if historical {
        into.extend_from_slice(b",\"historical\":true");
    }
    if !sample.stamp.is_synchronised() {
        into.extend_from_slice(b",\"synchronised\":false");
    }
    into.push(b'}');
}
