//! What can be asked of the program: one file a command.

mod serve;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// One program that joins applications both ways, by webhook and by API, over one durable log.
#[derive(Debug, Parser)]
#[command(name = "pushpull", version, max_term_width = 110)]
#[command(after_help = "Start with `pushpull serve`: everything it needs is made on first start.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
}

impl Cli {
    /// Does what is asked.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run(),
        }
    }
}

/// Threads for everything asynchronous.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
}
