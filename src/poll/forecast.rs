//! What a link's plan will do: the link's own schedule, run ahead with the expected times. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::plan::LinkPlan;
use super::turns::{Turn, Turns};
use crate::model::Fault;

/// What is to be expected of a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Share of the time with a transaction under way, 0 to 1.
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
    let mut reads = vec![0_u32; plan.blocks.len()];
    let mut second = Vec::new();
    let mut busy = Duration::ZERO;
    let mut now = start;
    for _ in 0..MOST_STEPS {
        if now >= end {
            break;
        }
        let done: Vec<(usize, Duration)> = match turns.next(now) {
            Turn::Wait(None) => break,
            Turn::Wait(Some(until)) => {
                // A wait that is over moves time all the same.
                now = until.max(now + Duration::from_micros(1));
                continue;
            }
            Turn::Read(block) => {
                turns.schedule.started(block, now);
                plan.blocks.get(block).map(|b| (block, b.cost)).into_iter().collect()
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
                tried.into_iter().collect()
            }
            Turn::Revive(device) => {
                if let Some(health) = turns.health_mut(device) {
                    health.answered();
                }
                let blocks = turns.blocks_of(device).to_vec();
                blocks.iter().for_each(|block| turns.schedule.restart(*block, now));
                blocks.iter().filter_map(|at| Some((*at, plan.blocks.get(*at)?.cost))).collect()
            }
        };
        for (block, took) in done {
            if now >= warm && now < end {
                busy += took.min(end - now);
                if let Some(count) = reads.get_mut(block) {
                    *count += 1;
                }
                if now < warm + Duration::from_secs(1) {
                    second.push((block, now - warm, took));
                }
            }
            now += took;
        }
        // Reads that cost nothing (the gateway's own counters) must not keep time from moving.
        now += Duration::from_micros(1);
    }
    let span = now.saturating_duration_since(warm).max(Duration::from_millis(1));
    let period = |(at, count): (usize, &u32)| {
        let device = plan.blocks.get(at)?.device;
        (!dead.contains(&device) && *count > 0).then(|| span / *count)
    };
    Forecast {
        load: busy.as_secs_f64() / span.as_secs_f64(),
        periods: reads.iter().enumerate().map(period).collect(),
        second,
    }
}

/// Enough for an hour of a serial line; a faster link is watched for less time.
const MOST_STEPS: usize = 200_000;
