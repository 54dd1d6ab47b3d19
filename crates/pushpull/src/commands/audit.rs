//! `pushpull audit`: whether everything that was accepted for an endpoint has arrived, or is still to come.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use pushpull_domain::{Clock, Uid, retry::parse_wait};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    print_table,
    remote::{Remote, Server},
};
use crate::clock::SystemClock;

const HELP: &str = "\
Examples:
  pushpull audit --app acme --endpoint billing
  pushpull audit --app acme --endpoint billing --since 24h --json

Each message counts once: as answered 2xx, as read (committed by the reader that is furthest), or as what has become of \
it. Of what retention has removed nobody can say it: without --since the audit begins with what is kept. Exit codes: 0 \
complete, 1 not, or failed, 2 usage, 7 no server can be reached.";

/// Say whether everything accepted for an endpoint was delivered, was read, or is still to come
#[derive(Debug, Args)]
#[command(after_help = HELP, mut_arg("master_key_file", |arg| arg.hide(true)))]
pub(crate) struct Audit {
    /// Of which endpoint, by id or uid
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Uid,
    /// Of which application, by id or uid [default: the only one there is]
    #[arg(long, value_name = "APP")]
    app: Option<Uid>,
    /// Where to begin: so long ago (24h), a moment (RFC 3339), or a seq [default: what is kept]
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// As the server takes it: a moment, or a seq.
fn since(text: &str) -> Result<String, String> {
    if text.parse::<pushpull_domain::Seq>().is_ok() {
        return Ok(text.to_owned());
    }
    if let Some(ago) = parse_wait(text) {
        return Ok(SystemClock.now().before(ago).to_string());
    }
    let moment = pushpull_domain::Timestamp::parse(text).map(|at| at.to_string());
    moment.ok_or("must be a time such as 24h, a moment such as 2026-11-25T00:00:00Z, or a seq".into())
}

/// A page of the server's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    first: u64,
    last: u64,
    done: bool,
    head: u64,
    removed_up_to: u64,
    complete: bool,
    #[serde(flatten)]
    counts: Counts,
}

/// What became of how many.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Counts {
    accepted: u64,
    delivered: u64,
    read: u64,
    owed: u64,
    exhausted: u64,
    canceled: Canceled,
    removed: u64,
    missing: u64,
}

/// What was given up, by reason.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Canceled {
    retention: u64,
    expunged: u64,
    deleted: u64,
}

impl Counts {
    fn add(&mut self, page: &Self) {
        self.accepted += page.accepted;
        self.delivered += page.delivered;
        self.read += page.read;
        self.owed += page.owed;
        self.exhausted += page.exhausted;
        self.canceled.retention += page.canceled.retention;
        self.canceled.expunged += page.canceled.expunged;
        self.canceled.deleted += page.canceled.deleted;
        self.removed += page.removed;
        self.missing += page.missing;
    }
}

/// All pages together.
#[derive(Debug, Default)]
struct Sum {
    first: u64,
    last: u64,
    removed_up_to: u64,
    complete: bool,
    counts: Counts,
}

impl Audit {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut server = self.remote.server(&self.remote.reach()?)?;
        super::runtime_of(1)?.block_on(async {
            let app = server.application(self.app.as_ref()).await?;
            let sum = self.add_up(&app.id, &mut server).await?;
            self.tell(app.called(), &sum)?;
            Ok(if sum.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }

    /// Page by page, up to what was the newest at the first.
    async fn add_up(&self, app: &str, server: &mut Server) -> Result<Sum> {
        let path = format!("/app/{app}/endpoint/{}/audit", self.endpoint);
        let mut query = self.since.as_ref().map(|since| format!("?since={since}")).unwrap_or_default();
        let mut sum = Sum { complete: true, ..Sum::default() };
        let mut head = None;
        loop {
            let page: Option<Page> = server.get(&format!("{path}{query}")).await?;
            let page = page.with_context(|| format!("there is no endpoint {}", self.endpoint))?;
            sum.counts.add(&page.counts);
            sum.complete &= page.complete;
            sum.removed_up_to = page.removed_up_to;
            if page.counts.accepted > 0 {
                sum.first = if sum.first == 0 { page.first } else { sum.first };
                sum.last = page.last;
            }
            let head = *head.get_or_insert(page.head);
            if page.done || page.counts.accepted == 0 {
                return Ok(sum);
            }
            query = format!("?since={}&until={}", page.last + 1, head + 1);
        }
    }

    fn tell(&self, app: &str, sum: &Sum) -> Result<()> {
        let mut out = std::io::stdout();
        let Sum { first, last, removed_up_to, complete, counts } = sum;
        if self.json {
            let mut shown = serde_json::to_value(counts)?;
            shown["first"] = json!(first);
            shown["last"] = json!(last);
            shown["removedUpTo"] = json!(removed_up_to);
            shown["gapFree"] = json!(counts.missing == 0);
            shown["complete"] = json!(complete);
            return Ok(writeln!(out, "{shown}")?);
        }
        if counts.accepted == 0 {
            writeln!(out, "{} of {app}: nothing was accepted", self.endpoint)?;
        } else {
            writeln!(out, "{} of {app}, seq {first} to {last}:", self.endpoint)?;
        }
        let Canceled { retention, expunged, deleted } = counts.canceled;
        let reasons = format!("{retention} by age, {expunged} erased, {deleted} with its endpoint");
        let removed = format!("by retention, which got to seq {removed_up_to}");
        let rows = [
            ("accepted", counts.accepted, ""),
            ("delivered", counts.delivered, "answered 2xx"),
            ("read", counts.read, "committed by a reader"),
            ("owed", counts.owed, "still to come"),
            ("exhausted", counts.exhausted, "every attempt failed, and nobody has read it"),
            ("canceled", retention + expunged + deleted, &reasons),
            ("removed", counts.removed, &removed),
            ("missing", counts.missing, "not there, and nobody knows why"),
        ];
        let shown = rows.into_iter().filter(|(name, count, _)| *count > 0 || *name == "accepted");
        print_table(
            &mut out,
            shown.map(|(name, count, what)| [format!("  {name}"), count.to_string(), what.to_owned()]),
        )?;
        let verdict = if *complete {
            "complete: each one was delivered, was read, or is still to come"
        } else {
            "NOT complete"
        };
        Ok(writeln!(out, "{verdict}")?)
    }
}
