//! Checks and generators that CI runs.
fn main() {}
