//! What the API says of tags: plain data, made from the image.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{DataType, Directory, Quality, Sample, Tag, Timestamp};
use crate::publishers::publisher::Context;
pub(super) use crate::publishers::words::{Shown, quality, reason};

/// `/api/v1/tags`
#[derive(Debug, Serialize)]
pub(super) struct Tags<'a> {
    now: i64,
    tags: Vec<TagView<'a>>,
}

/// One tag: what it is and its latest sample.
#[derive(Debug, Serialize)]
pub(super) struct TagView<'a> {
    path: &'a str,
    device: &'a str,
    tag: &'a str,
    #[serde(rename = "type")]
    kind: DataType,
    unit: Option<&'a str>,
    description: Option<&'a str>,
    /// What its values are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    writable: bool,
    low: Option<f64>,
    high: Option<f64>,
    value: Option<Shown>,
    /// `good`, `uncertain`, `bad`.
    quality: &'static str,
    /// Why it is not good.
    reason: Option<String>,
    /// When the device said it; `null` before the first answer.
    at: Option<i64>,
    /// Whether `at` is from a synchronised clock.
    synchronised: bool,
}

/// All tags with their latest samples.
pub(super) fn tags<'a>(cx: &Context, directory: &'a Directory) -> Tags<'a> {
    let tags = directory.tags().iter().map(|tag| view(cx, directory, tag)).collect();
    Tags { now: cx.clock.now().millis(), tags }
}

/// One tag by `device/tag`.
pub(super) fn tag<'a>(cx: &Context, directory: &'a Directory, path: &str) -> Option<TagView<'a>> {
    directory.find(path).map(|tag| view(cx, directory, tag))
}

fn view<'a>(cx: &Context, directory: &Directory, tag: &'a Tag) -> TagView<'a> {
    let sample = cx.store.latest(tag.id);
    let at = sample.as_ref().map(|s| s.at);
    let synchronised = sample.as_ref().is_some_and(|s| s.stamp.is_synchronised());
    let quality =
        sample.as_ref().map_or(Quality::Bad(crate::model::Bad::Waiting), |sample: &Sample| sample.quality);
    TagView {
        path: &tag.path,
        device: tag.path.strip_suffix(&*tag.name).map_or("", |device| device.trim_end_matches('/')),
        tag: &tag.name,
        kind: tag.kind,
        unit: tag.unit.as_deref(),
        description: tag.description.as_deref(),
        labels: directory.labels(tag.id).map(|l| l.iter().map(|(v, name)| (v, name.to_string())).collect()),
        writable: tag.access.is_writable(),
        low: tag.low.filter(|v| v.is_finite()),
        high: tag.high.filter(|v| v.is_finite()),
        value: sample.and_then(|s| s.value).map(Shown),
        quality: self::quality(quality),
        reason: reason(quality),
        at: at.map(Timestamp::millis),
        synchronised,
    }
}
