//! Messages for applications of every shard's node, and how long each takes to arrive.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{Client, Lives, Sink, say};

/// Applications: each node has some of them, whatever nodes there are.
const APPS: usize = 12;
/// The longest that a message may take, whoever died. A node's lease lasts 4 s; a busy machine has a share in the rest.
const ARRIVES_MAX: Duration = Duration::from_secs(30);

/// Applications of its own, and their receiver.
pub(crate) struct Probe {
    sink: Sink,
}

impl Probe {
    pub(crate) async fn new(client: &mut Client) -> Self {
        let sink = Sink::start(|_, _, _| 200).await;
        for n in 0..APPS {
            client.app(&format!("probe-{n}")).await;
            let endpoint = json!({ "url": sink.url(&format!("/{n}")) });
            client.post(&format!("/api/v1/app/probe-{n}/endpoint"), &endpoint).await.expect(201);
        }
        Self { sink }
    }

    /// Sends each application a message, from now on, by any node; says how long the last takes to be taken in, and to
    /// arrive.
    pub(crate) async fn measure(&self, what: &str, lives: &Lives) {
        let since = Instant::now();
        let mut posts = JoinSet::new();
        for n in 0..APPS {
            let mut visitor = lives.visitor();
            posts.spawn(async move {
                let body = json!({ "eventType": "probe", "payload": {} }).to_string();
                let path = format!("/api/v1/app/probe-{n}/msg");
                let answer = visitor.ask(Method::POST, &path, body.into(), &[]).await.expect(202);
                (n, answer.text("id"))
            });
        }
        let posted = posts.join_all().await;
        let taken_in = since.elapsed();
        let mut arrived = Duration::ZERO;
        for (n, id) in posted {
            arrived = arrived.max(self.sink.first(&format!("/{n}"), &id).await - since);
        }
        say(format!("{what}: all taken in after {taken_in:?}, all delivered after {arrived:?}"));
        assert!(arrived < ARRIVES_MAX, "{what}: delivered after {arrived:?}");
    }
}
