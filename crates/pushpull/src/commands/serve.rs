//! `pushpull serve`.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    config::{Config, Flags},
    telemetry,
    wire::Server,
};

/// What is said of settings at the end of the help.
pub(super) const SETTINGS_HELP: &str = "Each setting can also be given in the environment (PUSHPULL_LISTEN for \
    --listen) or as a key of the TOML file (listen = \"...\"); flags win over the environment, and that over the \
    file. In the environment alone: PUSHPULL_JWT_SECRET. Times are written 500ms, 25s, 5m, 2h or 90d.";

/// Serve the API and deliver messages
#[derive(Debug, Args)]
#[command(after_help = SETTINGS_HELP)]
pub(crate) struct Serve {
    #[command(flatten)]
    flags: Flags<true>,
}

impl Serve {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        telemetry::start(&config.log, config.log_format);
        raise_descriptors();
        super::Threads::start()?.run(async |delivery| serve(&config, delivery).await)?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn serve(config: &Config, delivery: &Handle) -> Result<()> {
    let mut stop = Stop::new()?;
    let server = tokio::select! {
        server = Server::start(config, delivery) => server?,
        // Nothing was acknowledged yet, and a migration is done whole or not at all.
        () = stop.requested() => return Ok(()),
    };
    let admin_key = server.admin_key();
    if admin_key.is_new {
        eprintln!("admin key: {}", admin_key.token);
        eprintln!("           shown this once; it is kept in {}", config.admin_key_file.display());
    }
    if is_in_the_open(config) {
        tracing::warn!(
            "keys and payloads come in unencrypted: set tls_cert and tls_key, or name the proxy that speaks TLS \
             in trusted_proxies"
        );
    }
    // Whoever started this may have closed the pipe; it serves all the same.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready {}", server.url()).and_then(|()| out.flush());
    tracing::info!(url = server.url(), version = env!("CARGO_PKG_VERSION"), "ready");

    stop.requested().await;
    tracing::info!("stopping: what is in flight is finished");
    tokio::select! {
        () = server.stop(config.shutdown_timeout) => tracing::info!("stopped"),
        () = stop.requested() => {
            tracing::warn!("told to stop twice: leaving at once");
            #[expect(clippy::disallowed_methods, reason = "what is under way would be waited for")]
            std::process::exit(1);
        }
    }
    Ok(())
}

/// Whether strangers can listen in on those who call.
pub(super) fn is_in_the_open(config: &Config) -> bool {
    !config.listen.ip().is_loopback() && config.tls.is_none() && config.trusted_proxies.is_empty()
}

/// The signals that ask to stop.
pub(super) struct Stop {
    term: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self { term: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(super) async fn requested(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Takes as many descriptors as the system allows: the usual 1,024 are fewer than the connections in and out
/// that there may be.
pub(super) fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of descriptors stays as it is");
    }
}
