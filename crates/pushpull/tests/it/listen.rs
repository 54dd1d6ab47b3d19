//! `pushpull listen` and `trigger`: the real program against a real server, forwarding to a scripted receiver.

mod faults;
mod forward;
mod remote;
mod trigger;
