//! Webhooks out: dispatcher, attempt, outcome, retry.
//!
//! The table of deliveries is the truth; everything here only saves latency. What is committed is handed over
//! in memory as far as there is room, the rest is looked for in the table, and the scan alone would be right.
//! A delivery is in memory at most once. An outcome is written within a moment; until then its attempt counts
//! as in flight, and a crash repeats at most those.
//!
//! Absent on purpose: any driver, any web framework, any other quadrant, a clock or chance of its own.

mod attempt;
mod dispatcher;
mod endpoint;
mod lane;
mod outbox;
mod outcome;
mod parcel;
mod queue;
mod rate;
mod recovery;
mod signed;
mod slots;
mod timers;

pub use dispatcher::{Dispatcher, Load, Meter, NoMeter, Parts};
pub use signed::{Push, Signed};
