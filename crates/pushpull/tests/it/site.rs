//! A server with an application, and programs that run beside it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use pushpull_testkit::{Receiver, Reply};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Guarded, Home, Served, call};

/// How long is waited for a line that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server with the application `acme`.
pub(crate) struct Site {
    pub(crate) home: Home,
    pub(crate) served: Option<Served>,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl Site {
    pub(crate) fn start() -> Self {
        let home = Home::new();
        let served = home.serve();
        let key = std::fs::read_to_string(home.data().join("admin.key")).unwrap().trim().to_owned();
        let site = Self { url: served.url.clone(), home, served: Some(served), key };
        site.post("/app", &json!({"name": "acme", "uid": "acme"}));
        site
    }

    /// Stops the server.
    pub(crate) fn stop(&mut self) {
        self.served.take().unwrap().stop();
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        let mut command = self.home.command(&["serve"]);
        command.env("PUSHPULL_LISTEN", self.url.strip_prefix("http://").unwrap());
        self.served = Some(Served::start(command));
    }

    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Value {
        let address = self.url.strip_prefix("http://").unwrap().parse().unwrap();
        let answer = call(address, method, &format!("/api/v1{path}"), Some(&self.key), body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, &body.to_string())
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.call("GET", path, "")
    }

    /// Sends a message; its id. The payload is text, since its bytes matter.
    #[track_caller]
    pub(crate) fn send(&self, event_type: &str, payload: &str) -> String {
        let body = format!(r#"{{"eventType":"{event_type}","payload":{payload}}}"#);
        self.call("POST", "/app/acme/msg", &body)["id"].as_str().unwrap().to_owned()
    }

    /// Sends so many; their ids.
    pub(crate) fn send_many(&self, count: usize) -> Vec<String> {
        (0..count).map(|n| self.send("meter.read", &format!(r#"{{"n": {n}}}"#))).collect()
    }

    /// Waits until a consumer has done everything up to this seq.
    #[track_caller]
    pub(crate) fn until_committed(&self, endpoint: &str, consumer: &str, seq: u64) {
        let path = format!("/app/acme/poller/{endpoint}/consumer/{consumer}/status");
        let deadline = Instant::now() + PATIENCE;
        while self.get(&path)["committed"] != seq {
            assert!(Instant::now() < deadline, "never committed: {}", self.get(&path));
            std::thread::yield_now();
        }
    }

    /// What an endpoint of `acme` is verified with.
    pub(crate) fn secret(&self, endpoint: &str) -> String {
        self.get(&format!("/app/acme/endpoint/{endpoint}/secret"))["key"].as_str().unwrap().to_owned()
    }

    /// A command that calls this server.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.args(["--server", &self.url]);
        command
    }

    /// Listens with `args`, forwarding to a receiver; ready when this returns.
    #[track_caller]
    pub(crate) fn listen(&self, to: &Receiver, args: &[&str]) -> Running {
        let target = to.url("/hooks");
        let listening = Running::start(self.command(&[&["listen", &target, "--app", "acme"], args].concat()));
        listening.wait_for("ready ");
        listening
    }

    /// Makes the endpoint and the place of `listen`, so that what is sent next is read.
    pub(crate) fn prepare(&self) {
        let made = self.command(&["listen", "9", "--app", "acme", "--print-secret"]).output().unwrap();
        assert!(made.status.success());
    }
}

/// Lines as a process writes them.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    fn read(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                lines.0.0.lock().unwrap().push(line.unwrap());
                lines.0.1.notify_all();
            }
        })
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    #[track_caller]
    fn wait_until(&self, wanted: &str, is_there: impl Fn(&[String]) -> bool) {
        let lines = self.0.0.lock().unwrap();
        let (lines, over) = self.0.1.wait_timeout_while(lines, PATIENCE, |lines| !is_there(lines)).unwrap();
        assert!(!over.timed_out(), "{wanted} never came: {lines:#?}");
    }
}

/// A program that runs.
pub(crate) struct Running {
    child: Guarded,
    out: Lines,
    err: Lines,
    reading: [JoinHandle<()>; 2],
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = Guarded(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let (out, err) = (Lines::default(), Lines::default());
        let reading = [out.read(child.0.stdout.take().unwrap()), err.read(child.0.stderr.take().unwrap())];
        Self { child, out, err, reading }
    }

    /// Waits until it has said this on stderr.
    #[track_caller]
    pub(crate) fn wait_for(&self, wanted: &str) {
        self.err.wait_until(wanted, |lines| lines.iter().any(|line| line.contains(wanted)));
    }

    /// Waits until it has printed so many lines; all that it has.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize) -> Vec<String> {
        self.out.wait_until(&format!("line {count}, {:#?}", self.err.all()), |lines| lines.len() >= count);
        self.out.all()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).unwrap();
    }

    /// Waits for its end: the exit code, stdout, and what it said on stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String, Vec<String>) {
        let code = self.child.0.wait().unwrap().code();
        for reading in self.reading {
            reading.join().unwrap();
        }
        (code, self.out.all().join("\n"), self.err.all())
    }

    /// Ends it as Ctrl-C does: stdout, and what it said.
    #[track_caller]
    pub(crate) fn interrupt(self) -> (String, Vec<String>) {
        self.signal(Signal::INT);
        let (code, out, said) = self.end();
        assert_eq!(code, Some(0), "{said:#?}");
        (out, said)
    }
}

/// A server that answers reads of a consumer with these, one after the other, then with empty pages.
pub(crate) async fn scripted(pages: Vec<(u16, String)>) -> Receiver {
    let read = AtomicUsize::new(0);
    Receiver::start(move |received| {
        let path = received.path.split('?').next().unwrap();
        let (status, body) = match path {
            "/api/v1/app/acme" => (200, r#"{"id":"app_1","uid":"acme","name":"acme"}"#.to_owned()),
            "/api/v1/app/app_1/endpoint/live" => (200, r#"{"id":"ep_1","uid":"live"}"#.to_owned()),
            "/api/v1/app/app_1/endpoint/ep_1/secret" => {
                (200, r#"{"key":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}"#.to_owned())
            }
            "/api/v1/app/app_1/poller/ep_1/consumer/listen/status" => (200, "{}".to_owned()),
            "/api/v1/app/app_1/poller/ep_1/consumer/listen" => {
                let end = || (200, r#"{"data":[],"iterator":"end","done":true,"pending":0}"#.to_owned());
                pages.get(read.fetch_add(1, SeqCst)).cloned().unwrap_or_else(end)
            }
            _ => panic!("{path} was called"),
        };
        Reply::status(status).saying(body)
    })
    .await
}

/// A page with one message.
pub(crate) fn page(seq: u64, rest: &str) -> (u16, String) {
    let item = format!(r#"{{"id":"msg_{seq}","eventType":"a","seq":{seq},"position":9,"payload":{{}}}}"#);
    (200, format!(r#"{{"data":[{item}],"iterator":"after-{seq}","done":true,"pending":0{rest}}}"#))
}

/// A page, trouble, an iterator that is not known any more, and a page behind a gap.
pub(crate) fn troubles() -> Vec<(u16, String)> {
    let problem = |status, code| (status, format!(r#"{{"code":"{code}","detail":"said so"}}"#));
    vec![
        page(1, ""),
        problem(503, "store_busy"),
        problem(400, "invalid_iterator"),
        page(7, r#","gap":{"from":2,"until":6}"#),
    ]
}

/// The iterators that a scripted server was sent.
pub(crate) fn iterators_sent(server: &Receiver) -> Vec<String> {
    let received = server.received();
    let given = received.iter().filter_map(|one| Some(one.path.split_once("iterator=")?.1.to_owned()));
    given.filter(|iterator| !iterator.is_empty()).collect()
}
