//! All that a link's driver has learned: by block while the plan stays, by device for later runs.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::blocks::BlockSpec;
use super::config::ModbusDevice;
use super::facts::{Facts, Refusal};
use super::learn::{Forecast, Lesson, Part};

/// The lessons of a link.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    /// By the block's number.
    blocks: HashMap<usize, Lesson>,
    /// By the device's number.
    devices: Vec<Known>,
    /// Some device has news.
    news: bool,
}

#[derive(Debug)]
struct Known {
    name: String,
    facts: Facts,
    news: bool,
}

impl Lessons {
    /// Other blocks; what is known of a device stays where it is the same unit under the same name.
    pub(super) fn load(&mut self, devices: &[ModbusDevice]) {
        self.blocks.clear();
        let mut before = std::mem::take(&mut self.devices);
        let known = |device: &ModbusDevice| {
            let same = |k: &Known| k.name == device.name && k.facts.unit == device.unit;
            let fresh = || Known { name: device.name.clone(), facts: Facts::new(device.unit), news: false };
            before.iter().position(same).map(|at| before.swap_remove(at)).unwrap_or_else(fresh)
        };
        self.devices = devices.iter().map(known).collect();
    }

    /// What an earlier run learned of a device.
    pub(super) fn recall(&mut self, device: usize, text: &str) {
        let Some(known) = self.devices.get_mut(device) else { return };
        match Facts::read(text) {
            Ok(facts) if facts.unit == known.facts.unit => known.facts = facts,
            Ok(facts) => tracing::info!(
                device = known.name,
                unit = known.facts.unit,
                learned_of = facts.unit,
                "what was learned of another unit is forgotten"
            ),
            Err(why) => tracing::warn!(
                device = known.name,
                why,
                "what was learned of the device cannot be read; it is found out anew"
            ),
        }
    }

    /// A device of which more or less is known than was told, and that as text.
    pub(super) fn learned(&mut self) -> Option<(usize, String)> {
        while self.news {
            let Some(at) = self.devices.iter().position(|k| k.news) else {
                self.news = false;
                break;
            };
            let text = self.devices.get_mut(at).and_then(|known| {
                known.news = false;
                known.facts.text()
            });
            if let Some(text) = text {
                return Some((at, text));
            }
        }
        None
    }

    /// What is known of a block: learned since it was loaded, or to be expected by what its device taught.
    pub(super) fn take(&mut self, block: usize, spec: &BlockSpec) -> Option<Lesson> {
        self.blocks.remove(&block).or_else(|| {
            let known = self.devices.get(spec.device)?.facts.of(spec.area);
            Lesson::expected(&spec.parts, |part| known.forecast(spec.start, part), Instant::now())
        })
    }

    pub(super) fn keep(&mut self, block: usize, lesson: Lesson) {
        self.blocks.insert(block, lesson);
    }

    /// A read of this part of a block was answered.
    pub(super) fn accepted(&mut self, spec: &BlockSpec, part: Part) {
        self.note(spec.device, |facts| {
            facts.accepted(spec.area, spec.start.saturating_add(part.at), part.count)
        });
    }

    /// A block of one value was refused.
    pub(super) fn refused(&mut self, spec: &BlockSpec, code: u8) {
        let refusal = Refusal { start: spec.start, count: spec.count, code, at: now(), between: None };
        self.note(spec.device, |facts| facts.refused(spec.area, refusal));
    }

    /// All of a block is found out.
    pub(super) fn found_out(&mut self, spec: &BlockSpec, lesson: &Lesson) {
        let at = now();
        let place = |offset: u16| spec.start.saturating_add(offset);
        let alone = lesson.known(&spec.parts).1.into_iter().map(|(part, code)| (part, code, None));
        for (part, code, between) in alone.chain(lesson.cuts(&spec.parts)) {
            let between = between.map(|(left, right)| (place(left), place(right)));
            let refusal = Refusal { start: place(part.at), count: part.count, code, at, between };
            self.note(spec.device, |facts| facts.refused(spec.area, refusal));
        }
    }

    fn note(&mut self, device: usize, what: impl FnOnce(&mut Facts) -> bool) {
        let Some(known) = self.devices.get_mut(device) else { return };
        if what(&mut known.facts) {
            known.news = true;
            self.news = true;
        }
    }
}

/// In how many reads a block is made where the device is known like this.
pub(super) fn reads(spec: &BlockSpec, facts: &Facts) -> usize {
    let known = facts.of(spec.area);
    let lesson = Lesson::expected(&spec.parts, |part| known.forecast(spec.start, part), Instant::now());
    lesson.map_or(1, |lesson| lesson.known(&spec.parts).0.len().max(1))
}

impl super::facts::Known {
    fn forecast(&self, start: u16, part: Part) -> Forecast {
        let at = start.saturating_add(part.at);
        let Some(refusal) = self.refusal_of(at, part.count) else {
            return if self.refuses(at, part.count) { Forecast::TooLong } else { Forecast::Answer };
        };
        Forecast::Refused(refusal.code)
    }
}

/// Seconds since 1970, for people: nothing is decided by it.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::address::Area;
    use super::super::learn::parts;
    use super::*;

    fn device(unit: u8) -> ModbusDevice {
        ModbusDevice { name: "pump".into(), unit, ..ModbusDevice::default() }
    }

    fn block(places: &[(u16, u16)]) -> BlockSpec {
        let parts = parts(places.iter().copied());
        let count = parts.iter().map(|p| p.at + p.count).max().unwrap();
        BlockSpec { device: 0, area: Area::Holding, start: 100, count, parts: parts.into() }
    }

    const TEXT: &str = "version = 1\nunit = 1\n[holding]\nlongest = 3\nrefused = [{ start = 101, count = 1, code = 2, at = 0 }]\n";

    #[test]
    fn a_register_that_is_there_again_is_found_and_the_fact_forgotten() {
        let mut lessons = Lessons::default();
        lessons.load(&[device(1)]);
        lessons.recall(0, TEXT);
        assert_eq!(lessons.learned(), None, "what was recalled is no news");
        let spec = block(&[(0, 1), (1, 1), (2, 1)]);
        let mut lesson = lessons.take(0, &spec).unwrap();
        let now = Instant::now();
        assert_eq!(lesson.tries(&spec.parts, now).len(), 2);
        let later = lesson.tries(&spec.parts, now + Duration::from_secs(61));
        let again = *later.iter().find(|t| t.part.at == 1).unwrap();
        lesson.accepted(again);
        lessons.accepted(&spec, again.part);
        let (at, text) = lessons.learned().unwrap();
        assert_eq!((at, Facts::read(&text).unwrap().of(Area::Holding).refused.len()), (0, 0));
        assert_eq!(lessons.learned(), None);
        // At the next start the block is read whole.
        assert_eq!(lessons.take(1, &spec), None);
    }

    #[test]
    fn another_unit_or_rubbish_teaches_nothing() {
        let spec = block(&[(0, 1), (1, 1), (2, 1)]);
        for (unit, text) in [(2, TEXT), (1, "rubbish"), (1, "version = 1\nunit = 1\n")] {
            let mut lessons = Lessons::default();
            lessons.load(&[device(unit)]);
            lessons.recall(0, text);
            lessons.recall(7, text);
            assert_eq!(lessons.take(0, &spec), None);
        }
    }

    #[test]
    fn a_new_plan_keeps_what_is_known_of_the_device_and_its_blocks_start_by_it() {
        let mut lessons = Lessons::default();
        lessons.load(&[device(1)]);
        let one = block(&[(1, 1)]);
        let one = BlockSpec { start: 101, count: 1, parts: parts([(0, 1)].into_iter()).into(), ..one };
        lessons.refused(&one, 2);
        assert!(lessons.learned().is_some());
        lessons.refused(&one, 2);
        assert_eq!(lessons.learned(), None, "the same once more is no news");
        lessons.load(&[device(1)]);
        let spec = block(&[(0, 1), (1, 1), (2, 1)]);
        assert!(lessons.take(0, &spec).is_some());
        lessons.load(&[device(2)]);
        assert_eq!(lessons.take(0, &spec), None);
    }
}
