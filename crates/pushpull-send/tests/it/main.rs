//! The dispatcher against real receivers, over a real store.
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking; clippy sees only `#[test]` functions as tests"
)]

mod batches;
mod delivery;
mod hostile;
mod modes;
mod rules;
mod support;
