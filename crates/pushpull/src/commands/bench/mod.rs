//! `pushpull bench`: what a server does on this machine, beside the bare ceiling of the same minute.
//!
//! The server is a process of its own, so that its CPU, memory and writes are its own; client and receiver are
//! this process. Nothing is printed while something is measured.

mod apps;
mod backlog;
mod ceiling;
mod deliver;
mod export;
mod figures;
mod hostile;
mod idle;
mod ledger;
mod list;
mod load;
mod long_poll;
mod machine;
mod options;
mod payload;
mod poller;
mod process;
mod readers;
mod receiver;
mod report;
mod scenario;
mod span;
mod stats;
mod subject;
mod target;

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use clap::error::ErrorKind;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::serve::{Stop, raise_descriptors};
use figures::Run;
use options::Plan;
use report::{Measured, Settings};
use scenario::Scenario;
use subject::Origin;

pub(crate) use options::Options as Bench;

/// The exit code of who was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

impl Bench {
    pub(super) fn run(self) -> Result<ExitCode> {
        let plans = self.plans().unwrap_or_else(|error| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("{error:#}\n")).exit()
        });
        let origin = self.origin()?;
        raise_descriptors();
        let runtime = super::runtime()?;
        // Callers do not wait for the receiver's tasks, nor those for them.
        let sending = super::runtime()?;
        let measured = runtime.block_on(async {
            let mut stop = Stop::new()?;
            tokio::select! {
                measured = self.measure(sending.handle(), &origin, plans) => measured.map(Some),
                () = stop.requested() => Ok(None),
            }
        });
        sending.shutdown_background();
        runtime.shutdown_background();
        Ok(match measured? {
            Some(true) => ExitCode::SUCCESS,
            Some(false) => ExitCode::FAILURE,
            None => ExitCode::from(INTERRUPTED),
        })
    }

    /// Measures and tells; whether every promise was kept.
    async fn measure(&self, sending: &Handle, origin: &Origin, plans: Vec<Plan>) -> Result<bool> {
        let mut out = std::io::stdout();
        let settings = Settings::read(origin);
        if !self.json {
            write!(out, "{settings}")?;
        }
        let (mut all, mut kept): (Vec<Value>, bool) = (Vec::new(), true);
        for plan in plans {
            let measured = scenario(sending, origin, plan).await?;
            kept &= !measured.breaks_promises();
            if self.json {
                all.push(measured.to_json());
            } else {
                writeln!(out, "\n{measured}")?;
            }
        }
        if self.json {
            writeln!(out, "{:#}", json!({"settings": settings, "scenarios": all, "ok": kept}))?;
        }
        Ok(kept)
    }
}

/// Measures one scenario as often as is asked for.
async fn scenario(sending: &Handle, origin: &Origin, plan: Plan) -> Result<Measured> {
    let (mut runs, mut ceilings) = (Vec::new(), Vec::new());
    let is_compared = matches!(plan.kind, Scenario::Ingest | Scenario::Deliver | Scenario::FanOut);
    for n in 1..=plan.repeat {
        if is_compared {
            ceilings.push(ceiling(sending, &plan).await?);
        }
        phase(&format!("{}, run {n} of {}", plan.scenario, plan.repeat));
        runs.push(once(sending, origin, &plan).await?);
    }
    if is_compared {
        ceilings.push(ceiling(sending, &plan).await?);
    }
    Ok(Measured::new(plan, runs, ceilings))
}

async fn ceiling(sending: &Handle, plan: &Plan) -> Result<Run> {
    phase("the bare ceiling");
    ceiling::measure(sending, plan).await
}

async fn once(sending: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    match plan.kind {
        Scenario::Ceiling => ceiling::measure(sending, plan).await,
        Scenario::Ingest | Scenario::Deliver | Scenario::FanOut => deliver::run(sending, origin, plan).await,
        Scenario::Hostile => hostile::run(sending, origin, plan).await,
        Scenario::Backlog => backlog::run(sending, origin, plan).await,
        Scenario::Apps => apps::run(sending, origin, plan).await,
        Scenario::List | Scenario::Pages => list::run(sending, origin, plan).await,
        Scenario::Export => export::run(sending, origin, plan).await,
        Scenario::LongPoll => long_poll::run(sending, origin, plan).await,
        Scenario::Readers => readers::run(sending, origin, plan).await,
        Scenario::Idle => idle::run(origin, plan).await,
        Scenario::All => unreachable!("all is made of the others"),
    }
}

/// Says what comes next, on stderr: before it is measured, never meanwhile.
fn phase(what: &str) {
    eprintln!("{what} ...");
}
