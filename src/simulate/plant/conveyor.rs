//! A conveyor with eight places: parts come on, go along and leave; each has a name.

use super::machine::{Machine, approach, noise};
use crate::drivers::modbus::address::Area::{Coil, Discrete, Holding, Input};
use crate::model::Order;
use crate::simulate::modbus::bank::{Bank, Sizes};

const ORDER: Order = Order::Cdab;

#[derive(Debug)]
pub(super) struct Conveyor {
    time: f64,
    run: bool,
    /// m/min
    target: f64,
    speed: f64,
    /// m since the last part moved on by one place.
    moved: f64,
    /// Which part lies on each place, the first one last.
    places: [Option<u32>; 8],
    /// Places that came on, with a part or without.
    slot: u32,
    /// Parts that came and left.
    came: u32,
    left: u32,
    /// °C
    motor: f64,
}

impl Conveyor {
    /// m from one place to the next.
    const PITCH: f64 = 1.5;

    pub(super) fn new() -> Conveyor {
        let mut conveyor = Conveyor {
            time: 0.0,
            run: true,
            target: 18.0,
            speed: 0.0,
            moved: 0.0,
            places: [None; 8],
            slot: 0,
            came: 41_870,
            left: 41_870,
            motor: 31.0,
        };
        // The line was running before anybody looked.
        (0..8).for_each(|_| conveyor.move_on());
        conveyor
    }

    fn move_on(&mut self) {
        let [.., last] = self.places;
        self.left = self.left.wrapping_add(u32::from(last.is_some()));
        self.places.rotate_right(1);
        self.slot = self.slot.wrapping_add(1);
        let [first, ..] = &mut self.places;
        // Every fourth place stays empty.
        *first = if self.slot.is_multiple_of(4) {
            None
        } else {
            self.came = self.came.wrapping_add(1);
            Some(self.came)
        };
    }
}

impl Machine for Conveyor {
    fn sizes(&self) -> Sizes {
        Sizes { coils: 1, discretes: 8, inputs: 16, holdings: 2 }
    }

    fn begin(&self, bank: &mut Bank) {
        bank.put_f32(Holding, 0, self.target, ORDER);
        bank.put_bit(Coil, 0, self.run);
    }

    fn obey(&mut self, bank: &mut Bank) {
        let target = bank.holding_f32(0, ORDER);
        if (0.0..=30.0).contains(&target) {
            self.target = target;
        } else {
            bank.put_f32(Holding, 0, self.target, ORDER);
        }
        self.run = bank.coil(0);
    }

    fn step(&mut self, dt: f64) {
        self.time += dt;
        let aim = if self.run { self.target } else { 0.0 };
        self.speed = approach(self.speed, aim, 6.0 * dt);
        self.moved += self.speed * dt / 60.0;
        while self.moved >= Self::PITCH {
            self.moved -= Self::PITCH;
            self.move_on();
        }
        self.motor = approach(self.motor, 24.0 + self.speed, 0.05 * dt);
    }

    fn show(&self, bank: &mut Bank) {
        let speed = if self.speed > 0.0 { self.speed + 0.05 * noise(self.time, 4.0) } else { 0.0 };
        bank.put_f32(Input, 0, speed, ORDER);
        let mut present = 0;
        for (place, at) in self.places.iter().zip(0_u16..) {
            present |= u16::from(place.is_some()) << at;
            bank.put_bit(Discrete, at, place.is_some());
        }
        bank.put(Input, 2, &[present]);
        // The part at the end, which the MES asks for.
        let last = self.places.iter().rev().flatten().next();
        let name = last.map_or_else(String::new, |part| format!("BX7-{part:08}"));
        bank.put_text(Input, 3, &name, 8);
        bank.put_u32(Input, 11, self.left, ORDER);
        bank.put_scaled(Input, 13, self.motor, 0.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_on_is_on_it_or_has_left() {
        let mut conveyor = Conveyor::new();
        let before = conveyor.came;
        for _ in 0..10_000 {
            conveyor.step(0.1);
            let on_it = conveyor.places.iter().flatten().count() as u32;
            assert_eq!(conveyor.came, conveyor.left + on_it);
        }
        // 1000 s at 18 m/min, less the start, three of four places.
        assert!((143..=150).contains(&(conveyor.came - before)), "{}", conveyor.came - before);
    }

    #[test]
    fn it_stops_and_starts_as_told() {
        let mut conveyor = Conveyor::new();
        let mut bank = Bank::new(conveyor.sizes());
        conveyor.begin(&mut bank);
        let run = |conveyor: &mut Conveyor, bank: &mut Bank| {
            for _ in 0..100 {
                conveyor.obey(bank);
                conveyor.step(0.1);
                conveyor.show(bank);
            }
        };
        run(&mut conveyor, &mut bank);
        assert_eq!(conveyor.speed, 18.0);
        bank.put_bit(Coil, 0, false);
        run(&mut conveyor, &mut bank);
        assert_eq!(conveyor.speed, 0.0);
        bank.put_bit(Coil, 0, true);
        bank.put_f32(Holding, 0, 24.0, ORDER);
        run(&mut conveyor, &mut bank);
        assert_eq!(conveyor.speed, 24.0);
    }
}
