//! The client against receivers that are told, byte by byte, what to say.
#![expect(clippy::unwrap_used, reason = "clippy does not take modules below this one for tests")]

mod receiver;

mod answers;
mod connections;
mod guard;
mod tls;
