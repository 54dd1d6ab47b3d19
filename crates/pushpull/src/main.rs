//! One program that joins applications both ways, by webhook and by API, over one durable log.
//!
//! Role: everything below is put together here; the only crate that names a backend, reads the machine's clock,
//! its chance and its environment. Answers go to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 usage, 7 no
//! server can be reached.

mod chance;
mod clock;
mod commands;
mod config;
mod datadir;
#[cfg(feature = "faults")]
mod faults;
mod keys;
mod listen;
mod metrics;
mod store;
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
    #[cfg(feature = "faults")]
    if let Err(error) = faults::commit() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    match commands::Cli::parse().run() {
        Ok(code) => code,
        // Who read the answer had seen enough (`pushpull config show | head`).
        Err(error) if is_closed_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(ending) = error.downcast_ref::<commands::Ending>() {
                return ExitCode::from(ending.code());
            }
            // What is wrong with the settings is the caller's to mend, as a wrong flag is.
            if error.is::<config::Problems>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.root_cause().downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
