//! The client against receivers that are told, byte by byte, what to say.

#[expect(clippy::unwrap_used, reason = "clippy takes only modules that hold a test for tests")]
mod receiver;

mod answers;
mod connections;
mod guard;
mod tls;
