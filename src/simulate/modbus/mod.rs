//! Simulated Modbus devices: registers, how they behave, and the socket or serial bus that they hang on.

pub mod bank;
pub mod manner;
mod rtu;
mod tcp;

pub use rtu::RtuBus;
pub use tcp::TcpServer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use self::bank::Bank;
use self::manner::{Manner, Reply};

/// One simulated device: its registers and its manner.
#[derive(Debug)]
pub struct Slave {
    bank: Mutex<Bank>,
    manner: Manner,
    born: Instant,
}

impl Slave {
    /// A device with these registers.
    pub fn new(bank: Bank, manner: Manner) -> Arc<Slave> {
        Arc::new(Slave { bank: Mutex::new(bank), manner, born: Instant::now() })
    }

    /// Its registers; held for a moment only.
    pub fn bank(&self) -> MutexGuard<'_, Bank> {
        self.bank.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether and when it answers now.
    fn reply(&self) -> Reply {
        self.manner.reply(self.born.elapsed())
    }
}

/// The devices behind one socket or on one bus, by their unit.
pub type Slaves = BTreeMap<u8, Arc<Slave>>;
