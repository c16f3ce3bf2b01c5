//! Which registers share a read: pure, by what each choice costs the line.
//!
//! A read has a price of its own (frames, silence, turnaround) and a price per register, so filling a gap
//! is right exactly when it is cheaper than another request. Tags of a slower scan class may ride in a
//! faster block where that saves line time: what counts is the cost of a read times how often it is made.

use std::time::Duration;

/// A value to be read: `start..end` in registers or bits, once every `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// First register or bit.
    pub start: u32,
    /// One past the last.
    pub end: u32,
    /// How often it is wanted.
    pub period: Duration,
    /// Whose it is; given back in [`Span::items`].
    pub index: usize,
}

/// One read: `start..end`, once every `period`, and the items that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// First register or bit.
    pub start: u32,
    /// One past the last.
    pub end: u32,
    /// The shortest period of its items.
    pub period: Duration,
    /// [`Item::index`] of each.
    pub items: Vec<usize>,
}

/// What a read may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most registers or bits in one read.
    pub most: u32,
    /// Most unused registers or bits in a row.
    pub gap: u32,
}

/// Covers all items of one table of one device; `cost` is the line time of a read of so many registers or
/// bits. An item longer than the limit gets a read of its own: whoever calls has refused it before.
pub fn plan(items: &[Item], limits: Limits, cost: impl Fn(u32) -> Duration) -> Vec<Span> {
    let cost = |count: u32| cost(count).as_secs_f64();
    let mut periods: Vec<Duration> = items.iter().map(|i| i.period).collect();
    periods.sort();
    periods.dedup();
    let mut spans: Vec<Span> = Vec::new();
    // From the fastest class on: what lies within a faster read rides along for nothing.
    for period in periods {
        let mut left = Vec::new();
        for item in items.iter().filter(|i| i.period == period) {
            match spans.iter_mut().find(|s| s.start <= item.start && item.end <= s.end) {
                Some(span) => span.items.push(item.index),
                None => left.push(*item),
            }
        }
        left.sort_by_key(|i| (i.start, i.end, i.index));
        spans.extend(cheapest(&left, limits, &cost));
    }
    merge(&mut spans, limits, &cost);
    spans.sort_by_key(|s| (s.start, s.end));
    spans
}

/// The cheapest reads for items of one period, in the order of their addresses. Of all ways to cut
/// the ordered list, each suffix's best cut is found once.
fn cheapest(items: &[Item], limits: Limits, cost: &impl Fn(u32) -> f64) -> Vec<Span> {
    // best[n]: the cost of the first n items, and where their last read begins.
    let mut best = vec![(f64::INFINITY, 0_usize); items.len() + 1];
    if let Some(none) = best.first_mut() {
        none.0 = 0.0;
    }
    for (first, item) in items.iter().enumerate() {
        let before = best.get(first).map_or(f64::INFINITY, |b| b.0);
        let mut end = item.end;
        for (last, next) in items.iter().enumerate().skip(first) {
            let longer = end.max(next.end);
            let joins = next.start <= end.saturating_add(limits.gap) && longer - item.start <= limits.most;
            if last > first && !joins {
                break;
            }
            end = longer;
            let total = before + cost(end - item.start);
            if let Some(slot) = best.get_mut(last + 1)
                && total < slot.0
            {
                *slot = (total, first);
            }
        }
    }
    let mut spans = Vec::new();
    let mut upto = items.len();
    while let Some(group) = best.get(upto).and_then(|(_, first)| items.get(*first..upto)) {
        let Some(head) = group.first() else { break };
        spans.push(Span {
            start: head.start,
            end: group.iter().map(|i| i.end).max().unwrap_or(head.end),
            period: head.period,
            items: group.iter().map(|i| i.index).collect(),
        });
        upto -= group.len();
    }
    spans
}

/// Joins neighbours of whatever period while that saves line time, the largest saving first.
fn merge(spans: &mut Vec<Span>, limits: Limits, cost: &impl Fn(u32) -> f64) {
    let rate = |start: u32, end: u32, period: Duration| cost(end - start) / period.as_secs_f64().max(1e-6);
    loop {
        spans.sort_by_key(|s| (s.start, s.end));
        let mut winner: Option<(f64, usize)> = None;
        for (at, pair) in spans.windows(2).enumerate() {
            let [a, b] = pair else { continue };
            let (end, period) = (a.end.max(b.end), a.period.min(b.period));
            if b.start > a.end.saturating_add(limits.gap) || end - a.start > limits.most {
                continue;
            }
            let saved =
                rate(a.start, a.end, a.period) + rate(b.start, b.end, b.period) - rate(a.start, end, period);
            if saved > 1e-12 && winner.is_none_or(|(most, _)| saved > most) {
                winner = Some((saved, at));
            }
        }
        let Some((_, at)) = winner else { return };
        let other = spans.remove(at + 1);
        if let Some(span) = spans.get_mut(at) {
            span.end = span.end.max(other.end);
            span.period = span.period.min(other.period);
            span.items.extend(other.items);
        }
    }
}

/// Line time per second of all these reads, 1.0 being a full line.
pub fn load(spans: &[Span], cost: impl Fn(u32) -> Duration) -> f64 {
    spans.iter().map(|s| cost(s.end - s.start).as_secs_f64() / s.period.as_secs_f64().max(1e-6)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAST: Duration = Duration::from_millis(250);
    const SLOW: Duration = Duration::from_secs(30);
    const LIMITS: Limits = Limits { most: 125, gap: u32::MAX };

    fn items(of: &[(u32, u32, Duration)]) -> Vec<Item> {
        let item = |(index, (start, count, period)): (usize, &(u32, u32, Duration))| Item {
            start: *start,
            end: start + count,
            period: *period,
            index,
        };
        of.iter().enumerate().map(item).collect()
    }

    /// 20 ms a request and 1 ms a register.
    fn slow_line(count: u32) -> Duration {
        Duration::from_millis(20 + u64::from(count))
    }

    fn spans(of: &[(u32, u32, Duration)]) -> Vec<(u32, u32)> {
        plan(&items(of), LIMITS, slow_line).iter().map(|s| (s.start, s.end)).collect()
    }

    #[test]
    fn a_gap_is_filled_exactly_when_that_is_cheaper_than_a_request() {
        assert_eq!(spans(&[(0, 2, FAST), (21, 2, FAST)]), [(0, 23)]);
        assert_eq!(spans(&[(0, 2, FAST), (23, 2, FAST)]), [(0, 2), (23, 25)]);
    }

    #[test]
    fn a_slow_tag_rides_in_a_fast_block_only_where_it_saves_line_time() {
        // Inside the fast block: free.
        assert_eq!(spans(&[(0, 2, FAST), (4, 2, FAST), (2, 2, SLOW)]), [(0, 6)]);
        // One register more every 250 ms costs more than a request every 30 s.
        assert_eq!(spans(&[(0, 2, FAST), (2, 1, SLOW)]), [(0, 2), (2, 3)]);
        // Twice as slow only: the request costs more.
        assert_eq!(spans(&[(0, 2, FAST), (2, 1, 2 * FAST)]), [(0, 3)]);
    }

    #[test]
    fn the_cut_that_fits_the_limit_best_is_found_and_not_the_first() {
        let of: Vec<_> = (0..13).map(|i| (i * 10, 10, FAST)).collect();
        let found = plan(&items(&of), LIMITS, slow_line);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|s| s.end - s.start <= 125), "{found:?}");
    }

    /// What most masters do: in the order of addresses, join while the gap is small.
    fn fixed_gap(items: &[Item], most: u32, gap: u32) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut sorted = items.to_vec();
        sorted.sort_by_key(|i| (i.period, i.start, i.end));
        for item in sorted {
            match spans.last_mut() {
                Some(s)
                    if s.period == item.period
                        && item.start <= s.end + gap
                        && item.end.max(s.end) - s.start <= most =>
                {
                    s.end = s.end.max(item.end);
                    s.items.push(item.index);
                }
                _ => spans.push(Span {
                    start: item.start,
                    end: item.end,
                    period: item.period,
                    items: vec![item.index],
                }),
            }
        }
        spans
    }

    fn maps() -> impl Strategy<Value = Vec<Item>> {
        let period = prop::sample::select(vec![FAST, Duration::from_secs(1), SLOW]);
        let item = (0_u32..600, prop::sample::select(vec![1_u32, 2, 4, 20]), period);
        prop::collection::vec(item, 1..60).prop_map(|of| items(&of))
    }

    proptest! {
        #[test]
        fn every_item_is_whole_in_one_read_within_the_limits_and_often_enough(
            map in maps(), most in 20_u32..=125, gap in 0_u32..40,
        ) {
            let found = plan(&map, Limits { most, gap }, slow_line);
            for item in &map {
                let homes: Vec<_> = found.iter().filter(|s| s.items.contains(&item.index)).collect();
                prop_assert_eq!(homes.len(), 1);
                prop_assert!(homes[0].start <= item.start && item.end <= homes[0].end);
                prop_assert!(homes[0].period <= item.period);
            }
            for span in &found {
                prop_assert!(span.end - span.start <= most);
                let mut used: Vec<_> = map.iter().filter(|i| span.items.contains(&i.index)).collect();
                used.sort_by_key(|i| i.start);
                let mut end = span.start;
                for item in used {
                    prop_assert!(item.start <= end + gap, "a gap of {} in {span:?}", item.start - end);
                    end = end.max(item.end);
                }
                prop_assert_eq!(end, span.end);
            }
        }

        #[test]
        fn the_cost_model_is_never_worse_than_any_fixed_gap(map in maps(), fixed in 0_u32..125) {
            let ours = load(&plan(&map, LIMITS, slow_line), slow_line);
            let theirs = load(&fixed_gap(&map, LIMITS.most, fixed), slow_line);
            prop_assert!(ours <= theirs + 1e-9, "{ours} > {theirs}");
        }
    }
}
