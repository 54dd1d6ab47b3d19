//! `pushpull trigger`: a message to try things with.

use std::{
    fs,
    io::Read,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use pushpull_domain::{EventTypeName, Uid};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Ending,
    remote::{Application, Remote, Server},
};

const HELP: &str = "\
Examples:
  pushpull trigger invoice.paid --app acme
  pushpull trigger invoice.paid --app acme --set customer.id=cus_7 --set lines.0.amount=4200
  pushpull trigger invoice.paid --app acme --endpoint production --file invoice.json
  pushpull trigger svix.ping

The example is the first of the newest JSON Schema of the event type; svix.ping has one always. A value of --set is \
JSON if it reads as JSON, else text; its path must be in the example: what is not there is not invented. Exit codes: \
0 sent, 1 failed, 2 usage, 7 no server can be reached.";

/// Send an event type's example, or a file, as a message
#[derive(Debug, Args)]
#[command(after_help = HELP, mut_arg("master_key_file", |arg| arg.hide(true)))]
pub(crate) struct Trigger {
    /// The event type
    #[arg(value_name = "TYPE")]
    event_type: EventTypeName,
    /// To which application, by id or uid [default: the only one there is]
    #[arg(long, value_name = "APP")]
    app: Option<Uid>,
    /// To this endpoint alone, by id or uid, whatever its filter says
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<Uid>,
    /// Put another value into the example; may be repeated
    #[arg(long, value_name = "PATH=VALUE", value_parser = change)]
    set: Vec<Change>,
    /// Send the JSON of this file instead of an example; -: what is on stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// A value of the example that is to be another.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    path: String,
    value: Value,
}

fn change(text: &str) -> Result<Change, String> {
    let (path, value) = text.split_once('=').ok_or("must be PATH=VALUE, such as customer.id=cus_7")?;
    if path.split('.').any(str::is_empty) {
        return Err("its path must be names or numbers with dots between".into());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok(Change { path: path.to_owned(), value })
}

impl Trigger {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut server = self.remote.server(&self.remote.reach()?)?;
        super::runtime_of(1)?.block_on(async {
            let app = server.application(self.app.as_ref()).await?;
            let payload = self.payload(&mut server).await?;
            let sent = self.send(&app, &payload, &mut server).await?;
            let to = destinations(&app, &sent.id, &mut server).await?;
            self.tell(&app, &sent.id, &to)
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// What is to be sent. As it stands in the file or the schema, to the byte, unless something is set.
    async fn payload(&self, server: &mut Server) -> Result<Box<RawValue>> {
        let given = match &self.file {
            Some(file) => read(file)?,
            None => self.example(server).await?,
        };
        if self.set.is_empty() {
            return Ok(given);
        }
        let mut payload: Value = serde_json::from_str(given.get())?;
        for change in &self.set {
            apply(&mut payload, change).map_err(Ending::usage)?;
        }
        Ok(serde_json::value::to_raw_value(&payload)?)
    }

    async fn example(&self, server: &mut Server) -> Result<Box<RawValue>> {
        #[derive(Deserialize)]
        struct EventType {
            schemas: Option<Box<RawValue>>,
        }
        if &*self.event_type == pushpull_api::example::PING {
            return Ok(serde_json::from_str(pushpull_api::example::PING_PAYLOAD)?);
        }
        let found: Option<EventType> = server.get(&format!("/event-type/{}", self.event_type)).await?;
        let found = found.with_context(|| {
            format!("there is no event type {}, and so no example of it: send a --file", self.event_type)
        })?;
        let schemas = found.schemas.as_deref();
        let example = schemas.and_then(|schemas| pushpull_api::example::find(schemas, 0).ok());
        let example = example.with_context(|| {
            format!(
                "the newest schema of {} has no example: give it `examples`, or send a --file",
                self.event_type
            )
        })?;
        Ok(example.to_owned())
    }

    async fn send(&self, app: &Application, payload: &RawValue, server: &mut Server) -> Result<Sent> {
        let path = match &self.endpoint {
            None => format!("/app/{}/msg", app.id),
            Some(endpoint) => format!("/app/{}/endpoint/{endpoint}/send-example", app.id),
        };
        // Names need no escaping.
        server.post(&path, format!(r#"{{"eventType":"{}","payload":{payload}}}"#, self.event_type)).await
    }

    fn tell(&self, app: &Application, id: &str, to: &[Destination]) -> Result<()> {
        let mut out = std::io::stdout();
        if self.json {
            let to: Vec<_> = to.iter().map(Destination::to_json).collect();
            let sent = json!({"id": id, "eventType": self.event_type, "app": app.id, "endpoints": to});
            return Ok(writeln!(out, "{sent}")?);
        }
        writeln!(out, "{id} {} to {}", self.event_type, app.called())?;
        for destination in to {
            writeln!(out, "  {destination}")?;
        }
        if to.is_empty() {
            writeln!(out, "  no endpoint takes it: it is in the log alone")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Sent {
    id: String,
}

/// An endpoint that a message is for.
#[derive(Debug, Deserialize)]
struct Destination {
    id: String,
    uid: Option<String>,
    #[serde(default)]
    url: String,
    /// Absent: it is pushed.
    mode: Option<String>,
}

impl Destination {
    fn mode(&self) -> &str {
        self.mode.as_deref().unwrap_or("push")
    }

    fn to_json(&self) -> Value {
        json!({"id": self.id, "uid": self.uid, "mode": self.mode(), "url": self.url})
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let called = self.uid.as_ref().unwrap_or(&self.id);
        match self.mode() {
            "push" => write!(f, "{called} (push to {})", self.url),
            mode => write!(f, "{called} ({mode})"),
        }
    }
}

/// Where a message went; a page of 250 is more than anybody reads.
async fn destinations(app: &Application, message: &str, server: &mut Server) -> Result<Vec<Destination>> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Destination>,
    }
    let list: Option<List> = server.get(&format!("/app/{}/msg/{message}/endpoint?limit=250", app.id)).await?;
    Ok(list.map(|list| list.data).unwrap_or_default())
}

/// The JSON in a file.
fn read(file: &Path) -> Result<Box<RawValue>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let text = text.with_context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| Ending::usage(format!("{} is no JSON: {error}", file.display())).into())
}

/// Puts a value where there is another.
fn apply(payload: &mut Value, change: &Change) -> Result<(), String> {
    let mut place = payload;
    let mut walked = Vec::new();
    for part in change.path.split('.') {
        let next = match place {
            Value::Object(members) => members.get_mut(part).ok_or_else(|| ()),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|n| items.get_mut(n)).ok_or(()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(()),
        };
        walked.push(part);
        place =
            next.map_err(|()| format!("--set {}: the example has no {}", change.path, walked.join(".")))?;
    }
    *place = change.value.clone();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(set: &str, expected: Result<Value, &str>) {
        let mut payload = json!({"id": "in_1", "customer": {"id": 7}, "lines": [{"amount": 1}]});
        let done = apply(&mut payload, &change(set).unwrap()).map(|()| payload);
        assert_eq!(done, expected.map_err(str::to_owned));
    }

    #[test]
    fn what_is_set_replaces_what_is_there() {
        check("id=a=b", Ok(json!({"id": "a=b", "customer": {"id": 7}, "lines": [{"amount": 1}]})));
        check("customer.id=8", Ok(json!({"id": "in_1", "customer": {"id": 8}, "lines": [{"amount": 1}]})));
        check(
            "lines.0={\"a\":null}",
            Ok(json!({"id": "in_1", "customer": {"id": 7}, "lines": [{"a": null}]})),
        );
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        check("total=1", Err("--set total: the example has no total"));
        check("customer.name.first=x", Err("--set customer.name.first: the example has no customer.name"));
        check("lines.1.amount=1", Err("--set lines.1.amount: the example has no lines.1"));
        check("id.x=1", Err("--set id.x: the example has no id.x"));
        assert!(change("a").is_err() && change("=1").is_err() && change("a..b=1").is_err());
    }
}
