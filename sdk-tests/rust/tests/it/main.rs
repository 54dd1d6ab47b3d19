//! The Rust SDK against the server that `sdk-tests/run` started.

mod access;
mod applications;
mod attempts;
mod consumers;
mod deliveries;
mod destinations;
mod endpoints;
mod event_types;
mod messages;
mod poller;
