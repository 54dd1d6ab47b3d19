//! One program that joins applications both ways, by webhook and by API, over one durable log.
//!
//! Role: everything below is put together here; the only crate that names a backend, reads the machine's clock,
//! its chance and its environment. Answers go to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 usage.

mod chance;
mod clock;
mod commands;
mod config;
mod datadir;
mod keys;
mod listen;
mod metrics;
mod telemetry;
mod tls;
mod upkeep;
mod wire;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stderr, reason = "what failed is told to who asked for it")]
fn main() -> ExitCode {
    // What this program writes holds keys or payloads: its files are this user's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    match commands::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            // What is wrong with the settings is the caller's to mend, as a wrong flag is.
            if error.is::<config::Problems>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
