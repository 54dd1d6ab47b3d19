//! `list` and `pages`: an application's messages, or an endpoint's queue, read back page by page over one
//! connection, payloads and all.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde::Deserialize;
use tokio::{runtime::Handle, time::Instant};

use super::{
    figures::{Figures, Run},
    ledger::Ledger,
    load::{self, Pace},
    options::Plan,
    payload::Payloads,
    scenario::Scenario,
    span::Span,
    stats::Latencies,
    subject::{Origin, Subject},
    target::Target,
};
use crate::commands::call::Connection;

/// Messages of a page: the most that the API gives.
const PAGE: usize = 250;
/// How often all are read, one time after the other: CPU is counted in steps of 10 ms.
const PASSES: usize = 5;

/// Of a page, what is looked at; the rest is passed over.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<Item<'a>>,
    iterator: Option<String>,
    done: bool,
}

#[derive(Deserialize)]
struct Item<'a> {
    id: &'a str,
}

/// Fills an application, then reads it.
pub(super) async fn run(runtime: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    let subject = Subject::start(origin).await?;
    let app = subject.make_app().await?;
    let path = if plan.kind == Scenario::Pages {
        subject.make_queue(&app).await?
    } else {
        format!("/api/v1/app/{app}/msg")
    };
    let (there, errors) = fill(runtime, &subject, plan, &app).await?;
    subject.rest().await?;

    let span = Span::begin(Some(&subject))?;
    let start = Instant::now();
    let mut reader = Reader::open(&subject, &path).await?;
    let mut missing = 0;
    for _ in 0..PASSES {
        missing += there - reader.read_all().await?;
    }
    let took = start.elapsed().as_secs_f64();
    let used = span.end(Some(&subject))?;
    subject.remove_app(&app).await?;
    subject.stop().await?;

    let mut run = Run::default();
    let read = there * PASSES - missing;
    run.figures.put("read_per_s", read as f64 / took);
    run.figures.put("read_mb_per_s", reader.bytes as f64 / took / 1e6);
    run.figures.put_latencies("page_ms", &Latencies::new(reader.pages));
    tell(&mut run.figures, &used, read);
    run.faults.errors = errors;
    run.faults.lost = missing as u64;
    Ok(run)
}

/// Sends an application its messages, as fast as they are taken: how many are, and what was answered to the others.
pub(super) async fn fill(
    runtime: &Handle,
    subject: &Subject,
    plan: &Plan,
    app: &str,
) -> Result<(usize, BTreeMap<String, u64>)> {
    let ledger = Arc::new(Ledger::new(plan.messages, 0));
    let payloads = Arc::new(Payloads::new(plan.size));
    let target = Arc::new(Target::messages(subject.address, &subject.key, app, payloads)?);
    let pace = Pace { rate: None, ..plan.pace };
    let sent = load::send(runtime, &target, &ledger, 0..plan.messages, pace).await?;
    let there = ledger.accepted(0..plan.messages);
    ensure!(there > 0, "no message is accepted: {:?}", sent.errors);
    Ok((there, sent.errors))
}

fn tell(figures: &mut Figures, used: &super::span::Used, read: usize) {
    figures.put_some("cpu_s_per_1k.server", used.server_per_1k(read));
    figures.put("cpu_s_per_1k.client", used.client_per_1k(read));
    used.tell_noise(figures);
}

struct Reader {
    connection: Connection,
    path: String,
    key: String,
    pages: Vec<std::time::Duration>,
    bytes: usize,
}

impl Reader {
    async fn open(subject: &Subject, path: &str) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(subject.address).await?,
            path: format!("{path}?limit={PAGE}"),
            key: format!("Bearer {}", subject.key),
            pages: Vec::new(),
            bytes: 0,
        })
    }

    /// Reads from the first page to the last; how many distinct messages there were.
    async fn read_all(&mut self) -> Result<usize> {
        let (mut seen, mut iterator) = (HashSet::new(), None);
        loop {
            let body = self.page(iterator.as_deref()).await?;
            let page: Page<'_> = serde_json::from_slice(&body).context("read a page")?;
            seen.extend(page.data.iter().map(|item| item.id.to_owned()));
            if page.done || page.data.is_empty() {
                return Ok(seen.len());
            }
            iterator = page.iterator;
        }
    }

    async fn page(&mut self, iterator: Option<&str>) -> Result<Bytes> {
        let mut uri = self.path.clone();
        if let Some(iterator) = iterator {
            uri.push_str("&iterator=");
            uri.extend(url::form_urlencoded::byte_serialize(iterator.as_bytes()));
        }
        let request = Request::get(uri).header(header::AUTHORIZATION, &self.key).body(Full::default())?;
        let from = Instant::now();
        let (status, body) = self.connection.call(request).await?;
        self.pages.push(from.elapsed());
        self.bytes += body.len();
        ensure!(status.is_success(), "a page is answered {status}");
        Ok(body)
    }
}
