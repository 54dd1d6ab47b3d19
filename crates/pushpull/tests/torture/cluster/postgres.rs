//! PostgreSQL servers that can be killed, and a standby that has all that was acknowledged.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::eventually;

/// Makes and runs servers, as a user who may.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres");
/// The name that a standby has.
const STANDBY: &str = "standby";

/// A server. Ended, and its files removed, when it is dropped.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    dir: TempDir,
    process: Option<Child>,
}

impl Postgres {
    /// A new one.
    pub(crate) async fn new(port: u16) -> Self {
        let mut server = Self { port, dir: tempfile::tempdir().unwrap(), process: None };
        script(&["make", server.path(), &port.to_string()]).await;
        server.run().await;
        server
    }

    /// A standby of this one, which follows it; from now on, it is waited for with each commit.
    pub(crate) async fn standby(&self, port: u16) -> Self {
        let mut standby = Self { port, dir: tempfile::tempdir().unwrap(), process: None };
        script(&["copy", standby.path(), &port.to_string(), &self.port.to_string()]).await;
        standby.run().await;
        self.wait_for_standby(true).await;
        eventually("a standby that follows", async || {
            let state = self.sql("SELECT state || ' ' || sync_state FROM pg_stat_replication").await;
            (state == "streaming sync").then_some(())
        })
        .await;
        standby
    }

    /// Whether a commit waits for the standby.
    pub(crate) async fn wait_for_standby(&self, waits: bool) {
        let name = if waits { STANDBY } else { "" };
        self.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).await;
        self.sql("SELECT pg_reload_conf()").await;
    }

    /// Runs it, and waits until it takes connections.
    pub(crate) async fn run(&mut self) {
        eventually("a server that runs", async || {
            // A new one does not start as long as something of a killed one is left.
            let is_over = self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some());
            if is_over {
                self.process = Some(spawn(self.path()));
            }
            let id = self.process.as_ref().expect("spawned above").id().to_string();
            let said = std::fs::read_to_string(self.dir.path().join("data/postmaster.pid")).ok()?;
            let mut lines = said.lines();
            let is_it = lines.next() == Some(&id);
            let state = lines.nth(6).unwrap_or_default().trim_end();
            (is_it && matches!(state, "ready" | "standby")).then_some(())
        })
        .await;
    }

    /// Kills the one process that all others of the server depend on; they end by themselves.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Makes a standby the primary, which waits for nobody.
    pub(crate) async fn promote(&self) {
        script(&["promote", self.path()]).await;
        self.wait_for_standby(false).await;
    }

    /// Asks it something; the lines that it answers.
    pub(crate) async fn sql(&self, sql: &str) -> String {
        let url = format!("postgres://pushpull@127.0.0.1:{}/postgres", self.port);
        let sql = sql.to_owned();
        tokio::task::spawn_blocking(move || pushpull_testkit::ask(&url, &sql)).await.unwrap()
    }

    /// Stops the process of a standby that takes in what the primary writes; which one that is.
    pub(crate) async fn freeze(&self) -> Pid {
        let pid = self.sql("SELECT pid FROM pg_stat_wal_receiver").await;
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        pid
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Ends at once, and within 5 s kills what of it does not.
            let _ = kill_process(Pid::from_child(&process), Signal::QUIT);
            let _ = process.wait();
        }
        let _ = std::process::Command::new(SCRIPT).args(["forget", self.path()]).status();
    }
}

fn spawn(dir: &str) -> Child {
    let mut command = std::process::Command::new(SCRIPT);
    command.args(["run", dir]).stdin(Stdio::null()).spawn().unwrap()
}

async fn script(words: &[&str]) {
    let done = Command::new(Path::new(SCRIPT)).args(words).output().await.unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}
