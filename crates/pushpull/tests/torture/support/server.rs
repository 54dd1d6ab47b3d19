//! The real binary, in a directory of its own.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout},
};

use super::{Client, PATIENCE};

/// Where a server keeps everything, and how it is started.
pub(crate) struct Home {
    dir: TempDir,
    program: PathBuf,
    /// What the program is started with: a tracer, a namespace. Empty: nothing.
    wrapper: Vec<OsString>,
    settings: Vec<(&'static str, String)>,
}

impl Home {
    /// The admin key of every server here.
    pub(crate) const KEY: &str = "torture-key-0123456789";

    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("admin.key");
        std::fs::write(&key, Self::KEY).unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let mut settings = vec![
            ("PUSHPULL_DATA", dir.path().join("data").display().to_string()),
            ("PUSHPULL_ADMIN_KEY_FILE", key.display().to_string()),
            ("PUSHPULL_LISTEN", "127.0.0.1:0".into()),
            ("PUSHPULL_EGRESS_ALLOW", "127.0.0.0/8".into()),
            ("PUSHPULL_LOG", "error".into()),
        ];
        if pushpull_testkit::on_postgres() {
            settings.push(("PUSHPULL_STORE", pushpull_testkit::new_database()));
        }
        Self { dir, program: env!("CARGO_BIN_EXE_pushpull").into(), wrapper: Vec::new(), settings }
    }

    /// The same with a setting, in place of the one there is.
    pub(crate) fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.settings.retain(|(name, _)| *name != variable);
        self.settings.push((variable, value.into()));
        self
    }

    /// The same with another program.
    pub(crate) fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// The same, started by another program: a tracer, a namespace.
    pub(crate) fn under(mut self, wrapper: impl IntoIterator<Item: Into<OsString>>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Starts the server; it may not be ready, or never be.
    pub(crate) fn spawn(&self) -> Starting {
        let mut words: Vec<OsString> = self.wrapper.clone();
        words.push(self.program.clone().into());
        words.push("serve".into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().envs(self.settings.iter().cloned());
        // A wrapper is looked up by name.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Starting { child, out, started }
    }

    /// What `pushpull doctor` says of the data, while no server runs.
    pub(crate) async fn doctor(&self) -> String {
        let mut doctor = Command::new(&self.program);
        doctor.arg("doctor").env_clear().envs(self.settings.iter().cloned());
        String::from_utf8(doctor.output().await.unwrap().stdout).unwrap()
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(&self) -> Server {
        match self.spawn().ready().await {
            Ok(server) => server,
            Err(status) => panic!("the server did not start: {status}"),
        }
    }
}

/// A process that may become a server.
pub(crate) struct Starting {
    child: Child,
    out: BufReader<ChildStdout>,
    started: Instant,
}

impl Starting {
    /// Waits until it is ready; an error: it ended before.
    pub(crate) async fn ready(mut self) -> Result<Server, ExitStatus> {
        let mut line = String::new();
        timeout(PATIENCE, self.out.read_line(&mut line)).await.expect("ready in time").unwrap();
        let took = self.started.elapsed();
        match line.trim_end().strip_prefix("ready http://") {
            Some(address) => {
                Ok(Server { address: address.parse().unwrap(), ready_after: took, child: self.child })
            }
            None => Err(self.child.wait().await.unwrap()),
        }
    }

    /// Ends it by SIGKILL, wherever it is.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A server that said it is ready. Killed when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// From the start of the process to the ready line.
    pub(crate) ready_after: Duration,
    child: Child,
}

impl Server {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address, Arc::from(Home::KEY))
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let id = self.child.id().expect("not waited for yet");
        rustix::process::Pid::from_raw(id.cast_signed()).unwrap()
    }

    /// The most memory that it ever had resident, in MiB.
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
    }

    /// Ends it by SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").unwrap()
    }

    /// Stops it as a supervisor does.
    pub(crate) async fn stop(self) {
        self.terminate();
        assert!(self.ended().await.success());
    }
}

/// A client for a server that is at this address now.
pub(crate) fn client_of(address: SocketAddr) -> Client {
    Client::new(address, Arc::from(Home::KEY))
}
