//! `pushpull demo`: the main job, on this machine alone, in a few seconds.

mod receiver;
mod report;
mod story;

use std::{io::Write, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use tokio::runtime::Handle;

use super::serve::Stop;
use crate::{
    config::{Config, Flags, LogFormat, Raw},
    telemetry,
    wire::Server,
};
use story::Story;

/// Waits between the attempts of the demonstration: short, so that one sees them all.
const RETRY_SCHEDULE: &str = "400ms,800ms";
/// What to try when nothing of the demonstration is left.
const AFTERWARDS: [&str; 4] = ["pushpull demo", "pushpull serve", "pushpull listen 3000", "pushpull doctor"];
/// Longest time to finish what is in flight at the end.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Show the whole in a few seconds: signed, sent, retried, recovered, read; offline, in a temporary store
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End with the report: 0 only if everything arrived or was read, once, and validly signed
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<ExitCode> {
        telemetry::start("error", LogFormat::Text);
        let home = tempfile::tempdir().context("make a temporary directory")?;
        let config = config(home.path().to_string_lossy().into_owned())?;
        let complete = super::Threads::start()?.run(async |delivery| self.show(&config, delivery).await)?;
        Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Tells the story; whether all went as it should.
    async fn show(&self, config: &Config, delivery: &Handle) -> Result<bool> {
        let mut stop = Stop::new()?;
        let server = Server::start(config, delivery).await?;
        let (mut story, complete) = tokio::select! {
            told = self.tell(&server) => told?,
            () = stop.requested() => return Ok(false),
        };
        if !self.once {
            tokio::select! {
                told = story.go_on() => told?,
                () = stop.requested() => {}
            }
        }
        server.stop(STOP_MAX).await;
        Ok(complete)
    }

    async fn tell(&self, server: &Server) -> Result<(Story, bool)> {
        let mut story = Story::begin(server.url(), &server.admin_key().token).await?;
        let report = story.tell().await?;
        let mut out = std::io::stdout();
        writeln!(out, "{report}")?;
        let next = if self.once { AFTERWARDS.map(String::from) } else { story.next_steps() };
        for (n, step) in next.iter().enumerate() {
            writeln!(out, "{:<7}{step}", if n == 0 { "next" } else { "" })?;
        }
        if !self.once {
            writeln!(
                out,
                "The server and the receivers stay up: what you send is shown here. Ctrl-C ends them."
            )?;
        }
        Ok((story, report.is_complete()))
    }
}

/// The settings of a server for this alone, whatever the environment says.
fn config(data: String) -> Result<Config> {
    let settings = [
        ("PUSHPULL_DATA", data.as_str()),
        ("PUSHPULL_LISTEN", "127.0.0.1:0"),
        ("PUSHPULL_EGRESS_ALLOW", "127.0.0.1/32"),
        ("PUSHPULL_RETRY_SCHEDULE", RETRY_SCHEDULE),
    ];
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Config::parse(&Raw::gather(&Flags::<true>::default(), settings)?)?)
}
