//! Stores, databases of their own, clocks, and scripted receivers that stall, cut, redirect and lie.
//!
//! A dev-dependency of every crate that needs a store, a receiver or time in its tests; never shipped.

pub mod clock;
pub mod database;
pub mod hostile;
pub mod receiver;
pub mod store;

pub use clock::TokioClock;
pub use database::{ask, new_database, on_postgres, postgres_options};
pub use hostile::{Hostile, Trick};
pub use receiver::{Received, Receiver, Reply};
pub use store::{TestStore, new_app, new_endpoint, new_message};
