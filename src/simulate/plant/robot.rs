//! A six-axis robot controller: runs its program cycle after cycle, its joints get warm.

use super::machine::{Machine, lag, noise};
use crate::drivers::modbus::address::Area::{Discrete, Holding, Input};
use crate::model::Order;
use crate::simulate::modbus::bank::{Bank, Sizes};

const ORDER: Order = Order::Badc;

#[derive(Debug)]
pub(super) struct Robot {
    program: &'static str,
    seed: f64,
    time: f64,
    hold: bool,
    /// 0 to 1.
    over_ride: f64,
    /// Part of the program done, 0 to 1.
    progress: f64,
    cycle: f64,
    in_cycle: f64,
    cycles: u32,
    /// °C
    joints: [f64; 6],
}

impl Robot {
    /// Seconds of a program at full speed.
    const PROGRAM: f64 = 8.0;

    pub(super) fn new(program: &'static str, seed: f64) -> Robot {
        Robot {
            program,
            seed,
            time: 10.0 * seed,
            hold: false,
            over_ride: 0.9,
            progress: 0.0,
            cycle: Self::PROGRAM / 0.9,
            in_cycle: 0.0,
            cycles: (90_000.0 * seed) as u32,
            joints: [38.0, 41.0, 39.0, 35.0, 36.0, 33.0],
        }
    }

    fn speed(&self) -> f64 {
        if self.hold { 0.0 } else { self.over_ride }
    }
}

impl Machine for Robot {
    fn sizes(&self) -> Sizes {
        Sizes { coils: 1, discretes: 3, inputs: 24, holdings: 1 }
    }

    fn begin(&self, bank: &mut Bank) {
        bank.put_scaled(Holding, 0, self.over_ride * 100.0, 1.0);
    }

    fn obey(&mut self, bank: &mut Bank) {
        let percent = bank.holding(0);
        if percent <= 100 {
            self.over_ride = f64::from(percent) / 100.0;
        } else {
            bank.put_scaled(Holding, 0, self.over_ride * 100.0, 1.0);
        }
        self.hold = bank.coil(0);
    }

    fn step(&mut self, dt: f64) {
        self.time += dt;
        self.in_cycle += dt;
        self.progress += self.speed() * dt / Self::PROGRAM;
        if self.progress >= 1.0 {
            self.progress -= 1.0;
            self.cycles = self.cycles.wrapping_add(1);
            self.cycle = std::mem::take(&mut self.in_cycle);
        }
        let speed = self.speed();
        for (joint, at) in self.joints.iter_mut().zip(0_u8..) {
            // The large joints near the base work most.
            let warm = 24.0 + speed * speed * (26.0 - 2.5 * f64::from(at));
            *joint = lag(*joint, warm, dt, 240.0);
        }
    }

    fn show(&self, bank: &mut Bank) {
        // Mode in the low byte: 1 automatic, 2 hold. Program step in the high byte.
        let mode = if self.hold { 2 } else { 1 };
        bank.put(Input, 0, &[((self.progress * 20.0) as u16) << 8 | mode]);
        bank.put_text(Input, 1, self.program, 8);
        bank.put_u32(Input, 9, self.cycles, ORDER);
        bank.put_f32(Input, 11, self.cycle, ORDER);
        for (joint, at) in self.joints.iter().zip(0_u16..) {
            let shown = joint + 0.2 * noise(self.time / 8.0, self.seed + f64::from(at));
            bank.put_scaled(Input, 13 + at, shown, 0.1);
        }
        // The tool's position along its way, in mm; goes to both sides of zero.
        let way = if self.hold { 0.0 } else { (std::f64::consts::TAU * self.progress).sin() };
        bank.put_scaled(Input, 19, 850.0 * way, 0.1);
        bank.put_bit(Discrete, 0, !self.hold && self.over_ride > 0.0);
        bank.put_bit(Discrete, 1, true);
        bank.put_bit(Discrete, 2, (0.2..0.8).contains(&self.progress));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::modbus::address::Area::Coil;

    #[test]
    fn half_the_speed_takes_twice_the_time_and_a_hold_stops_it() {
        let mut robot = Robot::new("T", 1.0);
        let mut bank = Bank::new(robot.sizes());
        robot.begin(&mut bank);
        let run = |robot: &mut Robot, bank: &mut Bank| {
            let before = robot.cycles;
            for _ in 0..8000 {
                robot.obey(bank);
                robot.step(0.1);
                robot.show(bank);
            }
            robot.cycles - before
        };
        bank.put(Holding, 0, &[100]);
        assert!((99..=101).contains(&run(&mut robot, &mut bank)));
        assert!(robot.joints.iter().all(|t| (25.0..55.0).contains(t)), "{:?}", robot.joints);
        bank.put(Holding, 0, &[50]);
        assert!((49..=51).contains(&run(&mut robot, &mut bank)));
        bank.put(Holding, 0, &[101]);
        bank.put_bit(Coil, 0, true);
        assert_eq!(run(&mut robot, &mut bank), 0);
        assert_eq!(bank.holding(0), 50);
    }
}
