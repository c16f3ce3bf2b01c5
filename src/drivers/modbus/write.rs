//! A write, in as many requests as it takes.

use super::blocks::{How, PointSpec};
use super::pdu::{Request, exception};
use super::read::Wire;
use crate::drivers::driver::Point;
use crate::model::{Fault, Raw};

/// Writes a point; done when the device answered that it took it, a broadcast when it was sent.
pub(super) async fn write(wire: &mut impl Wire, point: Point, raw: &Raw) -> Result<(), Fault> {
    let spec = wire.reads()?.points.get(point.0).ok_or(Fault::Unsupported)?.clone();
    let mut answer = Raw::default();
    let request = match spec.how {
        How::Modify { mask, .. } => {
            let changed = changed(wire, &spec, mask, raw).await?;
            spec.request(&changed)
        }
        _ => spec.request(raw),
    };
    let request = request.ok_or(Fault::Unsupported)?;
    let taken = wire.transact(spec.device, &request, &mut answer, false).await;
    if taken == Err(Fault::Refused(exception::ILLEGAL_FUNCTION)) {
        advise(wire.name(spec.device), spec.how);
    }
    taken?;
    // Function 23 writes before it reads (Application Protocol V1.1b3, section 6.17).
    if spec.how == How::ReadBack && answer.words != raw.words {
        return Err(Fault::Altered);
    }
    Ok(())
}

/// The register as it is now with these bits changed. Whatever else writes it between this and the write is
/// undone by the write: nothing can be done about that without function 22.
async fn changed(wire: &mut impl Wire, spec: &PointSpec, mask: u16, raw: &Raw) -> Result<Raw, Fault> {
    let mut register = Raw::default();
    let read = Request::Read { area: spec.area, start: spec.start, count: 1 };
    wire.transact(spec.device, &read, &mut register, false).await?;
    let ([now], [bits]) = (register.words.as_mut_slice(), raw.words.as_slice()) else {
        return Err(Fault::Unsupported);
    };
    *now = *now & !mask | bits & mask;
    Ok(register)
}

/// What to do about a function that a device does not know.
fn advise(device: &str, how: How) {
    match how {
        How::Mask(_) => tracing::warn!(
            device,
            "the device does not know function 22, which changes bits of a register; `bit-write = \"read-modify-write\"` reads and writes the whole register, and undoes what the device or another master changes in between"
        ),
        How::ReadBack => tracing::warn!(
            device,
            "the device does not know function 23, which reads back what is written; remove `write = \"read-back\"`"
        ),
        How::Single | How::Multiple | How::Modify { .. } => {}
    }
}
