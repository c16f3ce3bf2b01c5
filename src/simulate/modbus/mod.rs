//! Simulated Modbus devices: registers, how they behave, and the socket or serial bus that they hang on.

mod answer;
pub mod bank;
pub mod dice;
mod heard;
pub mod manner;
pub mod noise;
mod rtu;
mod serve;
mod tcp;

pub use rtu::RtuBus;
pub use tcp::TcpServer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use self::bank::Bank;
use self::manner::{Course, Manner, Reply, Tally};
use crate::drivers::modbus::address::Area;

/// One simulated device: its registers and its manner.
#[derive(Debug)]
pub struct Slave {
    bank: Mutex<Bank>,
    manner: Manner,
    course: Mutex<Course>,
    counters: Vec<(Area, u16)>,
    born: Instant,
}

impl Slave {
    /// A device with these registers.
    pub fn new(bank: Bank, manner: Manner) -> Arc<Slave> {
        Slave::counting(bank, manner, Vec::new())
    }

    /// The same, where each answer has the number of its request: at each of these addresses lie its low 16
    /// bits and, in the next register, their complement.
    pub fn counting(bank: Bank, manner: Manner, counters: Vec<(Area, u16)>) -> Arc<Slave> {
        let course = Mutex::new(manner.begin());
        Arc::new(Slave { bank: Mutex::new(bank), manner, course, counters, born: Instant::now() })
    }

    /// Its registers; held for a moment only.
    pub fn bank(&self) -> MutexGuard<'_, Bank> {
        self.bank.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What it was asked and how it answered, until now.
    pub fn tally(&self) -> Tally {
        self.course().tally()
    }

    /// Whether, when and how it answers a request that comes now.
    fn reply(&self) -> Reply {
        let mut course = self.course();
        let reply = self.manner.reply(self.born.elapsed(), &mut course);
        let number = course.tally().requests as u16;
        self.counters.iter().for_each(|(area, at)| self.bank().put(*area, *at, &[number, !number]));
        reply
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The devices behind one socket or on one bus, by their unit.
pub type Slaves = BTreeMap<u8, Arc<Slave>>;
