//! A progress bar on standard error, where that is a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How far a scan, or another work of many steps, is.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    total: usize,
    done: usize,
    started: Instant,
    drawn: Option<Instant>,
    at: String,
}

impl Progress {
    const CELLS: usize = 30;

    /// So many steps.
    pub(super) fn new(total: usize) -> Progress {
        Progress {
            shown: stderr().is_terminal(),
            total,
            done: 0,
            started: Instant::now(),
            drawn: None,
            at: String::new(),
        }
    }

    /// What is done now, before the unit.
    pub(super) fn at(&mut self, what: String) {
        self.at = what;
    }

    /// One more.
    pub(super) fn step(&mut self, unit: u8, found: usize) {
        self.advance(&format!("unit {unit}, {found} found"));
    }

    /// One more, and what is to be said of it.
    pub(super) fn advance(&mut self, note: &str) {
        self.done += 1;
        // Ten times a second is enough for an eye.
        let fresh = self.drawn.is_none_or(|at| at.elapsed() >= Duration::from_millis(100));
        if self.shown && fresh {
            self.drawn = Some(Instant::now());
            let line = line(self.done, self.total, self.started.elapsed());
            let _ = write!(stderr(), "\r\x1b[K{line}  {} {note}", self.at);
            let _ = stderr().flush();
        }
    }

    /// Clears the line.
    pub(super) fn end(&mut self) {
        if self.shown && self.drawn.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// The bar, the percentage and the time that is left at this pace.
fn line(done: usize, total: usize, took: Duration) -> String {
    let total = total.max(1);
    let done = done.min(total);
    let cells = done * Progress::CELLS / total;
    let left = took.as_secs_f64() / done.max(1) as f64 * (total - done) as f64;
    let bar = "#".repeat(cells);
    let (minutes, seconds) = (left as u64 / 60, left as u64 % 60);
    format!(
        "[{bar:<width$}] {:>3} %  {minutes}:{seconds:02} left",
        done * 100 / total,
        width = Progress::CELLS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_share_and_time_left() {
        let half = line(50, 100, Duration::from_secs(65));
        assert_eq!(half, "[###############               ]  50 %  1:05 left");
        assert!(line(7, 0, Duration::ZERO).contains("100 %"));
    }
}
