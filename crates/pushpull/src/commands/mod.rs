//! What can be asked of the program: one file a command.
#![expect(clippy::print_stderr, reason = "commands speak to people")]

mod audit;
mod backup;
mod bench;
mod call;
mod config;
mod demo;
mod doctor;
mod key;
mod listen;
mod migrate;
mod nodes;
mod port;
mod remote;
mod serve;
mod trigger;

use std::{fmt, io::Write, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Handle, Runtime};

/// One program that joins applications both ways, by webhook and by API, over one durable log.
#[derive(Debug, Parser)]
#[command(name = "pushpull", version, max_term_width = 110)]
#[command(
    after_help = "See it with `pushpull demo`; start with `pushpull serve`: everything it needs is made on first start."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Listen(listen::Listen),
    Trigger(trigger::Trigger),
    Audit(audit::Audit),
    Key(key::Key),
    Config(config::Config),
    Nodes(nodes::Nodes),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Migrate(migrate::Migrate),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
}

impl Cli {
    /// Does what is asked.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Demo(demo) => demo.run(),
            Command::Listen(listen) => listen.run(),
            Command::Trigger(trigger) => trigger.run(),
            Command::Audit(audit) => audit.run(),
            Command::Key(key) => key.run(),
            Command::Config(config) => config.run(),
            Command::Nodes(nodes) => nodes.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Migrate(migrate) => migrate.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Bench(bench) => bench.run(),
        }
    }
}

/// A failure that has an exit code of its own: it is the caller's to mend, or a matter of waiting.
#[derive(Debug)]
pub(crate) struct Ending {
    code: u8,
    said: String,
}

impl Ending {
    /// What was asked for cannot be meant.
    fn usage(said: impl Into<String>) -> Self {
        Self { code: 2, said: said.into() }
    }

    /// The server cannot be reached, or does not answer in time.
    fn unreachable(said: impl Into<String>) -> Self {
        Self { code: 7, said: said.into() }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl std::error::Error for Ending {}

/// Threads for everything asynchronous: one for each core.
fn runtime() -> Result<Runtime> {
    runtime_of(cores())
}

fn runtime_of(threads: usize) -> Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().context("start the runtime")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The threads of a server: those that answer calls, and those that deliver.
///
/// Apart, since the system shares the cores fairly between threads, but a thread serves its tasks in turn: calls
/// in their hundreds would delay what goes out, and what goes out the calls. Taking a message in costs less than
/// sending it on, and half as many threads do it with less contention.
struct Threads {
    calls: Runtime,
    delivery: Runtime,
}

impl Threads {
    fn start() -> Result<Self> {
        Ok(Self { calls: runtime_of(cores().div_ceil(2))?, delivery: runtime()? })
    }

    /// Runs a server's life, given where it is to deliver from.
    fn run<T>(self, life: impl AsyncFnOnce(&Handle) -> Result<T>) -> Result<T> {
        let lived = self.calls.block_on(life(self.delivery.handle()));
        // A lookup by the system cannot be cancelled, and nobody waits for it any more.
        self.delivery.shutdown_background();
        self.calls.shutdown_background();
        lived
    }
}

/// Prints rows in columns that are as wide as their widest cell.
fn print_table<const N: usize>(
    out: &mut impl Write,
    rows: impl Iterator<Item = [String; N]>,
) -> std::io::Result<()> {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
