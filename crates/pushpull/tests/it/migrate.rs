//! An embedded store, moved into PostgreSQL: nobody who calls the server notices.

mod cut_off;
mod days;
mod refused;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Instant,
};

use pushpull_testkit::{Receiver, Reply, new_database};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    site::{PATIENCE, Site},
    support::{Home, Served, call, text},
};

/// A server on this place that may deliver to this machine.
fn serve(home: Home) -> Site {
    let mut command = home.command(&["serve"]);
    command.env("PUSHPULL_EGRESS_ALLOW", "127.0.0.0/8");
    let served = Served::start(command);
    let key = std::fs::read_to_string(home.data().join("admin.key")).unwrap().trim().to_owned();
    Site { url: served.url.clone(), home, served: Some(served), key }
}

/// Runs `pushpull migrate` from a place into a database; what it said.
#[track_caller]
fn migrate(from: &Home, to: &str) -> String {
    let data = from.data();
    let output = from.run(&["migrate", "--from", data.to_str().unwrap(), "--to", to]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

/// Waits until a list has so many items.
#[track_caller]
fn until_listed(site: &Site, path: &str, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while site.get(path)["data"].as_array().unwrap().len() < count {
        assert!(Instant::now() < deadline, "{path} never came to {count}: {}", site.get(path));
        std::thread::yield_now();
    }
}

/// What is answered to a GET, to the byte; but for what tells the time.
fn answer(site: &Site, path: &str, key: &str) -> String {
    let address = site.url.strip_prefix("http://").unwrap().parse().unwrap();
    let answer = call(address, "GET", &format!("/api/v1{path}"), Some(key), "");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    match serde_json::from_str(body) {
        Ok(Value::Object(mut status)) if path.ends_with("/status") => {
            status["lag"].as_object_mut().unwrap().remove("seconds");
            Value::Object(status).to_string()
        }
        _ => body.to_owned(),
    }
}

/// Sends a message to `other` under an idempotency key; its id.
fn send_once(site: &Site) -> String {
    let mut stream = TcpStream::connect(site.url.strip_prefix("http://").unwrap()).unwrap();
    let body = r#"{"eventType": "once", "payload": {}}"#;
    write!(
        stream,
        "POST /api/v1/app/other/msg HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Idempotency-Key: the-only-one\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        site.key,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 202"), "{answer}");
    serde_json::from_str::<Value>(body).unwrap()["id"].as_str().unwrap().to_owned()
}

const ENDPOINTS: [&str; 6] = ["hooks", "broken", "retrying", "orders", "jobs", "held"];
const MESSAGES: usize = 12;

/// Puts something of everything into `acme`, and lets it come to rest; its messages.
fn fill(site: &Site, ok: &Receiver, failing: &Receiver) -> Vec<String> {
    for app in ["acme", "other", "gone", "busy"] {
        site.post("/app", &json!({"name": app, "uid": app, "metadata": {"of": app}}));
    }
    site.post("/event-type", &json!({"name": "meter.read", "description": "A meter was read."}));
    site.post("/event-type", &json!({"name": "meter.old", "description": "Not any more."}));
    site.call("DELETE", "/event-type/meter.old", "");
    for endpoint in [
        json!({"uid": "hooks", "url": ok.url("/hooks"), "filterTypes": ["meter.read"], "rateLimit": 1000}),
        json!({"uid": "broken", "url": failing.url("/broken"), "retrySchedule": [], "channels": ["north"]}),
        json!({"uid": "retrying", "url": failing.url("/retrying"), "retrySchedule": [3600]}),
        json!({"uid": "orders", "mode": "pull"}),
        json!({"uid": "jobs", "mode": "pull"}),
        json!({"uid": "held", "url": ok.url("/held")}),
        json!({"uid": "dropped", "mode": "pull"}),
    ] {
        site.post("/app/acme/endpoint", &endpoint);
    }
    site.call("PATCH", "/app/acme/endpoint/held", r#"{"mode": "held"}"#);
    site.call("PUT", "/app/acme/endpoint/hooks/headers", r#"{"headers": {"x-secret": "told to nobody"}}"#);
    let sent: Vec<String> = (0..MESSAGES)
        .map(|n| {
            let message = json!({
                "eventType": "meter.read", "payload": {"n": n}, "eventId": format!("event-{n}"),
                "channels": ["north", "south"], "tags": ["tagged"],
            });
            site.post("/app/acme/msg", &message)["id"].as_str().unwrap().to_owned()
        })
        .collect();
    site.post("/app/gone/endpoint", &json!({"uid": "queue", "mode": "pull"}));
    for app in ["other", "gone"] {
        site.post(&format!("/app/{app}/msg"), &json!({"eventType": "meter.read", "payload": {"of": app}}));
    }
    site.call("DELETE", "/app/gone", "");
    site.call("DELETE", "/app/acme/endpoint/dropped", "");
    for endpoint in ["hooks", "broken", "retrying"] {
        until_listed(site, &format!("/app/acme/attempt/endpoint/{endpoint}?limit=50"), MESSAGES);
    }
    site.call("DELETE", &format!("/app/acme/msg/{}/content", sent[3]), "");
    site.post(&format!("/app/acme/msg/{}/endpoint/hooks/resend", sent[0]), &json!({}));
    until_listed(site, "/app/acme/attempt/endpoint/hooks?limit=50", MESSAGES + 1);
    sent
}

/// Readers who are on their way.
struct Readers {
    books: Value,
    nobody: Value,
    poller_token: String,
}

impl Readers {
    fn begin(site: &Site) -> Self {
        const BOOKS: &str = "/app/acme/poller/orders/consumer/books";
        const LEASED: &str = "/app/acme/polling-endpoint/orders/consumer/leaser";
        const WORKERS: &str = "/app/acme/poller/jobs/consumer/workers";
        let first = site.get(&format!("{BOOKS}?limit=3"));
        let iterator = first["iterator"].as_str().unwrap();
        let books = site.get(&format!("{BOOKS}?limit=3&iterator={iterator}"))["iterator"].clone();
        let nobody = site.get("/app/acme/poller/orders?limit=5")["iterator"].clone();
        site.get(&format!("{LEASED}?limit=4&lease_duration_ms=43200000&holder=one"));
        site.post(&format!("{LEASED}/commit?holder=one"), &json!({"offset": 2}));
        site.call("PUT", WORKERS, r#"{"from": "earliest", "maxDeliver": 1}"#);
        site.post(&format!("{WORKERS}/pull"), &json!({"max": 6, "lease": 43_200, "holder": "two"}));
        let answers = json!({"ack": [1, 4], "nack": [{"seq": 2, "do": "park"}], "holder": "two"});
        site.post(&format!("{WORKERS}/ack"), &answers);
        let token = site.get("/auth/app/acme/poller/orders/token")["token"].as_str().unwrap().to_owned();
        Self { books, nobody, poller_token: token }
    }
}

/// Every list there is of `acme`, and more.
fn paths(sent: &[String]) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/app",
        "/app/other/msg",
        "/app/acme/endpoint",
        "/app/acme/destination",
        "/app/acme/msg?limit=5",
        "/app/acme/msg?limit=250&tag=tagged&with_content=false",
        "/event-type?include_archived=true&with_content=true",
        "/app/acme/poller/orders/consumer",
        "/app/acme/poller/orders/consumer/books/status",
        "/app/acme/poller/orders/consumer/leaser/status",
        "/app/acme/poller/jobs/consumer/workers/status",
        "/app/acme/poller/jobs/consumer/workers/parked",
    ]
    .map(str::to_owned)
    .into();
    for endpoint in ENDPOINTS {
        let of = |rest| format!("/app/acme/endpoint/{endpoint}{rest}");
        paths.extend([of(""), of("/secret"), of("/headers"), of("/stats"), of("/audit"), of("/msg?limit=7")]);
        paths.push(format!("/app/acme/attempt/endpoint/{endpoint}?with_msg=true"));
    }
    for message in sent {
        paths.push(format!("/app/acme/msg/{message}"));
        paths.push(format!("/app/acme/msg/{message}/endpoint"));
        paths.push(format!("/app/acme/attempt/msg/{message}"));
    }
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_moved_answers_as_before_and_goes_on() {
    let (ok, failing) = (Receiver::ok().await, Receiver::start(|_| Reply::status(500)).await);
    let gate: &'static Arc<Semaphore> = Box::leak(Box::new(Arc::new(Semaphore::new(0))));
    let stalling = Receiver::start(move |_| Reply::status(200).behind(gate)).await;
    let mut site = serve(Home::of(None));
    let sent = fill(&site, &ok, &failing);
    let readers = Readers::begin(&site);
    let token = site.home.ok(&["key", "create", "--name", "reads", "--scope", "read"]);
    let once = send_once(&site);
    let paths = paths(&sent);
    let key = site.key.clone();
    let before: Vec<String> = paths.iter().map(|path| answer(&site, path, &key)).collect();

    // Nobody knows what became of these.
    site.post("/app/busy/endpoint", &json!({"uid": "stalls", "url": stalling.url("/")}));
    let owed: Vec<Value> = (0..3)
        .map(|n| site.post("/app/busy/msg", &json!({"eventType": "a", "payload": {"n": n}}))["id"].clone())
        .collect();
    stalling.wait_for(1).await;
    let mut killed = site.served.take().unwrap();
    killed.signal(Signal::KILL);
    killed.wait();
    let arrived = stalling.received().len();

    let database = new_database();
    let said = migrate(&site.home, &database);
    for wanted in ["100 % consumer_item", "are the same on both sides", "ledger: ", "master.key to each node"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(migrate(&site.home, &database).contains("was moved to"), "it may be run again");
    gate.add_permits(1000);
    let moved = serve(site.home.with_its_keys(&database));
    assert_eq!(moved.key, key);
    for (path, before) in paths.iter().zip(&before) {
        assert_eq!(answer(&moved, path, &key), *before, "{path}");
    }
    answer(&moved, "/app/acme/msg", token.trim());
    assert_eq!(send_once(&moved), once, "the same key is the same message");

    // What was owed goes out, by the same ids.
    stalling
        .wait_until(|received| {
            let has = |id: &Value| received[arrived..].iter().any(|one| one.header("webhook-id") == id);
            owed.iter().all(has)
        })
        .await;
    moved.call("PATCH", "/app/acme/endpoint/held", r#"{"mode": "push"}"#);
    ok.wait_until(|received| received.iter().filter(|one| one.path == "/held").count() == MESSAGES - 1).await;

    goes_on(&moved, &readers);
    let audit = ["audit", "--server", &moved.url, "--app", "acme", "--endpoint", "jobs", "--json"];
    let audited: Value = serde_json::from_slice(&moved.home.run(&audit).stdout).unwrap();
    assert_eq!((&audited["gapFree"], &audited["accepted"]), (&json!(true), &json!(MESSAGES + 1)));
}

/// Readers go on where they were, and what is new has the next numbers.
fn goes_on(moved: &Site, readers: &Readers) {
    let seqs = |page: &Value| -> Vec<u64> {
        page["data"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()).collect()
    };
    let after = |iterator: &Value| format!("iterator={}", iterator.as_str().unwrap());
    let books = format!("/app/acme/poller/orders/consumer/books?limit=3&{}", after(&readers.books));
    assert_eq!(seqs(&moved.get(&books)), [7, 8, 9]);
    let nobody = format!("/app/acme/poller/orders?limit=3&{}", after(&readers.nobody));
    let page: Value = serde_json::from_str(&answer(moved, &nobody, &readers.poller_token)).unwrap();
    assert_eq!(seqs(&page), [6, 7, 8]);
    let leased = "/app/acme/polling-endpoint/orders/consumer/leaser?limit=4&holder=one";
    let leased = moved.get(leased);
    assert_eq!(leased["data"].as_array().map(Vec::len), Some(4), "{leased}");
    let workers = "/app/acme/poller/jobs/consumer/workers";
    assert_eq!(seqs(&moved.post(&format!("{workers}/pull"), &json!({"max": 3}))), [7, 8, 9]);
    assert_eq!(moved.post(&format!("{workers}/replay"), &json!({})), json!({"replayed": 1}));

    let repeated = json!({"eventType": "meter.read", "payload": {}, "eventId": "event-5"});
    let address = moved.url.strip_prefix("http://").unwrap().parse().unwrap();
    let answer = call(address, "POST", "/api/v1/app/acme/msg", Some(&moved.key), &repeated.to_string());
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    moved.send("meter.read", "{}");
    let newest = moved.get(&format!("/app/acme/poller/orders?limit=250&{}", after(&readers.nobody)));
    let newest = newest["data"].as_array().unwrap().last().unwrap();
    assert_eq!((&newest["seq"], &newest["position"]), (&json!(MESSAGES + 1), &json!(MESSAGES + 1)));
    moved.post("/app", &json!({"name": "new", "uid": "new"}));
    moved.post("/app/new/endpoint", &json!({"uid": "queue", "mode": "pull"}));
    moved.post("/app/new/msg", &json!({"eventType": "a", "payload": {}}));
    let page = moved.get("/app/new/poller/queue");
    assert_eq!(seqs(&page), [1]);
}
