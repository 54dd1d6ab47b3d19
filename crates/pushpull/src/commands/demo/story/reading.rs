//! The end of the story: a consumer reads what no push brought.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{STORY, Story, short};
use crate::commands::demo::receiver::Who;

/// How long a read waits for messages, in seconds: what is in flight when an endpoint is switched ends first.
const READ_WAIT: u64 = 5;

impl Story {
    /// What no push brought to the receiver that never listens is read from its endpoint's queue.
    pub(super) async fn catch_up_by_pull(&mut self) -> Result<()> {
        let gone = self.endpoints[&Who::Gone].clone();
        let path = self.path(&format!("/endpoint/{gone}"));
        let (status, answer) = self.api.call("PATCH", &path, Some(&json!({"mode": "pull"}))).await?;
        ensure!(status.is_success(), "switch to pull: {status} {answer}");
        self.say("switch", "gone is not pushed to any more: its queue is read instead")?;
        let consumer = self.path(&format!("/poller/{gone}/consumer/catch-up"));
        let mut iterator = String::new();
        loop {
            let path = format!("{consumer}?limit=250&wait={READ_WAIT}&iterator={iterator}");
            let (status, page) = self.api.call("GET", &path, None).await?;
            ensure!(status.is_success(), "read as a consumer: {status} {page}");
            let messages = page["data"].as_array().cloned().unwrap_or_default();
            for message in &messages {
                let text = |field: &str| message[field].as_str().unwrap_or_default();
                self.say(
                    "pull",
                    format!(
                        "<- gone         {}  seq {}, {}",
                        short(text("id")),
                        message["seq"],
                        text("eventType")
                    ),
                )?;
                self.ledger.read(Who::Gone, text("id"));
            }
            let next = page["iterator"].as_str().context("read where the next page begins")?;
            next.clone_into(&mut iterator);
            if messages.is_empty() || self.ledger.read_count() >= STORY.len() {
                break;
            }
        }
        // The page is handled: that is said with its iterator.
        self.api.call("GET", &format!("{consumer}?iterator={iterator}"), None).await?;
        let (_, status) = self.api.call("GET", &format!("{consumer}/status"), None).await?;
        let (read, lag) = (self.ledger.read_count(), &status["lag"]["messages"]);
        self.say("pull", format!("consumer catch-up has read {read} messages that gone missed, lag {lag}"))
    }
}
