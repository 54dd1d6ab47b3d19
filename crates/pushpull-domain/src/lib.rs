//! The vocabulary of pushpull: pure rules, no I/O, no async, no clock of its own.

pub mod attempt;
pub mod clock;

pub use clock::{Clock, FixedClock, Timestamp};
