//! The embedded store, from outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which are not seen as tests")]

mod conformance;
mod faults;
mod files;
mod space;
mod support;
