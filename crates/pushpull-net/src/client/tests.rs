//! The client against receivers that are told, byte by byte, what to say.

mod receiver;

mod answers;
mod connections;
mod guard;
mod tls;
