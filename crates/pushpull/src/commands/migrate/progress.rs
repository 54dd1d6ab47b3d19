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
/// A time that is left is foreseen from as much.
const FORESEEN_AFTER: Duration = Duration::from_secs(2);
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
    /// So many rows are to be there in the end, and so many are already.
    pub(super) fn start(total: u64, before: u64) -> Self {
        let (on_terminal, now) = (stderr().is_terminal(), Instant::now());
        if before > 0 {
            eprintln!("going on after {before} of {total} rows");
        }
        Self { on_terminal, begun: now, shown: now, looked: 0, total, done: before, before }
    }

    /// A row is looked at.
    pub(super) fn looks(&mut self) {
        self.looked += 1;
        if self.looked.is_multiple_of(LOOK_EVERY) && self.is_time() {
            self.show(&format!("looking at the store: {} rows", self.looked));
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

    /// All of a table was moved.
    pub(super) fn ended(&mut self, table: &str) {
        let text = self.text(table);
        self.show(&text);
    }

    /// Both sides are compared.
    pub(super) fn compares(&mut self) {
        self.show("comparing both sides");
    }

    /// A table of them.
    pub(super) fn comparing(&mut self, table: &str) {
        if self.on_terminal {
            self.show(&format!("comparing both sides: {table}"));
        }
    }

    fn text(&self, table: &str) -> String {
        let elapsed = self.begun.elapsed();
        let rate = (self.done - self.before) as f64 / elapsed.as_secs_f64().max(0.001);
        let bar = if self.on_terminal { bar(self.done, self.total) } else { String::new() };
        let percent = (self.done * 100).checked_div(self.total).unwrap_or(100);
        let (done, total) = (self.done, self.total);
        let text = format!("{bar}{percent:>3} % {table}: {done} of {total} rows, {rate:.0} rows/s");
        if elapsed < FORESEEN_AFTER {
            return text;
        }
        let left = total.saturating_sub(done) as f64 / rate.max(1.0);
        format!("{text}, {} left", time(left as u64))
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
}

impl Drop for Progress {
    /// What is said next stands on a line of its own.
    fn drop(&mut self) {
        if self.on_terminal {
            drop(write!(stderr(), "\r\x1b[K"));
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
