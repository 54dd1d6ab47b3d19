//! Calls and what they were answered, written down as they come.

use std::fmt::Write;

use http::Method;
use pushpull_domain::{
    Delivery, DeliveryState, Timestamp,
    attempt::{Attempt, Outcome, Timings, Trigger},
};
use pushpull_store::{Ref, Settlement};
use serde_json::Value;

use crate::api::{Answer, Client, TestApi};

/// Calls that follow one another.
pub(crate) struct Story<'a> {
    pub(crate) api: &'a TestApi,
    text: String,
    called: Vec<(Method, String)>,
}

impl<'a> Story<'a> {
    pub(crate) fn about(api: &'a TestApi) -> Self {
        Self { api, text: String::new(), called: Vec::new() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&mut self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&mut self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let sent = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = self.api.admin.call(method.clone(), path, &sent, &[]).await;
        writeln!(self.text, "=== {method} {path}").unwrap();
        if !sent.is_empty() {
            writeln!(self.text, "{sent}").unwrap();
        }
        writeln!(self.text, "--- {}", answer.shown()).unwrap();
        self.called.push((method, path.to_owned()));
        answer
    }

    /// What was said, and what was called.
    pub(crate) fn end(self) -> (String, Vec<(Method, String)>) {
        (self.text, self.called)
    }
}

/// Plays the dispatcher: each delivery of a message was attempted, and it went like this.
pub(crate) async fn attempted(
    api: &TestApi,
    client: &Client,
    app: &str,
    message: &str,
    outcome: Outcome,
    state: DeliveryState,
) {
    let id = client.get(&format!("/app/{app}")).await.is(200).str("id");
    let environments = api.log().environments().await.unwrap();
    for environment in environments {
        let app = Ref::Id(id.parse().unwrap());
        let Some(app) = api.store.log.app(environment.no, &app).await.unwrap() else { continue };
        let message = api.log().message(app.app.no, message.parse().unwrap()).await.unwrap().unwrap();
        let deliveries = api.log().deliveries_of(message.key).await.unwrap();
        let settled = deliveries.into_iter().map(|delivery| settlement(api, delivery, &outcome, state));
        api.log().settle(settled.collect()).await.unwrap();
    }
}

fn settlement(api: &TestApi, delivery: Delivery, outcome: &Outcome, state: DeliveryState) -> Settlement {
    let attempt = Attempt {
        started_at: pushpull_domain::Clock::now(&*api.clock),
        trigger: Trigger::Scheduled,
        outcome: outcome.clone(),
        timings: Timings { total: std::time::Duration::from_millis(20), ..Timings::default() },
    };
    let delivery = Delivery { state, attempts: delivery.attempts + 1, ..delivery };
    Settlement { delivery, attempt: Some((attempt, "https://receiver.example/".into())) }
}

/// Owed again at a moment.
pub(crate) fn owed(due_at: Timestamp) -> DeliveryState {
    DeliveryState::Owed { due_at: Some(due_at), trigger: Trigger::Scheduled }
}
