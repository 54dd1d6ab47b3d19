//! The PostgreSQL store, from outside. Needs a server: `./scripts/postgres with cargo nextest run ...`.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which are not seen as tests")]

mod conformance;
mod deliveries;
mod due;
mod newer;
mod nodes;
mod opening;
mod readers;
mod retention;
mod support;
