//! What can be asked of the program: one file a command.
#![expect(clippy::print_stderr, reason = "commands speak to people")]

mod backup;
mod bench;
mod call;
mod config;
mod demo;
mod doctor;
mod key;
mod port;
mod serve;

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

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
    Key(key::Key),
    Config(config::Config),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
}

impl Cli {
    /// Does what is asked.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Demo(demo) => demo.run(),
            Command::Key(key) => key.run(),
            Command::Config(config) => config.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Bench(bench) => bench.run(),
        }
    }
}

/// Threads for everything asynchronous.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
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
