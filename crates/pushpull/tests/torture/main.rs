//! The promises of the real binary, broken from outside: killed, starved, lied to, attacked.
//!
//! Each test prints its seed; `PUSHPULL_TORTURE_SEED` runs it again. `PUSHPULL_TORTURE_KILLS=1000` makes the
//! kill loops long ones, which nextest ends too soon without `--profile long`.
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking; clippy sees only `#[test]` functions as tests"
)]

mod browser;
mod canaries;
mod changes;
mod cluster;
mod disk;
mod first_start;
mod fsync;
mod hostile;
mod input;
mod kill;
mod modes;
mod readers;
mod slow_readers;
mod support;
