//! Reads every tag of a plan once, all links at the same time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::drivers::Link;
use crate::model::{Bad, Clock, Fault, Place, Quality, Raw, TagId, Timestamp, Value};
use crate::normalize::{PlacedRule, decode::decode, quality};
use crate::plan::GatewayPlan;
use crate::poll::LinkPlan;
use crate::telemetry::Telemetry;

/// What became of one tag.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// Whose.
    pub(super) tag: TagId,
    /// The value; none where the quality is bad.
    pub(super) value: Option<Value>,
    /// How far it can be trusted.
    pub(super) quality: Quality,
    /// When the answer came.
    pub(super) at: Timestamp,
    /// Its registers; a coil or discrete input is one word of 0 or 1.
    pub(super) words: Vec<u16>,
}

/// All readings in the order of the file, and what kept links from being opened.
pub(super) async fn read_all(plan: &GatewayPlan, clock: &Clock) -> (Vec<Reading>, Vec<String>) {
    let mut tasks = JoinSet::new();
    for link in &plan.links {
        tasks.spawn(read_link(link.clone(), clock.clone()));
    }
    let mut readings = HashMap::new();
    let mut troubles = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        let Ok((found, trouble)) = ended else { continue };
        readings.extend(found.into_iter().map(|reading| (reading.tag, reading)));
        troubles.extend(trouble);
    }
    troubles.sort();
    let ordered = plan.directory.tags().iter().filter_map(|tag| readings.remove(&tag.id));
    (ordered.collect(), troubles)
}

async fn read_link(plan: LinkPlan, clock: Clock) -> (Vec<Reading>, Option<String>) {
    let mut link = Link::new(&plan.spec, &Telemetry::new(clock.now()));
    link.load(&plan.spec);
    let mut raw = Raw::default();
    let mut readings = Vec::new();
    let mut trouble = None;
    // A device that did not answer once more is not waited for at each of its blocks.
    let mut silent = HashSet::new();
    // Nor is a link that cannot be opened tried for each block.
    let mut closed = false;
    for block in &plan.blocks {
        closed = closed || link.connect().await.is_err();
        let answer = if closed {
            Err(Fault::NotConnected)
        } else if silent.contains(&block.device) {
            Err(Fault::Timeout)
        } else {
            let mut answer = read_block(&mut link, block.block, &mut raw).await;
            // A device that refuses the whole is asked for less and less until what it has not is known.
            let mut missing = usize::MAX;
            while answer.is_ok() && (1..missing).contains(&raw.missing.len()) {
                missing = raw.missing.len();
                answer = read_block(&mut link, block.block, &mut raw).await;
            }
            answer
        };
        match answer {
            Err(Fault::Timeout) => {
                silent.insert(block.device);
            }
            Err(Fault::NotConnected) if trouble.is_none() && !link.trouble().is_empty() => {
                trouble = Some(format!("link {}: {}", plan.name, link.trouble()));
            }
            _ => {}
        }
        let at = clock.now();
        readings.extend(block.rules.iter().map(|placed| reading(placed, answer.map(|()| &raw), at)));
    }
    let unread = plan.writes.iter().filter(|(_, task)| task.read_back.is_none());
    readings.extend(unread.map(|(tag, _)| Reading {
        tag: *tag,
        value: None,
        quality: Quality::Bad(Bad::NeverRead),
        at: clock.now(),
        words: Vec::new(),
    }));
    (readings, trouble)
}

/// With one retry, as a gateway does: one lost frame says nothing of the device.
async fn read_block(
    link: &mut Link,
    block: crate::drivers::driver::Block,
    raw: &mut Raw,
) -> Result<(), Fault> {
    match link.read(block, raw).await {
        Err(Fault::Timeout | Fault::Garbled | Fault::NotConnected) => {}
        Err(Fault::Busy) => tokio::time::sleep(Duration::from_millis(300)).await,
        answer => return answer,
    }
    link.connect().await?;
    link.read(block, raw).await
}

fn reading(placed: &PlacedRule, answer: Result<&Raw, Fault>, at: Timestamp) -> Reading {
    let PlacedRule { place, rule, .. } = placed;
    let decoded = match answer {
        Ok(raw) => decode(rule, *place, raw, None).map_err(quality::of_decode_error),
        Err(fault) => Err(quality::of_fault(fault)),
    };
    let (value, quality) = match decoded {
        Ok(value) => {
            let quality = quality::of_value(rule, &value);
            (Some(value), quality)
        }
        Err(bad) => (None, Quality::Bad(bad)),
    };
    let has = |raw: &&Raw| raw.refused(*place).is_none();
    let words = answer.ok().filter(has).map_or(Vec::new(), |raw| words(*place, raw));
    Reading { tag: rule.tag, value, quality, at, words }
}

fn words(place: Place, raw: &Raw) -> Vec<u16> {
    let range = match place {
        Place::Bits { at, count } => {
            return raw.bits.iter().skip(at).take(count).map(|bit| u16::from(*bit)).collect();
        }
        Place::Bit { at } => return raw.bits.get(at).map(|bit| u16::from(*bit)).into_iter().collect(),
        Place::WordBit { at, .. } | Place::HalfWord { at, .. } => at..at.saturating_add(1),
        Place::Words { at, count } => at..at.saturating_add(count),
    };
    raw.words.get(range).unwrap_or_default().to_vec()
}
