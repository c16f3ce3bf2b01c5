//! A spot-welding cell: clamps a part, welds its spots, lets it go; its electrodes wear.

use super::machine::{Machine, lag, noise};
use crate::drivers::modbus::address::Area::{Coil, Discrete, Holding, Input};
use crate::model::Order;
use crate::simulate::modbus::bank::{Bank, Sizes};

const ORDER: Order = Order::Abcd;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle = 0,
    Clamping = 1,
    Welding = 2,
    Releasing = 3,
    ChangingElectrodes = 4,
}

impl State {
    /// Seconds, and what comes then.
    fn lasts(self) -> (f64, State) {
        match self {
            State::Idle => (1.2, State::Clamping),
            State::Clamping => (0.8, State::Welding),
            State::Welding => (WeldCell::SPOTS * WeldCell::SPOT_TIME, State::Releasing),
            State::Releasing => (0.7, State::Idle),
            State::ChangingElectrodes => (5.0, State::Idle),
        }
    }
}

#[derive(Debug)]
pub(super) struct WeldCell {
    model: &'static str,
    seed: f64,
    time: f64,
    state: State,
    in_state: f64,
    in_cycle: f64,
    cycle: f64,
    /// kA
    target: f64,
    current: f64,
    spots: u32,
    parts: u32,
    /// 0 to 1.
    wear: f64,
    /// Wh
    energy: f64,
}

impl WeldCell {
    const SPOTS: f64 = 12.0;
    const SPOT_TIME: f64 = 0.4;
    /// Spots that a pair of electrodes lasts.
    const LIFE: f64 = 900.0;

    pub(super) fn new(model: &'static str, seed: f64) -> WeldCell {
        WeldCell {
            model,
            seed,
            time: seed,
            state: State::Idle,
            in_state: 0.0,
            in_cycle: 0.0,
            cycle: 7.5,
            target: 9.5,
            current: 0.0,
            spots: (184_000.0 * seed) as u32,
            parts: (15_333.0 * seed) as u32,
            wear: 0.3 * seed,
            energy: 6.4e5 * seed,
        }
    }

    fn enter(&mut self, state: State) {
        if state == State::Clamping {
            self.in_cycle = 0.0;
        }
        if state == State::Idle && self.state == State::Releasing {
            self.parts = self.parts.wrapping_add(1);
            self.cycle = self.in_cycle;
        }
        if self.state == State::ChangingElectrodes {
            self.wear = 0.0;
        }
        self.state = state;
        self.in_state = 0.0;
    }
}

impl Machine for WeldCell {
    fn sizes(&self) -> Sizes {
        Sizes { coils: 1, discretes: 3, inputs: 20, holdings: 1 }
    }

    fn begin(&self, bank: &mut Bank) {
        bank.put_scaled(Holding, 0, self.target, 0.01);
    }

    fn obey(&mut self, bank: &mut Bank) {
        let target = f64::from(bank.holding(0)) * 0.01;
        if (4.0..=16.0).contains(&target) {
            self.target = target;
        } else {
            bank.put_scaled(Holding, 0, self.target, 0.01);
        }
        if bank.coil(0) {
            bank.put_bit(Coil, 0, false);
            self.enter(State::ChangingElectrodes);
        }
    }

    fn step(&mut self, dt: f64) {
        self.time += dt;
        let welded = |in_state: f64| (in_state / WeldCell::SPOT_TIME).min(WeldCell::SPOTS) as u32;
        let before = welded(self.in_state);
        self.in_state += dt;
        self.in_cycle += dt;
        if self.state == State::Welding {
            let now = welded(self.in_state) - before;
            self.spots = self.spots.wrapping_add(now);
            self.wear = (self.wear + f64::from(now) / Self::LIFE).min(1.0);
            self.energy += self.current * 1.1 * dt;
        }
        let aim = if self.state == State::Welding { self.target * (1.0 - 0.06 * self.wear) } else { 0.0 };
        self.current = lag(self.current, aim, dt, 0.1);
        let (lasts, next) = self.state.lasts();
        if self.in_state >= lasts {
            // Worn electrodes are changed before the next part.
            let worn = next == State::Clamping && self.wear >= 1.0;
            self.enter(if worn { State::ChangingElectrodes } else { next });
        }
    }

    fn show(&self, bank: &mut Bank) {
        bank.put(Input, 0, &[self.state as u16]);
        bank.put_u32(Input, 1, self.spots, ORDER);
        let current =
            if self.current > 0.1 { self.current + 0.05 * noise(self.time, self.seed) } else { 0.0 };
        bank.put_scaled(Input, 3, current, 0.01);
        bank.put_scaled(Input, 4, self.cycle, 0.01);
        bank.put_f32(Input, 5, self.wear * 100.0, ORDER);
        bank.put_u32(Input, 7, self.parts, ORDER);
        bank.put_text(Input, 9, &format!("{}-{:06}", self.model, self.parts.wrapping_add(1) % 1_000_000), 6);
        let energy = (self.energy as u64).to_be_bytes();
        for (pair, at) in energy.as_chunks::<2>().0.iter().zip(15..) {
            bank.put(Input, at, &[u16::from_be_bytes(*pair)]);
        }
        bank.put_scaled(Input, 19, 21.0 + 6.0 * self.wear + 0.5 * noise(self.time / 9.0, self.seed), 0.1);
        bank.put_bit(Discrete, 0, matches!(self.state, State::Clamping | State::Welding));
        bank.put_bit(Discrete, 1, self.state != State::ChangingElectrodes);
        bank.put_bit(Discrete, 2, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_gets_its_twelve_spots_and_electrodes_wear_and_are_changed() {
        let mut cell = WeldCell::new("T", 1.0);
        let (spots, parts) = (cell.spots, cell.parts);
        let mut worst: f64 = 0.0;
        let mut changes = 0;
        for _ in 0..20_000 {
            let before = cell.state;
            cell.step(0.1);
            worst = worst.max(cell.wear);
            changes += u32::from(cell.state == State::ChangingElectrodes && before != cell.state);
        }
        let (spots, parts) = (cell.spots - spots, cell.parts - parts);
        assert!(parts > 200, "{parts} parts");
        assert!(spots >= parts * 12 && spots <= (parts + 1) * 12, "{spots} spots on {parts} parts");
        assert!(changes >= 2 && worst <= 1.0);
        assert!((7.0..10.0).contains(&(cell.cycle + 1.2)), "{}", cell.cycle);
    }

    #[test]
    fn an_electrode_change_is_a_command_that_falls_back() {
        let mut cell = WeldCell::new("T", 2.0);
        let mut bank = Bank::new(cell.sizes());
        cell.begin(&mut bank);
        bank.put_bit(Coil, 0, true);
        for _ in 0..60 {
            cell.obey(&mut bank);
            cell.step(0.1);
            cell.show(&mut bank);
        }
        assert!(!bank.coil(0) && cell.wear < 0.02);
    }
}
