//! The server that is measured: a process of its own with a store of its own, or one that is given.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pushpull_domain::key;
use pushpull_store_postgres::ScratchDatabase;
use pushpull_store_sqlite::FILE_NAME;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::Instant,
};

use super::process::{Usage, resident_mib};
use crate::{
    chance::SystemChance,
    commands::{call::Api, runtime},
};

const STORE_VARIABLE: &str = "PUSHPULL_STORE";
/// Longest time until a server says that it is ready.
const READY_MAX: Duration = Duration::from_mins(2);
/// Longest time until a server has ended that was told to stop.
const STOP_MAX: Duration = Duration::from_mins(1);
/// How often it is looked whether a server has come to rest.
const REST_LOOK: Duration = Duration::from_millis(100);
/// Looks without any use of CPU after which it has: outcomes are written within 50 ms, and the log is written
/// back into the file each 500 ms.
const REST_LOOKS: usize = 7;
/// Longest time that is waited for it to rest.
const REST_MAX: Duration = Duration::from_secs(5);

/// How a server comes to be there.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// Started for one run, in a new directory in this one; the system's for temporary files if there is none. Its
    /// store is there, or in a new database on a PostgreSQL server.
    Own { dir: Option<PathBuf>, postgres: Option<PostgresServer>, retry_schedule: &'static str },
    /// Given: its address, an admin key, and its process if that may be looked at.
    Given { address: SocketAddr, key: String, pid: Option<u32> },
}

/// Where databases are made.
#[derive(Clone, Debug)]
pub(super) struct PostgresServer {
    pub(super) url: String,
    /// Its first process, if what it uses is to be told.
    pub(super) pid: Option<u32>,
}

/// A server at work.
pub(super) struct Subject {
    pub(super) address: SocketAddr,
    pub(super) key: String,
    pub(super) api: Api,
    pid: Option<u32>,
    own: Option<Own>,
}

struct Own {
    process: Process,
    started_in: Duration,
    retry_schedule: &'static str,
    database: Option<Database>,
    /// Removed after its process has gone.
    home: TempDir,
}

/// The database of our own server. Removed when this is dropped.
struct Database {
    scratch: ScratchDatabase,
    /// The first process of PostgreSQL.
    pid: Option<u32>,
}

impl Drop for Database {
    fn drop(&mut self) {
        let scratch = self.scratch.clone();
        // Whoever interrupts this waits for it too, and no runtime may be waited for within another.
        let removing = std::thread::spawn(move || Ok(runtime()?.block_on(scratch.drop())?));
        let removed: Result<()> = removing.join().unwrap_or_else(|_| Err(anyhow!("it panicked")));
        if let Err(error) = removed {
            eprintln!("a database could not be removed: {error:#}");
        }
    }
}

/// Ended when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.start_kill();
        // What was killed goes at once. Until it has, it may write into the directory that is removed next.
        while let Ok(None) = self.0.try_wait() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Subject {
    /// Starts it, or greets the one that is given.
    pub(super) async fn start(origin: &Origin) -> Result<Self> {
        match origin {
            Origin::Own { dir, postgres, retry_schedule } => {
                let home = match dir {
                    Some(dir) => tempfile::tempdir_in(dir),
                    None => tempfile::tempdir(),
                };
                let home = home.context("make a temporary directory")?;
                let key = key::generate_token(&SystemChance);
                fs::write(home.path().join("key"), &key).context("write the server's key")?;
                let database = match postgres {
                    None => None,
                    Some(PostgresServer { url, pid }) => {
                        let scratch = ScratchDatabase::make(url, &SystemChance).await;
                        Some(Database { scratch: scratch.context("make a database")?, pid: *pid })
                    }
                };
                Self::spawn(home, key, retry_schedule, database).await
            }
            Origin::Given { address, key, pid } => {
                let api = Api::new(*address, Some(key.clone()));
                let (status, answer) = api.call("GET", "/api/v1/app?limit=1", None).await?;
                ensure!(status.is_success(), "the server does not take the key: {status} {answer}");
                Ok(Self { address: *address, key: key.clone(), api, pid: *pid, own: None })
            }
        }
    }

    async fn spawn(
        home: TempDir,
        key: String,
        retry_schedule: &'static str,
        database: Option<Database>,
    ) -> Result<Self> {
        let start = Instant::now();
        let store = database.as_ref().map(|database| database.scratch.url());
        let (process, address) = spawn(home.path(), retry_schedule, store).await?;
        let pid = process.0.id();
        let own = Own { process, started_in: start.elapsed(), retry_schedule, database, home };
        Ok(Self { address, api: Api::new(address, Some(key.clone())), key, pid, own: Some(own) })
    }

    /// What it has used by now, and its PostgreSQL server where that may be looked at; `None`: its process may not be.
    pub(super) fn usage(&self) -> Result<Option<Usage>> {
        let usage = self.pid.map(Usage::of).transpose()?;
        let Some(database) = self.own.as_ref().and_then(|own| own.database.as_ref()) else {
            return Ok(usage);
        };
        let store = database.pid.map(Usage::of_tree).transpose()?.unwrap_or_default();
        Ok(usage.map(|usage| Usage { cpu: usage.cpu + store.cpu, written: None }))
    }

    /// Resident now and at most since its start, in MiB.
    pub(super) fn resident_mib(&self) -> Result<Option<(f64, f64)>> {
        self.pid.map(resident_mib).transpose()
    }

    /// From its start until it said that it was ready.
    pub(super) fn started_in(&self) -> Option<Duration> {
        self.own.as_ref().map(|own| own.started_in)
    }

    /// Waits until it has written what there is to write, and uses no CPU any more.
    pub(super) async fn rest(&self) -> Result<()> {
        let deadline = Instant::now() + REST_MAX;
        let (mut before, mut same) = (self.usage()?, 0);
        while same < REST_LOOKS && Instant::now() < deadline {
            tokio::time::sleep(REST_LOOK).await;
            let now = self.usage()?;
            let is_same = now.map(|usage| usage.cpu) == before.map(|usage| usage.cpu);
            same = if is_same { same + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    /// Stops it if it is our own; the bytes of its store then.
    pub(super) async fn stop(self) -> Result<Option<u64>> {
        let Some(mut own) = self.own else { return Ok(None) };
        own.process.end().await?;
        match &own.database {
            Some(database) => database.scratch.size().await.context("look at the server's store").map(Some),
            None => store_bytes(&data(own.home.path())).map(Some),
        }
    }

    /// Stops our own and starts it again on the same store.
    pub(super) async fn restart(self) -> Result<Self> {
        let mut own = self.own.context("a server that is given is not restarted")?;
        own.process.end().await?;
        Self::spawn(own.home, self.key, own.retry_schedule, own.database).await
    }

    /// Makes something; its id.
    pub(super) async fn make(&self, path: &str, body: &Value) -> Result<String> {
        let (status, answer) = self.api.call("POST", path, Some(body)).await?;
        let id = answer["id"].as_str().filter(|_| status.is_success());
        id.map(str::to_owned).with_context(|| format!("POST {path}: {status} {answer}"))
    }

    /// Makes an application.
    pub(super) async fn make_app(&self) -> Result<String> {
        self.make("/api/v1/app", &json!({"name": "pushpull bench"})).await
    }

    /// Makes an endpoint; what its signatures are checked with.
    pub(super) async fn make_endpoint(&self, app: &str, url: &str) -> Result<String> {
        let made = self.make(&format!("/api/v1/app/{app}/endpoint"), &json!({"url": url})).await;
        let made =
            made.context("make an endpoint (a given server needs PUSHPULL_EGRESS_ALLOW=127.0.0.1/32)")?;
        let path = format!("/api/v1/app/{app}/endpoint/{made}/secret");
        let (_, secret) = self.api.call("GET", &path, None).await?;
        secret["key"].as_str().map(str::to_owned).context("read the endpoint's secret")
    }

    /// Makes an endpoint that nobody pushes to; the path of its queue.
    pub(super) async fn make_queue(&self, app: &str) -> Result<String> {
        let made = self.make(&format!("/api/v1/app/{app}/endpoint"), &json!({"mode": "pull"})).await?;
        Ok(format!("/api/v1/app/{app}/poller/{made}"))
    }

    /// Removes an application from a server that is given; our own ends with all it has.
    pub(super) async fn remove_app(&self, app: &str) -> Result<()> {
        if self.own.is_none() {
            self.api.call("DELETE", &format!("/api/v1/app/{app}"), None).await?;
        }
        Ok(())
    }
}

impl Process {
    /// Stops it as a supervisor does.
    async fn end(&mut self) -> Result<()> {
        let pid = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.context("the server has ended by itself")?, Signal::TERM)
            .context("stop the server")?;
        let ended = tokio::time::timeout(STOP_MAX, self.0.wait()).await;
        let status = ended.context("the server does not stop")??;
        ensure!(status.success(), "the server ended badly: {status}");
        Ok(())
    }
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

/// Starts this program as a server that sees nothing of our environment; when this returns, it is ready.
async fn spawn(home: &Path, retry_schedule: &str, store: Option<String>) -> Result<(Process, SocketAddr)> {
    let child = Command::new(std::env::current_exe().context("find this program")?)
        .args(["serve", "--log", "error", "--listen", "127.0.0.1:0", "--egress-allow", "127.0.0.1/32"])
        .args(["--shutdown-timeout", "2s", "--retry-schedule", retry_schedule])
        .arg("--data")
        .arg(data(home))
        .arg("--admin-key-file")
        .arg(home.join("key"))
        .env_clear()
        // Not an argument, which anybody may see.
        .envs(store.map(|store| (STORE_VARIABLE, store)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start a server")?;
    let mut process = Process(child);
    let out = process.0.stdout.take().context("read what the server says")?;
    let mut line = String::new();
    let mut out = BufReader::new(out);
    let said = tokio::time::timeout(READY_MAX, out.read_line(&mut line)).await;
    said.context("the server is not ready in time")?.context("read what the server says")?;
    match line.trim_end().strip_prefix("ready http://").map(str::parse) {
        Some(Ok(address)) => Ok((process, address)),
        Some(Err(_)) | None => bail!("the server did not start: it said `{}`", line.trim_end()),
    }
}

/// Bytes of the store's file. The log beside it may outlive a stop, but it was written back before.
fn store_bytes(data: &Path) -> Result<u64> {
    Ok(fs::metadata(data.join(FILE_NAME)).context("look at the server's store")?.len())
}
