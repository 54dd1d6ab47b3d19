//! A `listen` that runs, and a server with an application for it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use pushpull_testkit::Receiver;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Guarded, Home, Served, call};

/// How long is waited for a line that must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A server with the application `acme`.
pub(super) struct Site {
    pub(super) home: Home,
    pub(super) served: Option<Served>,
    pub(super) url: String,
    key: String,
}

impl Site {
    pub(super) fn start() -> Self {
        let home = Home::new();
        let served = home.serve();
        let key = std::fs::read_to_string(home.data().join("admin.key")).unwrap().trim().to_owned();
        let site = Self { url: served.url.clone(), home, served: Some(served), key };
        site.post("/app", &json!({"name": "acme", "uid": "acme"}));
        site
    }

    /// Stops the server.
    pub(super) fn stop(&mut self) {
        self.served.take().unwrap().stop();
    }

    /// Starts it again where it was.
    pub(super) fn start_again(&mut self) {
        let mut command = self.home.command(&["serve"]);
        command.env("PUSHPULL_LISTEN", self.url.strip_prefix("http://").unwrap());
        self.served = Some(Served::start(command));
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &str) -> Value {
        let address = self.url.strip_prefix("http://").unwrap().parse().unwrap();
        let answer = call(address, method, &format!("/api/v1{path}"), Some(&self.key), body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }

    #[track_caller]
    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, &body.to_string())
    }

    #[track_caller]
    pub(super) fn get(&self, path: &str) -> Value {
        self.call("GET", path, "")
    }

    /// Sends a message; its id. The payload is text, since its bytes matter.
    #[track_caller]
    pub(super) fn send(&self, event_type: &str, payload: &str) -> String {
        let body = format!(r#"{{"eventType":"{event_type}","payload":{payload}}}"#);
        self.call("POST", "/app/acme/msg", &body)["id"].as_str().unwrap().to_owned()
    }

    /// Sends so many; their ids.
    pub(super) fn send_many(&self, count: usize) -> Vec<String> {
        (0..count).map(|n| self.send("meter.read", &format!(r#"{{"n": {n}}}"#))).collect()
    }

    /// What an endpoint of `acme` is verified with.
    pub(super) fn secret(&self, endpoint: &str) -> String {
        self.get(&format!("/app/acme/endpoint/{endpoint}/secret"))["key"].as_str().unwrap().to_owned()
    }

    /// A command that calls this server.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.args(["--server", &self.url]);
        command
    }

    /// Listens with `args`, forwarding to a receiver; ready when this returns.
    #[track_caller]
    pub(super) fn listen(&self, to: &Receiver, args: &[&str]) -> Listening {
        let target = to.url("/hooks");
        let listening =
            Listening::start(self.command(&[&["listen", &target, "--app", "acme"], args].concat()));
        listening.wait_for("ready ");
        listening
    }

    /// Makes the endpoint and the place of `listen`, so that what is sent next is read.
    pub(super) fn prepare(&self) {
        let made = self.command(&["listen", "9", "--app", "acme", "--print-secret"]).output().unwrap();
        assert!(made.status.success());
    }
}

/// A `listen` that runs.
pub(super) struct Listening {
    child: Guarded,
    out: JoinHandle<String>,
    said: Arc<(Mutex<Vec<String>>, Condvar)>,
    err: JoinHandle<()>,
}

impl Listening {
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = Guarded(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut out = child.0.stdout.take().unwrap();
        let out = std::thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            text
        });
        let said: Arc<(Mutex<Vec<String>>, Condvar)> = Arc::default();
        let (lines, shared) = (BufReader::new(child.0.stderr.take().unwrap()).lines(), Arc::clone(&said));
        let err = std::thread::spawn(move || {
            for line in lines {
                shared.0.lock().unwrap().push(line.unwrap());
                shared.1.notify_all();
            }
        });
        Self { child, out, said, err }
    }

    /// Waits until it has said this on stderr.
    #[track_caller]
    pub(super) fn wait_for(&self, wanted: &str) {
        let has = |said: &mut Vec<String>| !said.iter().any(|line| line.contains(wanted));
        let said = self.said.0.lock().unwrap();
        let (said, over) = self.said.1.wait_timeout_while(said, PATIENCE, has).unwrap();
        assert!(!over.timed_out(), "never said {wanted:?}: {said:#?}");
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).unwrap();
    }

    /// Waits for its end: the exit code, stdout, and what it said on stderr.
    pub(super) fn end(mut self) -> (Option<i32>, String, Vec<String>) {
        let code = self.child.0.wait().unwrap().code();
        self.err.join().unwrap();
        (code, self.out.join().unwrap(), std::mem::take(&mut *self.said.0.lock().unwrap()))
    }

    /// Ends it as Ctrl-C does: stdout, and what it said.
    #[track_caller]
    pub(super) fn interrupt(self) -> (String, Vec<String>) {
        self.signal(Signal::INT);
        let (code, out, said) = self.end();
        assert_eq!(code, Some(0), "{said:#?}");
        (out, said)
    }
}
