//! What a link's plan will do: the link's own schedule, run ahead with the expected times. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::plan::LinkPlan;
use super::turns::{Turn, Turns};
use crate::model::Fault;

/// What is to be expected of a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Share of the time of all lanes with a transaction under way, 0 to 1.
    pub load: f64,
    /// Of each block of the plan, how often it is really read; `None` where its device is dead.
    pub periods: Vec<Option<Duration>>,
    /// The transactions of one second after the start-up: block, start and length.
    pub second: Vec<(usize, Duration, Duration)>,
}

/// Runs the plan ahead; the devices of these indices do not answer.
pub fn forecast(plan: &LinkPlan, dead: &[usize]) -> Forecast {
    let longest = plan.blocks.iter().map(|b| b.period).max().unwrap_or_default();
    // Long enough to see each block a few times, and the tries of dead devices come and go.
    let watched = (longest * 4).clamp(Duration::from_secs(60), Duration::from_secs(3600));
    let start = Instant::now();
    // By then every living device is found and the dead ones are left alone.
    let warm =
        start + Duration::from_secs(30) + plan.blocks.iter().map(|b| b.cost + b.miss).sum::<Duration>();
    let end = warm + watched;
    let mut turns = Turns::new(plan, 1, start);
    let mut run = Run {
        reads: vec![0; plan.blocks.len()],
        second: Vec::new(),
        busy: Duration::ZERO,
        watched: (warm, end),
        lanes: Vec::new(),
    };
    let mut now = start;
    for _ in 0..MOST_STEPS {
        if now >= end {
            break;
        }
        // The lane that is free next, and its device with it.
        let free = run.lanes.iter().enumerate().min_by_key(|(_, (end, _))| *end);
        let free = free.map(|(at, (end, _))| (at, *end));
        if let Some((at, end)) = free
            && (end <= now || run.lanes.len() >= plan.lanes())
        {
            now = now.max(end);
            let (_, (device, block)) = run.lanes.swap_remove(at);
            turns.give_back(device, block);
            continue;
        }
        match turns.next(now, false) {
            Turn::Wait(None) if free.is_none() => break,
            Turn::Wait(until) => {
                let until = until.into_iter().chain(free.map(|(_, end)| end)).min().unwrap_or(now);
                // A wait that is over moves time all the same.
                now = until.max(now + Duration::from_micros(1));
            }
            Turn::Read(block) => {
                turns.schedule.started(block, now);
                let Some(task) = plan.blocks.get(block) else { continue };
                turns.take(task.device, Some(block));
                run.start(now, (task.device, Some(block)), &[(block, task.cost)]);
            }
            Turn::Revive(device) if dead.contains(&device) => {
                let first = turns.blocks_of(device).first().and_then(|at| Some((*at, plan.blocks.get(*at)?)));
                let hasty = turns.health_mut(device).is_some_and(|h| h.starts_try(now));
                let tried = first.map(|(at, b)| (at, if hasty { b.probe } else { b.miss }));
                let took = tried.map_or(Duration::ZERO, |(_, took)| took);
                if let Some(health) = turns.health_mut(device) {
                    health.failed(Fault::Timeout, took, now + took);
                }
                turns.tried_in_vain(took, now + took);
                turns.take(device, None);
                run.start(now, (device, None), tried.as_slice());
            }
            Turn::Revive(device) => {
                if let Some(health) = turns.health_mut(device) {
                    health.answered();
                }
                let blocks = turns.blocks_of(device).to_vec();
                blocks.iter().for_each(|block| turns.schedule.restart(*block, now));
                let reads = blocks.iter().filter_map(|at| Some((*at, plan.blocks.get(*at)?.cost)));
                turns.take(device, None);
                run.start(now, (device, None), &reads.collect::<Vec<_>>());
            }
        }
    }
    let span = now.saturating_duration_since(warm).max(Duration::from_millis(1));
    let period = |(at, count): (usize, &u32)| {
        let device = plan.blocks.get(at)?.device;
        (!dead.contains(&device) && *count > 0).then(|| span / *count)
    };
    Forecast {
        load: run.busy.as_secs_f64() / span.as_secs_f64() / plan.lanes() as f64,
        periods: run.reads.iter().enumerate().map(period).collect(),
        second: run.second,
    }
}

/// What was seen of a run.
struct Run {
    reads: Vec<u32>,
    second: Vec<(usize, Duration, Duration)>,
    busy: Duration,
    /// From when to when it is looked at.
    watched: (Instant, Instant),
    /// Of each lane at work, until when, and with which device or block of it.
    lanes: Vec<(Instant, (usize, Option<usize>))>,
}

impl Run {
    /// A lane does these reads of a device, one after the other.
    fn start(&mut self, now: Instant, what: (usize, Option<usize>), reads: &[(usize, Duration)]) {
        let (warm, end) = self.watched;
        let mut at = now;
        for (block, took) in reads.iter().copied() {
            if at >= warm && at < end {
                self.busy += took.min(end - at);
                if let Some(count) = self.reads.get_mut(block) {
                    *count += 1;
                }
                if at < warm + Duration::from_secs(1) {
                    self.second.push((block, at - warm, took));
                }
            }
            at += took;
        }
        // Reads that cost nothing (the gateway's own counters) must not keep time from moving.
        self.lanes.push((at + Duration::from_micros(1), what));
    }
}

/// Enough for an hour of a serial line; a faster link is watched for less time.
const MOST_STEPS: usize = 200_000;
