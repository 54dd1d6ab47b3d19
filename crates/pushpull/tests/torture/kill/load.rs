//! Clients that never rest, and write down what they were told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Answer, Client, Dice, Lives, Sink, Visitor, hash, is_one_in, let_pass};

use super::books::position;

/// Clients at once.
const CLIENTS: usize = 32;
/// Applications.
pub(crate) const APPS: usize = 4;
/// Endpoints of each application: one that takes everything, one of one event type only, one that fails at times.
pub(crate) const ENDPOINTS: [&str; 4] = ["all", "paid", "flaky", ORDERED];
/// The endpoint that is sent each message only when the one before is over; it fails at times too.
pub(crate) const ORDERED: &str = "ordered";
/// The event type that the choosy endpoint takes.
pub(crate) const PAID: &str = "invoice.paid";
/// The others.
const OTHERS: [&str; 2] = ["invoice.sent", "order.made"];

/// What a client knows of one message at the end.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) app: usize,
    pub(crate) event_type: &'static str,
    /// Of the payload.
    pub(crate) hash: [u8; 32],
    /// Every id that was acknowledged for it. Empty: it was refused.
    pub(crate) ids: Vec<String>,
    /// The highest position of the application that was acknowledged before it was first sent.
    pub(crate) floor: u64,
}

struct Shared {
    next: AtomicU64,
    over: AtomicBool,
    lives: Arc<Lives>,
    entries: Mutex<Vec<Entry>>,
    acknowledged: [AtomicU64; APPS],
}

/// The clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

/// What the receiver answers: the flaky endpoint fails the first time for an eighth of all messages, the ordered one for
/// one in 64.
pub(crate) fn decide(path: &str, id: &str, before: usize) -> u16 {
    let fails = before == 0
        && (path.ends_with("/flaky") && is_one_in(8, id) || path.ends_with(ORDERED) && is_one_in(64, id));
    if fails { 503 } else { 200 }
}

/// The path that an endpoint is called at.
pub(crate) fn path(app: usize, endpoint: &str) -> String {
    format!("/app-{app}/{endpoint}")
}

/// Makes the applications and endpoints.
pub(crate) async fn set_up(client: &mut Client, sink: &Sink) {
    for app in 0..APPS {
        client.app(&format!("app-{app}")).await;
        for name in ENDPOINTS {
            let mut endpoint = json!({"url": sink.url(&path(app, name)), "uid": name});
            if name == "paid" {
                endpoint["eventTypes"] = json!([PAID]);
            }
            if name == ORDERED {
                endpoint["fifo"] = json!(true);
            }
            client.post(&format!("/api/v1/app/app-{app}/endpoint"), &endpoint).await.expect(201);
        }
    }
}

impl Load {
    /// As many clients as can be, of one server.
    pub(crate) fn start(dice: &Dice) -> Self {
        Self::start_at(Arc::new(Lives::new()), CLIENTS, Duration::ZERO, dice)
    }

    /// Clients who rest between two messages.
    pub(crate) fn start_at(lives: Arc<Lives>, clients: usize, rest: Duration, dice: &Dice) -> Self {
        let shared = Arc::new(Shared {
            next: AtomicU64::new(0),
            over: AtomicBool::new(false),
            lives,
            entries: Mutex::default(),
            acknowledged: [const { AtomicU64::new(0) }; APPS],
        });
        let mut working = JoinSet::new();
        for _ in 0..clients {
            let (shared, visitor) = (Arc::clone(&shared), shared.lives.visitor());
            let clerk = Clerk { shared, dice: dice.fork(), visitor, rest };
            working.spawn(clerk.work());
        }
        Self { shared, clients: working }
    }

    /// The server is there.
    pub(crate) fn serve_at(&self, address: SocketAddr) {
        self.shared.lives.serve_at(address);
    }

    /// It is gone.
    pub(crate) fn nobody_serves(&self) {
        self.shared.lives.nobody_serves();
    }

    /// Lets each client finish what it is at; what they know.
    pub(crate) async fn finish(mut self) -> Vec<Entry> {
        self.shared.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.shared.entries.lock().unwrap())
    }
}

/// A request to be sent until it is answered.
struct Post {
    n: u64,
    app: usize,
    key: String,
    body: Bytes,
    is_refused: bool,
}

/// One client.
struct Clerk {
    shared: Arc<Shared>,
    dice: Dice,
    visitor: Visitor,
    rest: Duration,
}

impl Clerk {
    async fn work(mut self) {
        let mut last: Option<(Post, Entry)> = None;
        while !self.shared.over.load(Ordering::SeqCst) {
            let (post, mut entry) = self.make();
            self.send(&post, &mut entry).await;
            // What was answered before is asked again at times, in this life or in another.
            if self.dice.once_in(20)
                && let Some((post, entry)) = &mut last
            {
                self.send(post, entry).await;
            }
            if let Some((_, known)) = last.replace((post, entry)) {
                self.shared.entries.lock().unwrap().push(known);
            }
            if !self.rest.is_zero() {
                let_pass(self.rest).await;
            }
        }
        self.shared.entries.lock().unwrap().extend(last.map(|(_, entry)| entry));
    }

    fn make(&self) -> (Post, Entry) {
        let n = self.shared.next.fetch_add(1, Ordering::SeqCst);
        let app = self.dice.below(APPS as u64) as usize;
        let event_type = if self.dice.once_in(3) { PAID } else { self.dice.pick(&OTHERS) };
        let is_refused = self.dice.once_in(40);
        let pad = "x".repeat(self.dice.below(1_500) as usize);
        // Not as a JSON library writes it: bytes that were parsed and written anew would differ.
        let payload = format!(r#"{{ "n" :{n}, "amount": 1.10, "pad":"{pad}" }}"#);
        let name = if is_refused { "no such name" } else { event_type };
        let body = format!(r#"{{"eventType":"{name}","payload":{payload}}}"#).into();
        let floor = self.shared.acknowledged[app].load(Ordering::SeqCst);
        let entry = Entry { app, event_type, hash: hash(payload.as_bytes()), ids: Vec::new(), floor };
        (Post { n, app, key: format!("key-{n}"), body, is_refused }, entry)
    }

    /// Sends a request, again and again until somebody answers; in whatever life of the server.
    async fn send(&mut self, post: &Post, entry: &mut Entry) {
        let path = format!("/api/v1/app/app-{}/msg", post.app);
        let headers = [("idempotency-key", &*post.key)];
        let answer = self.visitor.ask(Method::POST, &path, post.body.clone(), &headers).await;
        self.note(post, entry, &answer);
    }

    fn note(&self, post: &Post, entry: &mut Entry, answer: &Answer) {
        let expected = if post.is_refused { 422 } else { 202 };
        assert_eq!(answer.status, expected, "{}: {}", post.n, String::from_utf8_lossy(&answer.body));
        if !post.is_refused {
            let id = answer.text("id");
            self.shared.acknowledged[post.app].fetch_max(position(&id), Ordering::SeqCst);
            entry.ids.push(id);
        }
    }
}
