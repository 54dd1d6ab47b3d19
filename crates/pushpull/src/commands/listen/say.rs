//! What is told: messages and answers on stdout, as lines or objects; how the stream stands on stderr.
#![expect(clippy::print_stderr, reason = "commands speak to people")]

use std::{io::Write, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    forward::Outcome,
    reader::{Gap, Item},
};

/// Who tells.
pub(super) struct Say {
    json: bool,
    target: String,
}

impl Say {
    pub(super) fn new(json: bool, target: String) -> Self {
        Self { json, target }
    }

    /// Where messages are forwarded to.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Tells how the stream stands.
    pub(super) fn state(&self, what: &str, line: impl AsRef<str>) {
        eprintln!("{what:<7} {}", line.as_ref());
    }

    /// Tells what was asked for.
    pub(super) fn answer(&self, line: &str) -> Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    /// A message has come.
    pub(super) fn message(&self, item: &Item) -> Result<()> {
        let Item { id, event_type, seq, position, .. } = item;
        if self.json {
            return self.object(&json!({
                "event": "message", "id": id, "eventType": event_type, "seq": seq, "position": position,
            }));
        }
        self.answer(&format!("--> {event_type} {id} {seq}"))
    }

    /// It was answered, or not.
    pub(super) fn outcome(&self, item: &Item, attempt: u32, outcome: &Outcome) -> Result<()> {
        let Outcome { answer, took } = outcome;
        if self.json {
            return self.object(&json!({
                "event": "answer",
                "id": item.id,
                "seq": item.seq,
                "attempt": attempt,
                "status": answer.as_ref().ok(),
                "error": answer.as_ref().err(),
                "ms": took.as_millis() as u64,
                "target": self.target,
            }));
        }
        let status = answer.as_ref().map_or_else(|_| "---".to_owned(), u16::to_string);
        self.answer(&format!("<-- [{status}] {} {}", ms(*took), self.target))
    }

    /// It is passed over.
    pub(super) fn skip(&self, item: &Item, why: &str) -> Result<()> {
        self.state("skip", format!("seq {}: {why}", item.seq));
        if self.json {
            self.object(&json!({"event": "skip", "id": item.id, "seq": item.seq, "reason": why}))?;
        }
        Ok(())
    }

    /// Something was removed before it was read.
    pub(super) fn gap(&self, gap: Gap) -> Result<()> {
        let Gap { from, until } = gap;
        self.state("gap", format!("seq {from} to {until} were removed by retention before they were read"));
        if self.json {
            self.object(&json!({"event": "gap", "from": from, "until": until}))?;
        }
        Ok(())
    }

    fn object(&self, object: &Value) -> Result<()> {
        self.answer(&object.to_string())
    }
}

/// A time in milliseconds, with a tenth where that is much of it.
fn ms(took: Duration) -> String {
    let ms = took.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}
