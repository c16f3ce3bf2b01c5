//! The water utility: three pump stations with a PLC each, a dosing station on a serial bus.

use std::time::Duration;

use super::dosing::{Acid, Chlorine, Turbidity};
use super::pump_station::{Build, PumpStation};
use super::{DeviceDraft, LinkDraft};
use crate::drivers::modbus::config::Parity;
use crate::drivers::modbus::rtu::Pace;
use crate::simulate::modbus::manner::{Manner, Silence};

pub(super) fn links() -> Vec<LinkDraft> {
    let station = |name, seed, tank_area, height, pump_rate, demand| {
        let build = Build { name, seed, tank_area, height, pump_rate, demand };
        PumpStation::new(build)
    };
    // An RTU takes some milliseconds to answer.
    let usual = Manner { delay: Duration::from_millis(6), ..Manner::default() };
    let silence = Silence {
        after: Duration::from_secs(20),
        lasts: Duration::from_secs(8),
        every: Duration::from_secs(40),
    };
    let bus = vec![
        DeviceDraft { unit: 11, manner: usual, machine: Box::new(Chlorine::new()) },
        DeviceDraft { unit: 12, manner: usual, machine: Box::new(Acid::new()) },
        DeviceDraft {
            unit: 13,
            manner: Manner { silence: Some(silence), ..usual },
            machine: Box::new(Turbidity::default()),
        },
    ];
    vec![
        LinkDraft::plc("plc-north", station("NORTH", 1.0, 42.0, 5.0, 95.0, 62.0)),
        LinkDraft::plc("plc-east", station("EAST", 2.0, 28.0, 4.5, 60.0, 38.0)),
        LinkDraft::plc("plc-hill", station("HILL", 3.0, 20.0, 6.0, 40.0, 27.0)),
        LinkDraft { name: "dosing-bus", pace: Some(Pace::new(19_200, Parity::Even, 1)), devices: bus },
    ]
}
