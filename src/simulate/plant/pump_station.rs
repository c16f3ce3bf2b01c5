//! A pump station: two pumps fill a tank, a town empties it.

use super::machine::{Machine, approach, noise};
use crate::drivers::modbus::address::Area::{Coil, Discrete, Holding, Input};
use crate::model::Order;
use crate::simulate::modbus::bank::{Bank, Sizes};

/// What differs from station to station.
#[derive(Debug, Clone, Copy)]
pub(super) struct Build {
    pub(super) name: &'static str,
    pub(super) seed: f64,
    /// m²
    pub(super) tank_area: f64,
    /// m
    pub(super) height: f64,
    /// m³/h of one pump at full speed.
    pub(super) pump_rate: f64,
    /// m³/h over a day.
    pub(super) demand: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Auto,
    Hand,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pump {
    on: bool,
    hand: bool,
    /// 0 to 1.
    speed: f64,
    run_seconds: f64,
    starts: u32,
}

#[derive(Debug)]
pub(super) struct PumpStation {
    build: Build,
    time: f64,
    mode: Mode,
    /// m; the pumps stop there in automatic mode.
    target: f64,
    level: f64,
    demand: f64,
    /// m³
    pumped: f64,
    pumps: [Pump; 2],
    /// Whose turn it is to start first.
    duty: usize,
}

const DAY: f64 = 86_400.0;
/// Seconds from standstill to full speed.
const RAMP: f64 = 150.0;
const ORDER: Order = Order::Cdab;

impl PumpStation {
    pub(super) fn new(build: Build) -> PumpStation {
        PumpStation {
            build,
            // Stations are not all at the same point of their day.
            time: build.seed * 0.2 * DAY,
            mode: Mode::Auto,
            target: build.height * 0.8,
            level: build.height * (0.5 + 0.05 * build.seed),
            demand: build.demand,
            pumped: 148_000.0 * build.seed,
            pumps: [
                Pump { run_seconds: 9.1e6 * build.seed, starts: 2_310, ..Pump::default() },
                Pump { run_seconds: 8.7e6 * build.seed, starts: 2_288, ..Pump::default() },
            ],
            duty: 0,
        }
    }

    /// m³/h of both pumps.
    fn inflow(&self) -> f64 {
        self.pumps.iter().map(|p| p.speed * self.build.pump_rate).sum()
    }

    fn decide(&mut self) {
        match self.mode {
            Mode::Off => self.pumps.iter_mut().for_each(|p| p.on = false),
            Mode::Hand => {
                let full = self.level >= self.build.height * 0.98;
                self.pumps.iter_mut().for_each(|p| p.on = p.hand && !full);
            }
            Mode::Auto => {
                let any = self.pumps.iter().any(|p| p.on);
                if self.level >= self.target {
                    if any {
                        self.duty = 1 - self.duty;
                    }
                    self.pumps.iter_mut().for_each(|p| p.on = false);
                } else if self.level < self.target - 0.6 && !any {
                    self.start(self.duty);
                } else if self.level < self.target - 1.4 {
                    self.start(1 - self.duty);
                }
            }
        }
    }

    fn start(&mut self, pump: usize) {
        if let Some(pump) = self.pumps.get_mut(pump) {
            pump.on = true;
        }
    }

    /// bar at the outlet: what stands above it, and what the pumps add.
    fn pressure(&self) -> f64 {
        let load = self.inflow() / self.build.pump_rate;
        0.0981 * (self.level + 25.0) + 0.7 * load * load + 0.01 * noise(self.time, self.build.seed)
    }

    fn current(&self, pump: &Pump) -> f64 {
        if pump.speed < 0.02 { 0.0 } else { 6.0 + 24.0 * pump.speed.powi(3) + 0.2 * noise(self.time, 9.0) }
    }
}

impl Machine for PumpStation {
    fn sizes(&self) -> Sizes {
        Sizes { coils: 2, discretes: 4, inputs: 24, holdings: 16 }
    }

    fn begin(&self, bank: &mut Bank) {
        bank.put_f32(Holding, 0, self.target, ORDER);
        bank.put(Holding, 2, &[1]);
        bank.put_text(Holding, 4, self.build.name, 8);
    }

    fn obey(&mut self, bank: &mut Bank) {
        let target = bank.holding_f32(0, ORDER);
        if target.is_finite() && (0.5..=self.build.height * 0.95).contains(&target) {
            self.target = target;
        } else {
            bank.put_f32(Holding, 0, self.target, ORDER);
        }
        self.mode = match bank.holding(2) {
            0 => Mode::Off,
            1 => Mode::Auto,
            2 => Mode::Hand,
            _ => self.mode,
        };
        bank.put(Holding, 2, &[self.mode as u16]);
        for (pump, at) in self.pumps.iter_mut().zip(0..) {
            pump.hand = bank.coil(at);
        }
    }

    fn step(&mut self, dt: f64) {
        self.time += dt;
        self.decide();
        for pump in &mut self.pumps {
            if pump.on && pump.speed == 0.0 {
                pump.starts += 1;
            }
            pump.speed = approach(pump.speed, f64::from(u8::from(pump.on)), dt / RAMP);
            if pump.speed > 0.0 {
                pump.run_seconds += dt;
            }
        }
        // A town drinks in the morning and in the evening.
        let hour = std::f64::consts::TAU * self.time / DAY;
        let wanted = self.build.demand
            * (1.0 - 0.35 * hour.cos() - 0.2 * (2.0 * hour).cos()
                + 0.04 * noise(self.time / 60.0, self.build.seed));
        let volume = self.level * self.build.tank_area;
        let into = self.inflow() * dt / 3600.0;
        // No more can flow out than there is.
        let out = (wanted * dt / 3600.0).min(volume + into);
        self.demand = if dt > 0.0 { out * 3600.0 / dt } else { self.demand };
        self.pumped += into;
        // What is too much goes over the weir.
        self.level = ((volume + into - out) / self.build.tank_area).min(self.build.height);
    }

    fn show(&self, bank: &mut Bank) {
        let ripple = 0.003 * noise(self.time, self.build.seed);
        bank.put_f32(Input, 0, (self.level + ripple).clamp(0.0, self.build.height), ORDER);
        let flow = self.inflow();
        let flow = if flow > 0.0 { flow * (1.0 + 0.01 * noise(self.time, 5.0)) } else { 0.0 };
        bank.put_f32(Input, 2, flow, ORDER);
        bank.put_f32(Input, 4, self.demand, ORDER);
        bank.put_scaled(Input, 6, self.pressure(), 0.01);
        bank.put_u32(Input, 10, self.pumped as u32, ORDER);
        let mut status = u16::from(self.mode == Mode::Auto) << 5;
        for (pump, at) in self.pumps.iter().zip(0..) {
            bank.put_scaled(Input, 7 + at, self.current(pump), 0.1);
            bank.put_u32(Input, 12 + 2 * at, (pump.run_seconds / 36.0) as u32, ORDER);
            bank.put(Input, 16 + at, &[pump.starts as u16]);
            bank.put_scaled(Input, 19 + at, pump.speed * 100.0, 0.1);
            status |= u16::from(pump.speed > 0.0) << at;
        }
        status |= u16::from(self.level > self.build.height * 0.9) << 2;
        status |= u16::from(self.level < self.build.height * 0.3) << 3;
        bank.put(Input, 18, &[status]);
        bank.put_scaled(Input, 21, 11.5 + 1.5 * (self.time / DAY).sin(), 0.1);
        bank.put_bit(Discrete, 0, true);
        bank.put_bit(Discrete, 1, false);
        // In automatic mode the hand switches show what the pumps do.
        if self.mode != Mode::Hand {
            for (pump, at) in self.pumps.iter().zip(0..) {
                bank.put_bit(Coil, at, pump.on);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn station() -> (PumpStation, Bank) {
        let build =
            Build { name: "TEST", seed: 1.0, tank_area: 42.0, height: 5.0, pump_rate: 95.0, demand: 62.0 };
        let station = PumpStation::new(build);
        let mut bank = Bank::new(station.sizes());
        station.begin(&mut bank);
        station.show(&mut bank);
        (station, bank)
    }

    fn pass(station: &mut PumpStation, bank: &mut Bank, dt: f64) {
        station.obey(bank);
        station.step(dt);
        station.show(bank);
    }

    #[test]
    fn over_three_days_the_level_stays_around_its_set_point_and_pumps_take_turns() {
        let (mut station, mut bank) = station();
        let starts = station.pumps.map(|p| p.starts);
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for _ in 0..(3 * 86_400 / 6) {
            pass(&mut station, &mut bank, 6.0);
            (low, high) = (low.min(station.level), high.max(station.level));
        }
        assert!(low > 1.5 && high < 4.5, "{low} … {high}");
        assert!(high - low > 0.5, "it moves: {low} … {high}");
        for (pump, before) in station.pumps.iter().zip(starts) {
            assert!((3..100).contains(&(pump.starts - before)), "{} starts", pump.starts - before);
        }
    }

    #[test]
    fn no_water_comes_from_nowhere() {
        let (mut station, mut bank) = station();
        for _ in 0..20_000 {
            let (level, pumped) = (station.level, station.pumped);
            pass(&mut station, &mut bank, 6.0);
            let out = station.demand * 6.0 / 3600.0;
            let stored = (station.level - level) * station.build.tank_area;
            assert!((stored - (station.pumped - pumped - out)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_written_mode_and_a_hand_switch_move_the_pumps() {
        let (mut station, mut bank) = station();
        bank.put(Holding, 2, &[2]);
        bank.put_bit(Coil, 0, true);
        bank.put_bit(Coil, 1, false);
        (0..100).for_each(|_| pass(&mut station, &mut bank, 6.0));
        assert!(station.pumps[0].speed == 1.0 && station.pumps[1].speed == 0.0);
        bank.put(Holding, 2, &[0]);
        (0..100).for_each(|_| pass(&mut station, &mut bank, 6.0));
        assert_eq!(station.inflow(), 0.0);
        // Left off, the tank runs dry and the town gets what is there: nothing.
        (0..100_000).for_each(|_| pass(&mut station, &mut bank, 6.0));
        assert!(station.level.abs() < 1e-9 && station.demand.abs() < 1e-9);
    }

    #[test]
    fn an_impossible_set_point_is_put_back() {
        let (mut station, mut bank) = station();
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 99.0] {
            bank.put_f32(Holding, 0, wrong, ORDER);
            pass(&mut station, &mut bank, 1.0);
            assert_eq!(bank.holding_f32(0, ORDER), 4.0);
        }
        bank.put_f32(Holding, 0, 3.5, ORDER);
        bank.put(Holding, 2, &[77]);
        pass(&mut station, &mut bank, 1.0);
        assert_eq!((station.target, bank.holding(2)), (3.5, 1));
    }
}
