//! `/api/v1/history`: what was asked for, read from the store, as JSON or CSV.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::view::{Shown, quality, reason};
use crate::model::{DataType, Period, Sample, Tag, TagId, Timestamp, rfc3339};
use crate::publishers::publisher::Context;
use crate::store::HistoryError;
use crate::store::history::{Ask, Bin, Bins, Lane, Page, Place};

/// The query of the address, as it came.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    tag: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    aggregate: Option<String>,
    interval: Option<String>,
    format: Option<String>,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) content_type: &'static str,
    pub(super) body: String,
    /// The address of the next page.
    pub(super) next: Option<String>,
}

/// Why nothing is sent.
#[derive(Debug, PartialEq)]
pub(super) enum Refused {
    /// 400
    Wrong(String),
    /// 404
    Unknown(String),
    /// 503
    NotNow(String),
}

const LIMIT: usize = 1000;
/// Most samples or intervals in one answer.
const MOST: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Aggregate {
    Min,
    Max,
    Average,
    Count,
}

#[derive(Debug, Clone)]
struct Wanted {
    tag: Tag,
    from: Timestamp,
    /// Not included.
    to: Timestamp,
    limit: usize,
    after: Option<Place>,
    /// With the width of the intervals in microseconds.
    aggregate: Option<(Aggregate, u64)>,
    csv: bool,
}

#[derive(Debug, Serialize)]
struct Samples<'a> {
    tag: &'a str,
    #[serde(rename = "type")]
    kind: DataType,
    unit: Option<&'a str>,
    from: String,
    to: Option<String>,
    samples: Vec<SampleView>,
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct SampleView {
    time: String,
    value: Option<Shown>,
    quality: &'static str,
    reason: Option<String>,
    /// Whether `time` is from a synchronised clock.
    synchronised: bool,
}

#[derive(Debug, Serialize)]
struct Intervals<'a> {
    tag: &'a str,
    unit: Option<&'a str>,
    aggregate: &'a str,
    intervals: Vec<BinView>,
}

#[derive(Debug, Serialize)]
struct BinView {
    from: String,
    to: String,
    value: Option<Shown>,
    /// Samples that count, and samples that do not.
    good: u64,
    not_good: u64,
}

/// Reads what is asked for.
pub(super) async fn answer(cx: &Context, query: Query, accept: Option<&str>) -> Result<Answer, Refused> {
    if !cx.store.keeps_history() {
        return Err(Refused::Unknown(HistoryError::Off.to_string()));
    }
    let wanted = wanted(cx, &query, accept)?;
    match wanted.aggregate {
        None => samples(cx, &wanted).await,
        Some((aggregate, width)) => intervals(cx, &wanted, aggregate, width).await,
    }
}

fn wanted(cx: &Context, query: &Query, accept: Option<&str>) -> Result<Wanted, Refused> {
    let wrong = |why: String| Err(Refused::Wrong(why));
    let Some(path) = &query.tag else {
        return wrong("write the tag, as `?tag=pump-1/flow`".into());
    };
    let Some(tag) = cx.directory.now().find(path).cloned() else {
        return Err(Refused::Unknown("there is no such tag".into()));
    };
    let now = cx.clock.now();
    let time = |name: &str, text: &Option<String>, default: Timestamp| match text {
        None => Ok(default),
        Some(text) => time(text).ok_or_else(|| {
            Refused::Wrong(format!(
                "`{name}` is no time: write it as 2026-11-25T19:00:00Z (a `+` in an address is %2B), or in \
                 microseconds since 1970"
            ))
        }),
    };
    // Intervals need an end: now, this moment included. Samples do not: a device may stamp ahead of our clock.
    let end = if query.aggregate.is_some() { now.0.saturating_add(1) } else { i64::MAX };
    let (from, to) = (time("from", &query.from, Timestamp(0))?, time("to", &query.to, Timestamp(end))?);
    if from > to {
        return wrong("`from` is after `to`".into());
    }
    let limit = match &query.limit {
        None => LIMIT,
        Some(text) => match text.parse() {
            Ok(limit) if (1..=MOST).contains(&limit) => limit,
            _ => return wrong(format!("`limit` must be 1 to {MOST}")),
        },
    };
    let after = match &query.cursor {
        None => None,
        Some(text) => match place(text) {
            Some(place) => Some(place),
            None => return wrong("`cursor` is not one that was given with an answer".into()),
        },
    };
    let csv = match query.format.as_deref() {
        None => accept.is_some_and(|types| types.contains("text/csv")),
        Some("csv") => true,
        Some("json") => false,
        Some(_) => return wrong("`format` must be json or csv".into()),
    };
    let aggregate = match (query.aggregate.as_deref(), query.interval.as_deref()) {
        (None, None) => None,
        (None, Some(_)) => return wrong("`interval` needs an `aggregate`".into()),
        (Some(name), interval) => Some(aggregated(name, interval, &query.from, from, to, after)?),
    };
    Ok(Wanted { tag, from, to, limit, after, aggregate, csv })
}

fn aggregated(
    name: &str,
    interval: Option<&str>,
    written: &Option<String>,
    from: Timestamp,
    to: Timestamp,
    after: Option<Place>,
) -> Result<(Aggregate, u64), Refused> {
    let wrong = |why: String| Err(Refused::Wrong(why));
    let aggregate = match name {
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "average" => Aggregate::Average,
        "count" => Aggregate::Count,
        _ => return wrong("`aggregate` must be min, max, average or count".into()),
    };
    if written.is_none() || after.is_some() {
        return wrong("with an `aggregate` write `from`, and no `cursor`".into());
    }
    let width = match interval.map(str::parse::<Period>) {
        None => 0,
        Some(Ok(period)) if period.0.as_micros() > 0 => {
            u64::try_from(period.0.as_micros()).unwrap_or(u64::MAX)
        }
        Some(Ok(_)) => return wrong("`interval` cannot be 0".into()),
        Some(Err(why)) => return wrong(format!("`interval`: {why}")),
    };
    if Bins::count(from, to, width) > MOST as u64 {
        return wrong(format!(
            "that is more than {MOST} intervals: write a longer `interval` or a later `from`"
        ));
    }
    Ok((aggregate, width))
}

/// RFC 3339, or whole microseconds since 1970.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().map(Timestamp).ok().or_else(|| rfc3339::parse(text))
}

fn cursor(place: Place) -> String {
    format!("{}.{}.{}", place.at.0, place.seq, place.nth)
}

fn place(cursor: &str) -> Option<Place> {
    let mut parts = cursor.split('.');
    let place = Place {
        at: Timestamp(parts.next()?.parse().ok()?),
        seq: parts.next()?.parse().ok()?,
        nth: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(place)
}

async fn page(cx: &Context, tag: TagId, wanted: &Wanted, after: Option<Place>) -> Result<Page, Refused> {
    let ask = Ask {
        lanes: vec![Lane { tag, after }],
        low: wanted.from,
        high: Timestamp(wanted.to.0.saturating_sub(1)),
        newest_first: false,
        most: wanted.limit,
    };
    let pages = cx.store.history(ask).await.map_err(|why| Refused::NotNow(why.to_string()))?;
    pages.into_iter().next().ok_or_else(|| Refused::NotNow(HistoryError::Unavailable.to_string()))
}

async fn samples(cx: &Context, wanted: &Wanted) -> Result<Answer, Refused> {
    let page = page(cx, wanted.tag.id, wanted, wanted.after).await?;
    let next = page.next.map(cursor);
    let address = next.as_ref().map(|cursor| {
        let (from, to) = (wanted.from.0, wanted.to.0);
        let format = if wanted.csv { "csv" } else { "json" };
        let tag: String = url::form_urlencoded::byte_serialize(wanted.tag.path.as_bytes()).collect();
        let limit = wanted.limit;
        format!("/api/v1/history?tag={tag}&from={from}&to={to}&limit={limit}&format={format}&cursor={cursor}")
    });
    if wanted.csv {
        let mut body = String::from("time,value,quality,synchronised\r\n");
        for sample in &page.samples {
            let value = sample.value.as_ref().map_or(String::new(), |value| field(&value.to_string()));
            let _ = write!(
                body,
                "{},{value},{},{}\r\n",
                rfc3339::text(sample.at),
                field(&sample.quality.to_string()),
                sample.stamp.is_synchronised()
            );
        }
        return Ok(Answer { content_type: CSV, body, next: address });
    }
    let view = |sample: Sample| SampleView {
        time: rfc3339::text(sample.at),
        value: sample.value.map(Shown),
        quality: quality(sample.quality),
        reason: reason(sample.quality),
        synchronised: sample.stamp.is_synchronised(),
    };
    let all = Samples {
        tag: &wanted.tag.path,
        kind: wanted.tag.kind,
        unit: wanted.tag.unit.as_deref(),
        from: rfc3339::text(wanted.from),
        to: (wanted.to.0 != i64::MAX).then(|| rfc3339::text(wanted.to)),
        samples: page.samples.into_iter().map(view).collect(),
        next,
    };
    Ok(Answer { content_type: JSON, body: json(&all)?, next: address })
}

async fn intervals(
    cx: &Context,
    wanted: &Wanted,
    aggregate: Aggregate,
    width: u64,
) -> Result<Answer, Refused> {
    let mut bins = Bins::new(wanted.from, wanted.to, width, false);
    let mut after = None;
    let whole = Wanted { limit: MOST, ..wanted.clone() };
    loop {
        let page = page(cx, wanted.tag.id, &whole, after).await?;
        page.samples.iter().for_each(|sample| bins.take(sample));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let value = |bin: &Bin| match aggregate {
        Aggregate::Min => bin.min.clone(),
        Aggregate::Max => bin.max.clone(),
        Aggregate::Average => bin.average().map(crate::model::Value::F64),
        Aggregate::Count => Some(crate::model::Value::U64(bin.good)),
    };
    let bins = bins.done();
    if wanted.csv {
        let mut body = String::from("from,to,value,good,not_good\r\n");
        for bin in &bins {
            let value = value(bin).map_or(String::new(), |value| field(&value.to_string()));
            let (from, to) = (rfc3339::text(bin.from), rfc3339::text(bin.to));
            let _ = write!(body, "{from},{to},{value},{},{}\r\n", bin.good, bin.not_good);
        }
        return Ok(Answer { content_type: CSV, body, next: None });
    }
    let view = |bin: &Bin| BinView {
        from: rfc3339::text(bin.from),
        to: rfc3339::text(bin.to),
        value: value(bin).map(Shown),
        good: bin.good,
        not_good: bin.not_good,
    };
    let all = Intervals {
        tag: &wanted.tag.path,
        unit: wanted.tag.unit.as_deref(),
        aggregate: match aggregate {
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Average => "average",
            Aggregate::Count => "count",
        },
        intervals: bins.iter().map(view).collect(),
    };
    Ok(Answer { content_type: JSON, body: json(&all)?, next: None })
}

const JSON: &str = "application/json";
const CSV: &str = "text/csv; charset=utf-8; header=present";

fn json(all: &impl Serialize) -> Result<String, Refused> {
    serde_json::to_string(all).map_err(|why| Refused::NotNow(why.to_string()))
}

/// A field of RFC 4180: in quotes where it has to be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_the_place_that_it_is() {
        for at in [i64::MIN, -1, 0, i64::MAX] {
            let here = Place { at: Timestamp(at), seq: u64::MAX, nth: 7 };
            assert_eq!(place(&cursor(here)), Some(here));
        }
        for bad in ["", "1", "1.2", "1.2.3.4", "a.b.c", "1.-2.3", "1..3"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_field_is_quoted_where_it_has_to_be() {
        assert_eq!(field("12.5"), "12.5");
        assert_eq!(field("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
    }

    #[test]
    fn a_time_is_a_date_or_microseconds() {
        assert_eq!(time("1760000000000000"), Some(Timestamp(1_760_000_000_000_000)));
        assert_eq!(time("2025-10-09T08:53:20Z"), Some(Timestamp(1_760_000_000_000_000)));
        assert_eq!(time("yesterday"), None);
    }
}
