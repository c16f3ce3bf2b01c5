//! HistoryRead: from the library's requests to pages of the store, and back (Part 11 §6.5, Part 13 §5).

use std::sync::Arc;

use opcua::server::ContinuationPoint;
use opcua::server::node_manager::HistoryNode;
use opcua::types::{
    DataValue, DateTime, HistoryData, Identifier, NumericRange, ObjectId, ReadProcessedDetails,
    ReadRawModifiedDetails, StatusCode, TimestampsToReturn, Variant,
};

use tokio::sync::watch;

use super::value;
use crate::model::{Directory, Sample, TagId, Timestamp};
use crate::publishers::opcua::history::{self, Domain, Intervals, Rules};
use crate::publishers::opcua::status::Status;
use crate::store::history::{Ask, Bin, Bins, Lane, Page, Place};
use crate::store::{HistoryError, Store};

/// Nodes in one call, and continuation points of one session. A point holds a place and nothing else.
pub(super) const MOST_NODES: usize = 100;
/// Values in the answer to one call.
pub(super) const MOST_VALUES: usize = 10_000;
/// The aggregates that are made.
pub(super) const SERVED: [ObjectId; 4] = [
    ObjectId::AggregateFunction_Average,
    ObjectId::AggregateFunction_Minimum,
    ObjectId::AggregateFunction_Maximum,
    ObjectId::AggregateFunction_Count,
];
/// Intervals of one node in all.
const MOST_INTERVALS: u64 = 10_000_000;

/// Reads what the store keeps.
pub(super) struct History {
    store: Arc<Store>,
    directory: watch::Receiver<Arc<Directory>>,
}

/// Where a node's raw values go on.
#[derive(Debug, Clone)]
struct RawPoint {
    domain: Domain,
    after: Option<Place>,
    /// Values that may still come, where the client gave no end.
    left: Option<u32>,
    /// All values were given, the bound at the end was not.
    only_bound: bool,
}

/// Which interval comes next.
struct ProcessedPoint(u64);

/// One node of a call.
struct Reading {
    at: usize,
    tag: TagId,
    point: RawPoint,
    first: bool,
    values: Vec<DataValue>,
    next: Option<RawPoint>,
}

impl History {
    pub(super) fn new(store: Arc<Store>, directory: watch::Receiver<Arc<Directory>>) -> History {
        History { store, directory }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.store.keeps_history()
    }

    /// The tag of a node, or why it has no history.
    fn tag(&self, node: &HistoryNode) -> Result<TagId, StatusCode> {
        if !matches!(node.index_range(), NumericRange::None) {
            return Err(StatusCode::BadIndexRangeNoData);
        }
        if !node.data_encoding().is_null() {
            return Err(StatusCode::BadDataEncodingUnsupported);
        }
        let path = match &node.node_id().identifier {
            Identifier::String(path) => path.as_ref(),
            _ => "",
        };
        self.directory.borrow().find(path).map(|tag| tag.id).ok_or(StatusCode::BadHistoryOperationUnsupported)
    }

    async fn ask(&self, lanes: Vec<Lane>, domain: Domain, most: usize) -> Result<Vec<Page>, StatusCode> {
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let Domain { low, high, backward } = domain;
        let ask = Ask { lanes, low, high, newest_first: backward, most };
        self.store.history(ask).await.map_err(|why| match why {
            HistoryError::Off => StatusCode::BadHistoryOperationUnsupported,
            HistoryError::Unavailable => StatusCode::BadResourceUnavailable,
        })
    }

    // ---- raw ----

    pub(super) async fn raw(
        &self,
        details: &ReadRawModifiedDetails,
        nodes: &mut [&mut &mut HistoryNode],
        timestamps: TimestampsToReturn,
    ) -> Result<(), StatusCode> {
        if !self.is_kept() || details.is_read_modified {
            return Err(StatusCode::BadHistoryOperationUnsupported);
        }
        source_time(timestamps)?;
        let given = !details.start_time.is_null() && !details.end_time.is_null();
        let backward = details.start_time.is_null() || given && details.end_time < details.start_time;
        let start = value::timestamp(details.start_time, !backward);
        let end = value::timestamp(details.end_time, !backward);
        let domain = Domain::new(start, end, details.num_values_per_node, backward)
            .ok_or(StatusCode::BadHistoryOperationInvalid)?;
        let open = start.is_none() || end.is_none();

        let mut readings = Vec::new();
        for (at, node) in nodes.iter_mut().enumerate() {
            match self.begin(node, domain, open.then_some(details.num_values_per_node)) {
                Ok((tag, point, first)) => {
                    readings.push(Reading { at, tag, point, first, values: Vec::new(), next: None });
                }
                Err(status) => node.set_status(status),
            }
        }
        self.read_raw(details, domain, (start, end), &mut readings).await?;
        for reading in readings {
            let Some(node) = nodes.get_mut(reading.at) else { continue };
            // Part 11 §6.5.3.2: no data is good, too.
            node.set_status(if reading.values.is_empty() {
                StatusCode::GoodNoData
            } else {
                StatusCode::Good
            });
            node.set_next_continuation_point(reading.next.map(|next| ContinuationPoint::new(Box::new(next))));
            node.set_result(HistoryData { data_values: Some(reading.values) });
        }
        Ok(())
    }

    fn begin(
        &self,
        node: &HistoryNode,
        domain: Domain,
        left: Option<u32>,
    ) -> Result<(TagId, RawPoint, bool), StatusCode> {
        let tag = self.tag(node)?;
        let Some(point) = node.continuation_point() else {
            return Ok((tag, RawPoint { domain, after: None, left, only_bound: false }, true));
        };
        let point = point.get::<RawPoint>().filter(|point| point.domain == domain);
        point.map(|point| (tag, point.clone(), false)).ok_or(StatusCode::BadContinuationPointInvalid)
    }

    async fn read_raw(
        &self,
        details: &ReadRawModifiedDetails,
        domain: Domain,
        (start, end): (Option<Timestamp>, Option<Timestamp>),
        readings: &mut [Reading],
    ) -> Result<(), StatusCode> {
        if readings.is_empty() {
            return Ok(());
        }
        let now = DateTime::now();
        let share = (MOST_VALUES / readings.len()).max(2);
        let wanted = details.num_values_per_node as usize;
        let left =
            readings.iter().filter_map(|r| r.point.left).min().map_or(usize::MAX, |left| left as usize);
        let most = if wanted == 0 { share } else { wanted.min(share) }.min(left).max(1);
        if details.return_bounds {
            self.first_bounds(domain, start, readings).await?;
        }
        let bounds = readings.iter().map(|r| r.values.len()).max().unwrap_or(0);
        let room = most.saturating_sub(bounds);
        let is_read = |r: &Reading| room > 0 && !r.point.only_bound;
        let lanes = readings.iter().filter(|r| is_read(r)).map(|r| Lane { tag: r.tag, after: r.point.after });
        let mut pages = self.ask(lanes.collect(), domain, room).await?.into_iter();
        for reading in readings.iter_mut() {
            let mut ended = reading.point.only_bound;
            if let Some(page) = if is_read(reading) { pages.next() } else { None } {
                reading.values.extend(page.samples.iter().map(|sample| data_value(sample, now)));
                ended = page.next.is_none();
                reading.point.after = page.next.or(reading.point.after);
            }
            let given = u32::try_from(reading.values.len()).unwrap_or(u32::MAX);
            let left = reading.point.left.map(|left| left.saturating_sub(given));
            if !ended && left != Some(0) {
                reading.next = Some(RawPoint { left, ..reading.point.clone() });
            }
        }
        if details.return_bounds {
            self.last_bounds(domain, start, end, readings, most).await?;
        }
        Ok(())
    }

    /// The value before the start, as time flows, where there is none at it (Part 11 §4.4).
    async fn first_bounds(
        &self,
        domain: Domain,
        start: Option<Timestamp>,
        readings: &mut [Reading],
    ) -> Result<(), StatusCode> {
        let Some(start) = start else { return Ok(()) };
        let outside = if domain.backward {
            Domain { low: start, high: Timestamp(i64::MAX), backward: false }
        } else {
            Domain { low: Timestamp(i64::MIN), high: start, backward: true }
        };
        let lanes = readings.iter().filter(|r| r.first).map(|r| Lane { tag: r.tag, after: None }).collect();
        let mut bounds = self.ask(lanes, outside, 1).await?.into_iter();
        let now = DateTime::now();
        for reading in readings.iter_mut().filter(|r| r.first) {
            match bounds.next().and_then(|page| page.samples.into_iter().next()) {
                Some(sample) if sample.at == start => {}
                Some(sample) => reading.values.push(data_value(&sample, now)),
                None => reading.values.push(no_bound(start)),
            }
        }
        Ok(())
    }

    /// The value at or after the end, behind the last page; where that is full, on a page of its own.
    async fn last_bounds(
        &self,
        domain: Domain,
        start: Option<Timestamp>,
        end: Option<Timestamp>,
        readings: &mut [Reading],
        most: usize,
    ) -> Result<(), StatusCode> {
        let (Some(start), Some(end)) = (start, end) else { return Ok(()) };
        let outside = if domain.backward {
            Domain { low: Timestamp(i64::MIN), high: end, backward: true }
        } else if start == end {
            Domain { low: history::next(end), high: Timestamp(i64::MAX), backward: false }
        } else {
            Domain { low: end, high: Timestamp(i64::MAX), backward: false }
        };
        let at_end = Some(value::date_time(end));
        let mut wants = Vec::with_capacity(readings.len());
        for reading in readings.iter_mut() {
            let is_end = |v: &DataValue| v.source_timestamp == at_end && !is_no_bound(v);
            let due = reading.next.is_none() && !(start == end && reading.values.iter().any(is_end));
            let full = reading.values.len() >= most;
            wants.push(due && !full);
            if due && full {
                reading.next = Some(RawPoint { only_bound: true, ..reading.point.clone() });
            }
        }
        let asked = readings.iter().zip(&wants).filter(|(_, wants)| **wants);
        let lanes = asked.map(|(r, _)| Lane { tag: r.tag, after: None }).collect();
        let mut bounds = self.ask(lanes, outside, 1).await?.into_iter();
        let now = DateTime::now();
        for (reading, _) in readings.iter_mut().zip(&wants).filter(|(_, wants)| **wants) {
            let bound = bounds.next().and_then(|page| page.samples.into_iter().next());
            reading.values.push(bound.map_or_else(|| no_bound(end), |sample| data_value(&sample, now)));
        }
        Ok(())
    }

    // ---- processed ----

    pub(super) async fn processed(
        &self,
        details: &ReadProcessedDetails,
        nodes: &mut [&mut &mut HistoryNode],
        timestamps: TimestampsToReturn,
    ) -> Result<(), StatusCode> {
        if !self.is_kept() {
            return Err(StatusCode::BadHistoryOperationUnsupported);
        }
        source_time(timestamps)?;
        let aggregates = details.aggregate_type.as_deref().unwrap_or_default();
        if aggregates.len() != nodes.len() {
            return Err(StatusCode::BadAggregateListMismatch);
        }
        let config = &details.aggregate_configuration;
        let rules = if config.use_server_capabilities_defaults {
            Rules::DEFAULT
        } else {
            Rules {
                uncertain_is_bad: config.treat_uncertain_as_bad,
                percent_bad: config.percent_data_bad,
                percent_good: config.percent_data_good,
            }
        };
        if !rules.are_valid() {
            return Err(StatusCode::BadAggregateConfigurationRejected);
        }
        let backward = details.end_time < details.start_time;
        let start = value::timestamp(details.start_time, !backward);
        let end = value::timestamp(details.end_time, !backward);
        let (Some(start), Some(end)) = (start, end) else {
            return Err(StatusCode::BadHistoryOperationInvalid);
        };
        let width = details.processing_interval * 1000.0;
        if start == end || !width.is_finite() || width < 0.0 || (width > 0.0 && width < 1.0) {
            return Err(StatusCode::BadInvalidArgument);
        }
        let intervals = Intervals { start, end, width: width.round() as u64 };
        if intervals.count() > MOST_INTERVALS {
            return Err(StatusCode::BadInvalidArgument);
        }
        let share = (MOST_VALUES / nodes.len().max(1)).max(1) as u64;
        for (node, aggregate) in nodes.iter_mut().zip(aggregates) {
            let read = match (aggregate.as_object_id(), self.tag(node)) {
                (_, Err(status)) => Err(status),
                (Ok(aggregate), Ok(tag)) if is_known(aggregate) => {
                    match node.continuation_point().map(|point| point.get::<ProcessedPoint>().map(|p| p.0)) {
                        Some(None) => Err(StatusCode::BadContinuationPointInvalid),
                        first => {
                            let first = first.flatten().unwrap_or(0);
                            let count = share.min(intervals.count().saturating_sub(first));
                            let bins = self.bins(tag, intervals, first, count, rules).await;
                            bins.map(|bins| (aggregate, bins, first + count))
                        }
                    }
                }
                _ => Err(StatusCode::BadAggregateNotSupported),
            };
            match read {
                Err(status) => node.set_status(status),
                Ok((aggregate, bins, next)) => {
                    let values =
                        bins.iter().map(|bin| aggregated(aggregate, bin, intervals, rules)).collect();
                    node.set_status(StatusCode::Good);
                    node.set_result(HistoryData { data_values: Some(values) });
                    let more = next < intervals.count();
                    let point = more.then(|| ContinuationPoint::new(Box::new(ProcessedPoint(next))));
                    node.set_next_continuation_point(point);
                }
            }
        }
        Ok(())
    }

    /// Some intervals of a tag, in the order of the request.
    async fn bins(
        &self,
        tag: TagId,
        intervals: Intervals,
        first: u64,
        count: u64,
        rules: Rules,
    ) -> Result<Vec<Bin>, StatusCode> {
        let part = intervals.part(first, count);
        let mut bins = Bins::new(part.from, part.to, intervals.width, !rules.uncertain_is_bad);
        let domain = Domain { low: part.low, high: part.high, backward: false };
        let mut after = None;
        loop {
            let pages = self.ask(vec![Lane { tag, after }], domain, MOST_VALUES).await?;
            let Some(page) = pages.into_iter().next() else { break };
            page.samples.iter().for_each(|sample| bins.take(sample));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut bins = bins.done();
        if intervals.is_backward() {
            bins.reverse();
        }
        Ok(bins)
    }
}

/// Only the time of the source is kept. Both is what most clients ask for: they get what there is.
fn source_time(wanted: TimestampsToReturn) -> Result<(), StatusCode> {
    match wanted {
        TimestampsToReturn::Source | TimestampsToReturn::Both => Ok(()),
        _ => Err(StatusCode::BadTimestampsToReturnInvalid),
    }
}

fn data_value(sample: &Sample, now: DateTime) -> DataValue {
    DataValue { server_timestamp: None, ..value::data_value(sample, now) }
}

/// A bound that does not exist (Part 11 §4.4).
fn no_bound(at: Timestamp) -> DataValue {
    let mut value = value::empty(Status::BAD_BOUND_NOT_FOUND);
    value.source_timestamp = Some(value::date_time(at));
    value
}

fn is_no_bound(value: &DataValue) -> bool {
    value.status == Some(value::code(Status::BAD_BOUND_NOT_FOUND))
}

/// The aggregates of Part 13 that are served.
fn is_known(aggregate: ObjectId) -> bool {
    SERVED.contains(&aggregate)
}

fn aggregated(aggregate: ObjectId, bin: &Bin, intervals: Intervals, rules: Rules) -> DataValue {
    let (at, partial) = intervals.stamp(bin);
    let status = rules.status(bin, partial);
    let value = match aggregate {
        ObjectId::AggregateFunction_Average => bin.average().map(Variant::Double),
        ObjectId::AggregateFunction_Minimum => bin.min.as_ref().map(value::variant),
        ObjectId::AggregateFunction_Maximum => bin.max.as_ref().map(value::variant),
        _ => Some(Variant::Int32(i32::try_from(bin.good).unwrap_or(i32::MAX))),
    };
    let mut result = match value {
        Some(value) if status != Status::BAD_NO_DATA => {
            DataValue { value: Some(value), status: Some(value::code(status)), ..DataValue::default() }
        }
        // A text is no number.
        None if status != Status::BAD_NO_DATA => value::empty(Status::BAD_AGGREGATE_INVALID_INPUTS),
        _ => value::empty(Status::BAD_NO_DATA),
    };
    result.source_timestamp = Some(value::date_time(at));
    result
}
