//! The real binary, in a directory of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::JoinHandle,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// Where a test's server keeps everything.
pub(crate) struct Home {
    dir: TempDir,
    /// The URL of its database, if the tests are to run on PostgreSQL.
    database: Option<String>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::of(pushpull_testkit::on_postgres().then(pushpull_testkit::new_database))
    }

    /// One whose store is in this database; `None`: a file, whatever the tests run on.
    pub(crate) fn of(database: Option<String>) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), database }
    }

    /// A place for another node: with this one's keys, in a database.
    pub(crate) fn with_its_keys(&self, database: &str) -> Self {
        let other = Self::of(Some(database.to_owned()));
        std::fs::create_dir(other.data()).unwrap();
        for key in ["master.key", "admin.key"] {
            std::fs::copy(self.data().join(key), other.data().join(key)).unwrap();
        }
        other
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.data(), args);
        if let Some(url) = &self.database {
            command.env("PUSHPULL_STORE", url);
        }
        command
    }

    /// A server that speaks TLS as `localhost`; its certificate, in a file and as it is.
    #[track_caller]
    pub(crate) fn serve_tls(&self) -> (Served, PathBuf, CertificateDer<'static>) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert_file, key_file) = (self.path("cert.pem"), self.path("key.pem"));
        std::fs::write(&cert_file, cert.pem()).unwrap();
        std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
        let mut command = self.command(&["serve"]);
        command.env("PUSHPULL_TLS_CERT", &cert_file).env("PUSHPULL_TLS_KEY", &key_file);
        (Served::start(command), cert_file, cert.der().clone())
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail with this code; what it complained about.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}{complaint}", text(&output.stdout));
        complaint
    }

    pub(crate) fn serve(&self) -> Served {
        Served::start(self.command(&["serve"]))
    }
}

/// The program, seeing nothing of the environment of the tests.
pub(crate) fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushpull"));
    command.args(args).env_clear().env("PUSHPULL_DATA", data).env("PUSHPULL_LISTEN", "127.0.0.1:0");
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a server answers, head and all.
pub(crate) fn call(address: SocketAddr, method: &str, path: &str, key: Option<&str>, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{key}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A process that a failed test does not leave behind.
pub(crate) struct Guarded(pub(crate) Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that said it is ready.
pub(crate) struct Served {
    pub(crate) url: String,
    child: Guarded,
    out: BufReader<std::process::ChildStdout>,
    err: Option<JoinHandle<String>>,
}

impl Served {
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = Guarded(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut out = BufReader::new(child.0.stdout.take().unwrap());
        let mut stderr = child.0.stderr.take().unwrap();
        let err = std::thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let Some(url) = line.strip_prefix("ready ") else {
            panic!("not ready: {line}{}", err.join().unwrap());
        };
        Self { url: url.trim_end().to_owned(), child, out, err: Some(err) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.split_once("://").unwrap().1.parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).unwrap();
    }

    /// What is answered to a GET.
    pub(crate) fn get(&self, path: &str, key: Option<&str>) -> String {
        call(self.address(), "GET", path, key, "")
    }

    /// Waits for the end; how it ended, and what it said on stdout after the ready line and on stderr.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String, String) {
        let status = self.child.0.wait().unwrap();
        let mut out = String::new();
        self.out.read_to_string(&mut out).unwrap();
        (status, out, self.err.take().unwrap().join().unwrap())
    }

    /// Stops it as a supervisor does; what it said on stderr.
    #[track_caller]
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let (status, _, err) = self.wait();
        assert_eq!(status.code(), Some(0), "{err}");
        assert!(!err.contains("cut off"), "{err}");
        err
    }
}
