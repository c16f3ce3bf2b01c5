//! Scan classes that their link cannot hold: told before the first byte is sent.

use std::time::Duration;

use crate::config::Config;
use crate::model::Mistake;
use crate::poll::forecast::forecast;
use crate::poll::{BlockTask, LinkPlan};

/// A warning for each scan class that a link cannot hold, with the period that would hold.
pub(super) fn overloaded(config: &Config, plans: &[LinkPlan], warnings: &mut Vec<Mistake>) {
    for plan in plans.iter().filter(|plan| plan.tightest_load() > FULL) {
        let forecast = forecast(plan, &[]);
        for (name, period) in &config.scan {
            let wanted_period = period.get_ref().0;
            let real = plan.blocks.iter().zip(&forecast.periods);
            let real = real.filter(|(block, _)| block.period == wanted_period).filter_map(|(_, real)| *real);
            let Some(real) = real.max().filter(|real| *real > wanted_period.mul_f64(LATE)) else { continue };
            let help = match holds(plan, wanted_period) {
                Some(period) => {
                    format!("write \"{}\" or slower, read fewer tags, or split the bus", words(period))
                }
                None => {
                    "even without this class the link is full: slow the others down, or split the bus".into()
                }
            };
            warnings.push(Mistake::new(
                "scan-class-not-held",
                period.span(),
                format!(
                    "the link `{}` cannot read the scan class `{}` every {wanted_period:?}: it will be about {}",
                    plan.name,
                    name.get_ref(),
                    words(real)
                ),
                help,
            ));
        }
    }
}

/// A link is taken for full from here on: some of its time goes to retries and writes.
const FULL: f64 = 0.95;
/// A class counts as not held when its reads come this much later than asked for.
const LATE: f64 = 1.05;

/// The shortest period of the blocks of `period` with which the link would not be full.
fn holds(plan: &LinkPlan, period: Duration) -> Option<Duration> {
    // What so many lanes can do of these blocks.
    let within = |lanes: f64, device: Option<usize>| {
        let blocks = plan.blocks.iter().filter(|b| device.is_none_or(|device| b.device == device));
        let (own, others): (Vec<_>, Vec<_>) = blocks.partition(|b| b.period == period);
        let others: f64 = others.into_iter().map(BlockTask::load).sum();
        let own: f64 = own.iter().map(|b| b.cost.as_secs_f64()).sum();
        let left = lanes * FULL - others;
        (own == 0.0 || left > 0.01)
            .then(|| Duration::from_secs_f64(if own == 0.0 { 0.0 } else { own / left }))
    };
    let devices = (0..plan.devices.len()).map(|device| within(plan.at_once() as f64, Some(device)));
    let all: Option<Vec<_>> = devices.chain([within(plan.lanes() as f64, None)]).collect();
    all?.into_iter().max()
}

/// Rounded up to what one writes: `420ms`, `1.7s`.
fn words(period: Duration) -> String {
    let ms = period.as_secs_f64() * 1e3;
    if ms < 1000.0 {
        format!("{}ms", (ms / 10.0).ceil() as u64 * 10)
    } else {
        format!("{}s", (ms / 100.0).ceil() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_rounded_up_to_what_one_writes() {
        assert_eq!(words(Duration::from_millis(411)), "420ms");
        assert_eq!(words(Duration::from_millis(1001)), "1.1s");
        assert_eq!(words(Duration::from_secs(3)), "3s");
    }

    #[test]
    fn a_class_that_its_bus_cannot_hold_is_a_warning_with_the_rate_that_would() {
        let tags: String = (0..4).map(|d| format!(
            "[[device]]\nname = \"d{d}\"\nlink = \"bus\"\nunit = {}\n[device.tag]\nall = {{ at = \"holding:0\", type = \"string\", length = 200 }}\n", d + 1
        )).collect();
        let text = format!(
            "node = {{ group = \"g\", name = \"n\" }}\n[scan]\nfast = \"250ms\"\n[[link.modbus-rtu]]\nname = \"bus\"\nport = \"/dev/ttyS9\"\nbaud = 9600\n{tags}"
        );
        let config = crate::config::load(&text).config.unwrap();
        let plan = crate::plan::compile(&config, false, None).unwrap();
        let warning = plan.warnings.iter().find(|w| w.code == "scan-class-not-held").unwrap();
        // Four reads of 100 registers at 9600 baud take about a second.
        assert!(warning.message.contains("every 250ms: it will be about 1"), "{}", warning.message);
        let slower = text.replace("250ms", warning.help.split('"').nth(1).unwrap());
        let config = crate::config::load(&slower).config.unwrap();
        assert_eq!(crate::plan::compile(&config, false, None).unwrap().warnings, []);
    }
}
