//! What every process model does, and the small mathematics that they share.

use crate::simulate::modbus::bank::{Bank, Sizes};

/// A process model behind registers. Pure: time passes in `step` alone, and nothing is random.
pub(super) trait Machine: Send {
    /// How many registers it has.
    fn sizes(&self) -> Sizes;
    /// Puts the set points of the start into the registers.
    fn begin(&self, bank: &mut Bank);
    /// Takes set points and commands that were written; puts back the ones that it does not accept.
    fn obey(&mut self, bank: &mut Bank);
    /// Lets so many seconds pass.
    fn step(&mut self, dt: f64);
    /// Puts measurements and states into the registers.
    fn show(&self, bank: &mut Bank);
}

/// A measurement's noise, between -1 and 1: the same at the same time, so that a run can be repeated.
pub(super) fn noise(time: f64, seed: f64) -> f64 {
    let wave = |rate: f64, phase: f64| (time * rate + seed * phase).sin();
    (wave(0.73, 1.3) + wave(1.71, 4.1) + wave(4.37, 2.7)) / 3.0
}

/// Goes towards `target` by at most `most`.
pub(super) fn approach(value: f64, target: f64, most: f64) -> f64 {
    value + (target - value).clamp(-most, most)
}

/// First-order lag: where `value` is after `dt`, on its way to `target` with this time constant.
pub(super) fn lag(value: f64, target: f64, dt: f64, constant: f64) -> f64 {
    value + (target - value) * (1.0 - (-dt / constant).exp())
}

/// A proportional-integral controller with an output from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Controller {
    pub(super) gain: f64,
    pub(super) integral_time: f64,
    pub(super) integral: f64,
}

impl Controller {
    pub(super) fn step(&mut self, error: f64, dt: f64) -> f64 {
        let wanted = self.gain * error + self.integral;
        let output = wanted.clamp(0.0, 1.0);
        // At an end the integral stands still, otherwise it would take as long to come back.
        if output == wanted || (wanted > 1.0) == (error < 0.0) {
            self.integral = (self.integral + self.gain * error * dt / self.integral_time).clamp(0.0, 1.0);
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_stays_within_its_bounds_and_moves() {
        let series: Vec<f64> = (0..10_000).map(|i| noise(f64::from(i) * 0.1, 3.0)).collect();
        assert!(series.iter().all(|v| v.abs() <= 1.0));
        assert!(series.iter().any(|v| *v > 0.5) && series.iter().any(|v| *v < -0.5));
    }

    #[test]
    fn a_lag_gets_there_and_never_past_it_however_long_the_step() {
        assert!((lag(0.0, 1.0, 1.0, 1.0) - 0.632).abs() < 0.001);
        assert_eq!(lag(0.0, 1.0, 1e9, 1.0), 1.0);
        assert_eq!(approach(0.0, 1.0, 0.25), 0.25);
        assert_eq!(approach(0.9, 1.0, 0.25), 1.0);
    }
}
