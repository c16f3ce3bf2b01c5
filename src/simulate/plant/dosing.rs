//! A dosing station: chlorine and acid go into the water, analysers look at what came of it.

use super::machine::{Controller, Machine, lag, noise};
use crate::drivers::modbus::address::Area::{Coil, Discrete, Holding, Input};
use crate::model::Order;
use crate::simulate::modbus::bank::{Bank, Sizes};

const CHLORINE_ORDER: Order = Order::Cdab;
const TURBIDITY_ORDER: Order = Order::Abcd;

/// Chlorine: analyser, dosing pump and day tank.
#[derive(Debug)]
pub(super) struct Chlorine {
    time: f64,
    mode: u16,
    /// mg/l
    target: f64,
    residual: f64,
    controller: Controller,
    /// 0 to 1.
    stroke: f64,
    hand_stroke: f64,
    /// 0 to 1.
    day_tank: f64,
    /// ml
    dosed: f64,
}

impl Chlorine {
    /// ml/s at full stroke, from a day tank of 120 l.
    const FULL_STROKE: f64 = 2.5;
    const DAY_TANK: f64 = 120_000.0;
    /// mg/l at full stroke.
    const STRENGTH: f64 = 2.0;

    pub(super) fn new() -> Chlorine {
        Chlorine {
            time: 0.0,
            mode: 1,
            target: 0.6,
            residual: 0.42,
            controller: Controller { gain: 0.6, integral_time: 400.0, integral: 0.35 },
            stroke: 0.35,
            hand_stroke: 0.35,
            day_tank: 0.83,
            dosed: 4.1e6,
        }
    }
}

impl Machine for Chlorine {
    fn sizes(&self) -> Sizes {
        Sizes { coils: 1, discretes: 2, inputs: 8, holdings: 4 }
    }

    fn begin(&self, bank: &mut Bank) {
        bank.put_f32(Holding, 0, self.target, CHLORINE_ORDER);
        bank.put(Holding, 2, &[self.mode]);
        bank.put_scaled(Holding, 3, self.hand_stroke * 100.0, 0.1);
    }

    fn obey(&mut self, bank: &mut Bank) {
        let target = bank.holding_f32(0, CHLORINE_ORDER);
        if (0.0..=1.5).contains(&target) {
            self.target = target;
        } else {
            bank.put_f32(Holding, 0, self.target, CHLORINE_ORDER);
        }
        if bank.holding(2) <= 2 {
            self.mode = bank.holding(2);
        } else {
            bank.put(Holding, 2, &[self.mode]);
        }
        self.hand_stroke = (f64::from(bank.holding(3)) / 1000.0).min(1.0);
        // A command: done once, then the coil falls back.
        if bank.coil(0) {
            self.day_tank = 1.0;
            bank.put_bit(Coil, 0, false);
        }
    }

    fn step(&mut self, dt: f64) {
        self.time += dt;
        let wanted = match self.mode {
            0 => 0.0,
            1 => self.controller.step(self.target - self.residual, dt),
            _ => self.hand_stroke,
        };
        // An empty day tank gives nothing.
        self.stroke = if self.day_tank > 0.0 { wanted } else { 0.0 };
        let used = self.stroke * Self::FULL_STROKE * dt;
        self.dosed += used;
        self.day_tank = (self.day_tank - used / Self::DAY_TANK).max(0.0);
        // The automatic refill of the night.
        if self.mode == 1 && self.day_tank < 0.15 {
            self.day_tank = 1.0;
        }
        // More water thins it, and the water itself consumes some.
        let flow = 1.0 + 0.25 * (self.time / 900.0).sin();
        let made = (self.stroke * Self::STRENGTH / flow - 0.18).max(0.0);
        self.residual = lag(self.residual, made, dt, 180.0);
    }

    fn show(&self, bank: &mut Bank) {
        bank.put_f32(Input, 0, (self.residual + 0.004 * noise(self.time, 1.0)).max(0.0), CHLORINE_ORDER);
        bank.put_scaled(Input, 2, self.stroke * 100.0, 0.1);
        bank.put_scaled(Input, 3, self.day_tank * 100.0, 0.1);
        bank.put_u32(Input, 4, self.dosed as u32, CHLORINE_ORDER);
        let status = u16::from(self.stroke > 0.0)
            | u16::from(self.day_tank < 0.2) << 1
            | u16::from(self.mode == 1) << 2;
        bank.put(Input, 6, &[status]);
        bank.put_bit(Discrete, 0, self.day_tank < 0.2);
        bank.put_bit(Discrete, 1, false);
    }
}

/// pH correction: analyser, temperature, acid pump.
#[derive(Debug)]
pub(super) struct Acid {
    time: f64,
    target: f64,
    ph: f64,
    controller: Controller,
    stroke: f64,
}

impl Acid {
    pub(super) fn new() -> Acid {
        Acid {
            time: 0.0,
            target: 7.4,
            ph: 7.7,
            controller: Controller { gain: 0.5, integral_time: 500.0, integral: 0.3 },
            stroke: 0.3,
        }
    }
}

impl Machine for Acid {
    fn sizes(&self) -> Sizes {
        Sizes { coils: 0, discretes: 1, inputs: 4, holdings: 1 }
    }

    fn begin(&self, bank: &mut Bank) {
        bank.put_scaled(Holding, 0, self.target, 0.01);
    }

    fn obey(&mut self, bank: &mut Bank) {
        let target = f64::from(bank.holding(0)) * 0.01;
        if (6.0..=9.0).contains(&target) {
            self.target = target;
        } else {
            bank.put_scaled(Holding, 0, self.target, 0.01);
        }
    }

    fn step(&mut self, dt: f64) {
        self.time += dt;
        self.stroke = self.controller.step(self.ph - self.target, dt);
        // Raw water changes over the hours; acid takes it down.
        let raw = 8.0 + 0.15 * (self.time / 1500.0).sin();
        self.ph = lag(self.ph, raw - 1.8 * self.stroke, dt, 240.0);
    }

    fn show(&self, bank: &mut Bank) {
        bank.put_scaled(Input, 0, self.ph + 0.008 * noise(self.time, 2.0), 0.01);
        bank.put_scaled(Input, 1, 12.0 + 0.8 * (self.time / 4000.0).sin(), 0.1);
        bank.put_scaled(Input, 2, self.stroke * 100.0, 0.1);
        bank.put(Input, 3, &[u16::from(self.stroke > 0.0)]);
        bank.put_bit(Discrete, 0, true);
    }
}

/// A turbidity meter.
#[derive(Debug, Default)]
pub(super) struct Turbidity {
    time: f64,
}

impl Machine for Turbidity {
    fn sizes(&self) -> Sizes {
        Sizes { coils: 0, discretes: 1, inputs: 12, holdings: 0 }
    }

    fn begin(&self, _bank: &mut Bank) {}

    fn obey(&mut self, _bank: &mut Bank) {}

    fn step(&mut self, dt: f64) {
        self.time += dt;
    }

    fn show(&self, bank: &mut Bank) {
        let turbidity = 0.32 + 0.12 * (self.time / 700.0).sin() + 0.02 * noise(self.time / 5.0, 3.0);
        bank.put_f32(Input, 0, turbidity, TURBIDITY_ORDER);
        bank.put(Input, 2, &[u16::from(turbidity > 0.4)]);
        bank.put_text(Input, 4, "TU-40-01187", 8);
        bank.put_bit(Discrete, 0, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(machine: &mut dyn Machine, bank: &mut Bank, seconds: u32) {
        for _ in 0..seconds / 6 {
            machine.obey(bank);
            machine.step(6.0);
            machine.show(bank);
        }
    }

    #[test]
    fn chlorine_comes_to_its_set_point_and_follows_a_new_one() {
        let mut chlorine = Chlorine::new();
        let mut bank = Bank::new(chlorine.sizes());
        chlorine.begin(&mut bank);
        for target in [0.6, 0.9, 0.3] {
            bank.put_f32(Holding, 0, target, CHLORINE_ORDER);
            run(&mut chlorine, &mut bank, 7200);
            assert!((chlorine.residual - target).abs() < 0.12, "{} for {target}", chlorine.residual);
            assert!((0.0..=1.0).contains(&chlorine.stroke) && (0.0..=1.0).contains(&chlorine.day_tank));
        }
        bank.put_f32(Holding, 0, f64::NAN, CHLORINE_ORDER);
        run(&mut chlorine, &mut bank, 6);
        assert!((bank.holding_f32(0, CHLORINE_ORDER) - 0.3).abs() < 1e-6);
    }

    #[test]
    fn without_a_pump_the_chlorine_goes_and_an_empty_day_tank_gives_none() {
        let mut chlorine = Chlorine::new();
        let mut bank = Bank::new(chlorine.sizes());
        chlorine.begin(&mut bank);
        bank.put(Holding, 2, &[2]);
        bank.put(Holding, 3, &[1000]);
        run(&mut chlorine, &mut bank, 86_400);
        assert!(chlorine.day_tank == 0.0 && chlorine.stroke == 0.0 && chlorine.residual < 0.01);
        bank.put_bit(Coil, 0, true);
        run(&mut chlorine, &mut bank, 60);
        assert!(chlorine.day_tank > 0.9 && chlorine.stroke == 1.0 && !bank.coil(0));
    }

    #[test]
    fn ph_is_held_and_follows_its_set_point() {
        let mut acid = Acid::new();
        let mut bank = Bank::new(acid.sizes());
        acid.begin(&mut bank);
        for target in [7.4, 7.0] {
            bank.put_scaled(Holding, 0, target, 0.01);
            run(&mut acid, &mut bank, 7200);
            assert!((acid.ph - target).abs() < 0.1, "{} for {target}", acid.ph);
        }
    }
}
