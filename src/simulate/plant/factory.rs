//! The body shop: two welding cells, two robots and a conveyor, a socket each.

use super::LinkDraft;
use super::conveyor::Conveyor;
use super::robot::Robot;
use super::weld_cell::WeldCell;

pub(super) fn links() -> Vec<LinkDraft> {
    vec![
        LinkDraft::plc("cell-1", WeldCell::new("BX7", 1.0)),
        LinkDraft::plc("cell-2", WeldCell::new("BX7", 2.0)),
        LinkDraft::plc("robot-1", Robot::new("WELD_SIDE_L", 1.0)),
        LinkDraft::plc("robot-2", Robot::new("WELD_SIDE_R", 2.0)),
        LinkDraft::plc("conveyor", Conveyor::new()),
    ]
}
