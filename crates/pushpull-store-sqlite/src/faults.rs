//! Faults on demand, for the tests that must see their checks fail. Only in builds with the feature `faults`,
//! which cannot be released.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

#[cfg(not(debug_assertions))]
compile_error!("the feature `faults` loses data on purpose: it is for tests, and cannot be released");

static ACKNOWLEDGE_EARLY: AtomicBool = AtomicBool::new(false);

/// How long the commit comes after the acknowledgement.
const LATE: Duration = Duration::from_millis(20);

/// From now on, acknowledges messages before it commits them.
pub fn acknowledge_early() {
    ACKNOWLEDGE_EARLY.store(true, Ordering::Relaxed);
}

pub(crate) fn acknowledges_early() -> bool {
    ACKNOWLEDGE_EARLY.load(Ordering::Relaxed)
}

#[expect(clippy::disallowed_methods, reason = "being late is the fault")]
pub(crate) fn be_late() {
    std::thread::sleep(LATE);
}
