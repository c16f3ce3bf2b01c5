//! A read of a block, whole or, where the device refuses that, in the parts that it does not refuse.

use std::ops::DerefMut;

use tokio::time::Instant;

use super::blocks::{BlockSpec, Reads};
use super::config::ModbusDevice;
use super::learn::{Lesson, Part, is_lesson};
use super::lessons::Lessons;
use super::pdu::Request;
use crate::drivers::driver::Block;
use crate::model::{Fault, Raw};

/// A line or socket that does one transaction at a time.
pub(super) trait Wire {
    /// What was loaded; a fault where nothing was.
    fn reads(&mut self) -> Result<&Reads, Fault>;

    /// What was learned since.
    fn lessons(&mut self) -> impl DerefMut<Target = Lessons>;

    /// A device of what was loaded.
    fn device(&self, device: usize) -> Option<&ModbusDevice>;

    /// Its name, for the log.
    fn name(&self, device: usize) -> &str {
        self.device(device).map_or("", |device| device.name.as_str())
    }

    /// One request and its answer, which is put behind what `into` holds. `hasty`: gives up as soon as the
    /// device would have answered were it as quick as ever.
    async fn transact(
        &mut self,
        device: usize,
        request: &Request,
        into: &mut Raw,
        hasty: bool,
    ) -> Result<(), Fault>;
}

/// Asks the device of a block for as little as shows that it is there.
pub(super) async fn probe(wire: &mut impl Wire, block: Block, hasty: bool) -> Result<(), Fault> {
    let spec = wire.reads()?.blocks.get(block.0).ok_or(Fault::Unsupported)?;
    let (device, request) = (spec.device, spec.probe(!hasty));
    wire.transact(device, &request, &mut Raw::default(), hasty).await
}

/// Reads a block; values that the device refuses are `missing` in it.
pub(super) async fn read(wire: &mut impl Wire, block: Block, into: &mut Raw) -> Result<(), Fault> {
    into.clear();
    let spec = wire.reads()?.blocks.get(block.0).ok_or(Fault::Unsupported)?.clone();
    let known = wire.lessons().take(block.0, &spec);
    let mut lesson = match known {
        Some(lesson) if !lesson.tries(&spec.parts, Instant::now()).is_empty() => lesson,
        // Nothing is known, or that all of it is refused: the device must be heard all the same.
        known => match wire.transact(spec.device, &spec.request(), into, false).await {
            Err(Fault::Refused(code))
                if known.is_none() && is_lesson(Fault::Refused(code)) && spec.parts.len() > 1 =>
            {
                Lesson::new(&spec.parts, code, Instant::now())
            }
            answer => {
                match answer {
                    Ok(()) => wire.lessons().accepted(&spec, Part { at: 0, count: spec.count }),
                    Err(Fault::Refused(code)) if is_lesson(Fault::Refused(code)) && spec.parts.len() == 1 => {
                        wire.lessons().refused(&spec, code);
                    }
                    Err(_) => {}
                }
                if answer.is_err() {
                    into.clear();
                    if let Some(lesson) = known {
                        wire.lessons().keep(block.0, lesson);
                    }
                }
                return answer;
            }
        },
    };
    let before = lesson.is_learned();
    let answer = in_parts(wire, &spec, &mut lesson, into).await;
    if !before && lesson.is_learned() {
        tell(wire.name(spec.device), &spec, &lesson);
    }
    if lesson.has_news() {
        wire.lessons().found_out(&spec, &lesson);
    }
    wire.lessons().keep(block.0, lesson);
    if answer.is_err() {
        into.clear();
    }
    answer
}

async fn in_parts(
    wire: &mut impl Wire,
    spec: &BlockSpec,
    lesson: &mut Lesson,
    into: &mut Raw,
) -> Result<(), Fault> {
    let bits = spec.area.is_bits();
    let count = usize::from(spec.count);
    into.clear();
    into.words.resize(if bits { 0 } else { count }, 0);
    into.bits.resize(if bits { count } else { 0 }, false);
    let mut answer = Err(Fault::Refused(super::pdu::exception::ILLEGAL_ADDRESS));
    let mut raw = Raw::default();
    for asked in lesson.tries(&spec.parts, Instant::now()) {
        raw.clear();
        let request = spec.request_of(asked.part);
        match wire.transact(spec.device, &request, &mut raw, false).await {
            Ok(()) => {
                lay(&mut into.words, asked.part, &raw.words);
                lay(&mut into.bits, asked.part, &raw.bits);
                lesson.accepted(asked);
                wire.lessons().accepted(spec, asked.part);
                answer = Ok(());
            }
            Err(Fault::Refused(code)) if is_lesson(Fault::Refused(code)) => {
                lesson.refused(asked, code, Instant::now());
                answer = answer.map_err(|_| Fault::Refused(code));
            }
            // Not a word about addresses: nothing is learned, and nothing is known of the rest.
            Err(fault) => return Err(fault),
        }
    }
    let code = super::pdu::exception::ILLEGAL_ADDRESS;
    into.missing = lesson.missing(&spec.parts, code);
    answer
}

fn lay<T: Copy>(whole: &mut [T], part: Part, values: &[T]) {
    let at = usize::from(part.at);
    if let Some(place) = whole.get_mut(at..at + values.len()) {
        place.copy_from_slice(values);
    }
}

fn tell(device: &str, spec: &BlockSpec, lesson: &Lesson) {
    let (reads, refused) = lesson.known(&spec.parts);
    let place = |part: Part| {
        let first = u32::from(spec.start) + u32::from(part.at);
        format!("{} {first}..{}", spec.area.name(), first + u32::from(part.count) - 1)
    };
    let refused: Vec<_> =
        refused.into_iter().map(|(part, code)| format!("{} ({code})", place(part))).collect();
    let reads: Vec<_> = reads.into_iter().map(place).collect();
    tracing::warn!(
        device,
        refused = refused.join(", "),
        reads = reads.join(", "),
        "the device refuses a read as a whole, so it is read in parts; a smaller `max-gap` or `max-registers` spares it the refusals, and what is refused by itself it has not"
    );
}
