//! How far a migration has come, on stderr: a bar for who watches, lines for who keeps them.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use tokio::time::Instant;

/// Characters of the bar.
const WIDTH: u64 = 24;
/// How often it is drawn, and how often a line is written where there is no terminal.
const DRAW_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Rows that are looked at between two looks at the clock.
const LOOK_EVERY: u64 = 4_096;

pub(super) struct Progress {
    on_terminal: bool,
    begun: Instant,
    shown: Instant,
    looked: u64,
    total: u64,
    /// Rows that are there, and those of them that were there before.
    done: u64,
    before: u64,
}

impl Progress {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        let on_terminal = stderr().is_terminal();
        Self { on_terminal, begun: now, shown: now, looked: 0, total: 0, done: 0, before: 0 }
    }

    /// A row was looked at.
    pub(super) fn looked(&mut self) {
        self.looked += 1;
        if self.looked.is_multiple_of(LOOK_EVERY) && self.is_time() {
            self.show(&format!("looking at the store: {} rows", self.looked));
        }
    }

    /// So many rows are to be there in the end, and so many are already.
    pub(super) fn begin(&mut self, total: u64, before: u64) {
        (self.total, self.done, self.before) = (total, before, before);
        self.begun = Instant::now();
        if before > 0 {
            self.line(&format!("going on after {before} of {total} rows"));
        }
    }

    /// Rows of a table were moved.
    pub(super) fn moved(&mut self, table: &str, rows: usize) {
        self.done += rows as u64;
        if self.is_time() {
            let text = self.text(table);
            self.show(&text);
        }
    }

    /// A table was moved.
    pub(super) fn ended(&mut self, table: &str) {
        if !self.on_terminal {
            let text = self.text(table);
            self.line(&text);
        }
    }

    /// A table is compared.
    pub(super) fn checks(&mut self, table: &str) {
        self.show(&format!("comparing both sides: {table}"));
    }

    /// What comes next is no progress.
    pub(super) fn end(&mut self) {
        if self.on_terminal {
            self.show("");
        }
    }

    fn text(&self, table: &str) -> String {
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = (self.done - self.before) as f64 / seconds.max(0.001);
        let bar = if self.on_terminal { bar(self.done, self.total) } else { String::new() };
        let percent = (self.done * 100).checked_div(self.total).unwrap_or(100);
        let left = (self.total.saturating_sub(self.done)) as f64 / rate.max(1.0);
        let (done, total, left) = (self.done, self.total, time(left as u64));
        format!("{bar}{percent:>3} % {table}: {done} of {total} rows, {rate:.0} rows/s, {left} left")
    }

    fn is_time(&self) -> bool {
        self.shown.elapsed() >= if self.on_terminal { DRAW_EVERY } else { LINE_EVERY }
    }

    fn show(&mut self, text: &str) {
        self.shown = Instant::now();
        if self.on_terminal {
            // Over the one before; whoever closed it does not want to know.
            let mut err = stderr();
            drop(write!(err, "\r\x1b[K{text}").and_then(|()| err.flush()));
        } else {
            eprintln!("{text}");
        }
    }

    /// A line that stays.
    fn line(&mut self, text: &str) {
        self.show(text);
        if self.on_terminal {
            eprintln!();
        }
    }
}

fn bar(done: u64, total: u64) -> String {
    let full = (done * WIDTH).checked_div(total).unwrap_or(WIDTH).min(WIDTH) as usize;
    format!("[{}{}] ", "#".repeat(full), ".".repeat(WIDTH as usize - full))
}

fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        assert_eq!(bar(0, 10), format!("[{}] ", ".".repeat(24)));
        assert_eq!(bar(5, 10), format!("[{}{}] ", "#".repeat(12), ".".repeat(12)));
        assert_eq!(bar(0, 0), format!("[{}] ", "#".repeat(24)));
        assert_eq!([59, 61, 3_660].map(time), ["59 s", "1 min 1 s", "1 h 1 min"].map(str::to_owned));
    }
}
