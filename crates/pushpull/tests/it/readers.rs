//! The readers that `docs/push-or-pull.md` shows: each reads every message once, in order, across restarts.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use pushpull_testkit::{Receiver, on_postgres};
use serde_json::{Value, json};

use crate::{
    site::{Running, Site, iterators_sent, scripted, troubles},
    support::{Home, text},
};

/// What stands in the place of the work of a reader that hands pages to a command: a line for each message, as the
/// others print it.
const TELL: &str = "import json, sys\nfor m in json.load(sys.stdin)['data']: print(m['seq'], m['id'])";

/// The files in `docs/readers`, and what runs each.
const READERS: [(&str, &str); 4] =
    [("reader.sh", "sh"), ("reader.py", "python3"), ("reader.mjs", "node"), ("reader.rs", "")];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// A reader of this consumer. Its temporary files are made in `home`.
fn start(file: &str, home: &Home, feed: &str, key: &str) -> Running {
    let (_, program) = READERS.iter().find(|(name, _)| *name == file).unwrap();
    let path = docs().join("readers").join(file);
    let mut command = if program.is_empty() {
        let built = Path::new(env!("CARGO_BIN_EXE_pushpull")).with_file_name("examples/reader");
        assert!(built.exists(), "build it: cargo build -p pushpull --example reader");
        Command::new(built)
    } else {
        let mut command = Command::new(program);
        command.arg(path);
        command
    };
    if file == "reader.sh" {
        command.args(["python3", "-c", TELL]);
    }
    command.env("FEED", feed).env("KEY", key).env("TMPDIR", home.path(""));
    Running::start(command)
}

/// Sends, restarts the server, puts a backup back, and looks at what the reader saw.
fn check(file: &str) {
    let mut site = Site::start();
    site.post("/app/acme/endpoint", &json!({"uid": "orders", "mode": "pull"}));
    let feed = format!("{}/api/v1/app/acme/poller/orders/consumer/books", site.url);
    let mut sent = site.send_many(60);
    let reader = start(file, &site.home, &feed, &site.key);
    reader.wait_for_lines(60);
    sent.extend(site.send_many(3));
    reader.wait_for_lines(63);

    site.stop();
    site.start_again();
    sent.extend(site.send_many(3));
    reader.wait_for_lines(66);
    // A poll that waits says that all before it was handled.
    site.until_committed("orders", "books", 66);

    site.stop();
    // PostgreSQL is backed up with its own means.
    if !on_postgres() {
        back_up_and_restore(&site.home);
    }
    site.start_again();
    sent.extend(site.send_many(2));
    let lines = reader.wait_for_lines(68);
    let expected: Vec<String> = sent.iter().enumerate().map(|(n, id)| format!("{} {id}", n + 1)).collect();
    assert_eq!(lines, expected);
}

fn back_up_and_restore(home: &Home) {
    let backup = home.path("backup.db");
    home.ok(&["backup", backup.to_str().unwrap()]);
    for file in std::fs::read_dir(home.data()).unwrap().map(Result::unwrap) {
        if file.file_name().to_str().unwrap().starts_with("pushpull.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    home.ok(&["restore", backup.to_str().unwrap()]);
}

/// Lets a reader meet a server in trouble.
async fn check_troubles(file: &str) {
    let server = scripted(troubles()).await;
    let feed = server.url("/api/v1/app/app_1/poller/ep_1/consumer/listen");
    let home = Home::new();
    let reader = start(file, &home, &feed, "a key");
    reader.wait_for("missed: ");
    let lines = reader.wait_for_lines(2);
    assert_eq!(lines, ["1 msg_1", "7 msg_7"]);
    server.wait_until(|_| iterators_sent(&server).len() >= 3).await;
    assert_eq!(iterators_sent(&server)[..3], ["after-1", "after-1", "after-7"]);
}

/// A reader whose key is refused ends, and says why.
async fn check_refusal(file: &str) {
    let server = Receiver::start(|_| {
        pushpull_testkit::Reply::status(401).saying(r#"{"code":"authentication_failed","detail":"no"}"#)
    })
    .await;
    let (code, _, said) = start(file, &Home::new(), &server.url("/"), "wrong").end();
    assert_ne!(code, Some(0));
    assert!(said.join("\n").contains("authentication_failed"), "{said:#?}");
}

async fn check_all(file: &str) {
    check(file);
    check_troubles(file).await;
    check_refusal(file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_in_curl_reads_everything_once() {
    check_all("reader.sh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_in_python_reads_everything_once() {
    check_all("reader.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_in_javascript_reads_everything_once() {
    check_all("reader.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_in_rust_reads_everything_once() {
    check_all("reader.rs").await;
}

#[test]
fn the_page_shows_the_readers_as_they_are() {
    let page = text(&std::fs::read(docs().join("push-or-pull.md")).unwrap());
    for (file, _) in READERS {
        let source = text(&std::fs::read(docs().join("readers").join(file)).unwrap());
        assert!(page.contains(&format!("\n{source}```\n")), "docs/push-or-pull.md shows another {file}");
    }
}

#[test]
fn the_page_names_every_parameter_of_every_route_that_reads_a_queue() {
    let page = text(&std::fs::read(docs().join("push-or-pull.md")).unwrap());
    let document: Value =
        serde_json::from_slice(&std::fs::read(docs().join("openapi.json")).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let reading = paths.filter(|(path, _)| path.contains("/{sink_id}"));
    let mut named = 0;
    for (path, method, operation) in reading
        .flat_map(|(path, methods)| methods.as_object().unwrap().iter().map(move |(m, o)| (path, m, o)))
    {
        let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let body = body.as_str().and_then(|to| document.pointer(to.trim_start_matches('#')));
        let fields = body.and_then(|body| body["properties"].as_object()).into_iter().flatten();
        let fields = fields.map(|(name, _)| name.as_str());
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let queries = parameters.filter(|one| one["in"] == "query").map(|one| one["name"].as_str().unwrap());
        for name in queries.chain(fields) {
            named += 1;
            let forms = [format!("`{name}`"), format!("\"{name}\""), format!("`{name}: [")];
            let is_there = forms.iter().any(|form| page.contains(form));
            assert!(is_there, "{method} {path} takes {name}, and docs/push-or-pull.md does not say so");
        }
    }
    assert!(named > 30, "{named}");
}
