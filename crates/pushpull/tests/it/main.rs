//! The program from outside: started, called, stopped as its users do.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, their helpers too")]
#![expect(clippy::disallowed_methods, reason = "a client of the server under test, on loopback")]

mod audit;
mod backup;
mod bench;
mod demo;
mod doctor;
mod help;
mod key;
mod listen;
mod migrate;
mod nodes;
mod poller_token;
mod readers;
mod serve;
mod site;
mod support;
mod tls;
