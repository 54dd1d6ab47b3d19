//! `backlog`: what a healthy endpoint costs beside a great many deliveries that are owed and not due, and what a
//! start costs with them.
//!
//! They are made as they come about: by endpoints that refuse connections. Each delivery is attempted once, and
//! waits for its next attempt, ten hours away.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use http::{Request, header};
use http_body_util::Full;
use tokio::{runtime::Handle, time::Instant};

use super::{
    deliver::Course,
    figures::Run,
    ledger::Ledger,
    load::{self, Pace},
    options::Plan,
    payload::Payloads,
    phase,
    subject::{Origin, Subject},
    target::{Target, authorization},
};
use crate::commands::{call::Connection, port};

/// Endpoints that refuse: each message owes one delivery to each.
const REFUSING: usize = 50;
/// Beyond any run.
const RETRY_SCHEDULE: &str = "10h";
/// It is given up when no attempt was made for so long.
const QUIET_MAX: Duration = Duration::from_mins(1);
/// How often it is looked how many attempts were made.
const LOOK: Duration = Duration::from_millis(500);

/// Runs it once: empty, beside the backlog, empty again.
pub(super) async fn run(runtime: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    let Origin::Own { dir, postgres, .. } = origin else {
        anyhow::bail!("backlog starts servers of its own: leave --server out")
    };
    let origin = Origin::Own { dir: dir.clone(), postgres: postgres.clone(), retry_schedule: RETRY_SCHEDULE };
    let mut run = Run::default();
    phase("an empty server");
    let empty_before = empty(runtime, &origin, plan, &mut run).await?;

    let subject = Subject::start(&origin).await?;
    let owed = plan.owed.context("the number of owed deliveries is planned")?.div_ceil(REFUSING) * REFUSING;
    phase(&format!("making {owed} owed deliveries"));
    let start = Instant::now();
    owe(runtime, &subject, plan, owed).await?;
    run.figures.put("made_owed_per_s", owed as f64 / start.elapsed().as_secs_f64());
    subject.rest().await?;
    run.figures.put_some("memory_mib.made", subject.resident_mib()?.map(|(now, _)| now));

    phase("a healthy endpoint beside them");
    let beside = healthy(runtime, &subject, plan, &mut run).await?;
    run.figures.put_some("memory_mib.peak", subject.resident_mib()?.map(|(_, peak)| peak));

    phase("starting the server again");
    let subject = subject.restart().await?;
    run.figures.put_some("start_s", subject.started_in().map(|time| time.as_secs_f64()));
    subject.rest().await?;
    run.figures.put_some("memory_mib.started", subject.resident_mib()?.map(|(now, _)| now));
    run.figures.put_some("owed", metric(&subject, "pushpull_deliveries_pending ").await?);
    let kept = subject.stop().await?.map(|bytes| bytes as f64 / f64::from(1 << 20));
    run.figures.put_some("store_mib", kept);

    phase("an empty server again");
    let empty_after = empty(runtime, &origin, plan, &mut run).await?;
    let empty = empty_before.zip(empty_after).map(|(before, after)| f64::midpoint(before, after));
    run.figures.put_some("cpu_s_per_1k.empty", empty);
    run.figures.put_some("cpu_s_per_1k.beside", beside);
    let ratio = beside.zip(empty).map(|(beside, empty)| beside / empty);
    run.figures.put_some("cpu_beside_to_empty", ratio);
    Ok(run)
}

/// CPU seconds per 1,000 deliveries of a server with nothing else to do.
async fn empty(runtime: &Handle, origin: &Origin, plan: &Plan, run: &mut Run) -> Result<Option<f64>> {
    let subject = Subject::start(origin).await?;
    let cpu = healthy(runtime, &subject, plan, run).await?;
    subject.stop().await?;
    Ok(cpu)
}

/// CPU seconds per 1,000 deliveries to one healthy endpoint.
async fn healthy(runtime: &Handle, subject: &Subject, plan: &Plan, run: &mut Run) -> Result<Option<f64>> {
    let course = Course::prepare(subject, plan, &[]).await?;
    let told = course.run(runtime, subject, plan).await?.told(plan);
    run.faults.add(&told.faults);
    Ok(told.figures.get("cpu_s_per_1k.server"))
}

/// Makes so many deliveries owed, and waits until each was attempted once.
async fn owe(runtime: &Handle, subject: &Subject, plan: &Plan, owed: usize) -> Result<()> {
    let app = subject.make_app().await?;
    let mut held = Vec::with_capacity(REFUSING);
    for _ in 0..REFUSING {
        let (socket, address) = port::free()?;
        subject.make_endpoint(&app, &format!("http://{address}/")).await?;
        held.push(socket);
    }
    let messages = owed / REFUSING;
    let ledger = Arc::new(Ledger::new(messages, 0));
    let payloads = Arc::new(Payloads::new(plan.size));
    let target = Arc::new(Target::messages(subject.address, &subject.key, &app, payloads)?);
    let pace = Pace { rate: None, ..plan.pace };
    let sent = load::send(runtime, &target, &ledger, 0..messages, pace).await?;
    ensure!(ledger.accepted(0..messages) == messages, "not every message is accepted: {:?}", sent.errors);
    attempted(subject, owed).await
}

/// Waits until so many attempts were refused.
async fn attempted(subject: &Subject, owed: usize) -> Result<()> {
    const REFUSED: &str = "pushpull_delivery_attempts_total{outcome=\"connect_refused\"} ";
    let (mut before, mut moved) = (0.0, Instant::now());
    while before < owed as f64 {
        ensure!(moved.elapsed() < QUIET_MAX, "of {owed} deliveries only {before} were attempted");
        tokio::time::sleep(LOOK).await;
        let now = metric(subject, REFUSED).await?.context("the server does not count refused attempts")?;
        if now > before {
            (before, moved) = (now, Instant::now());
        }
    }
    Ok(())
}

/// A figure of the server's `/metrics`.
async fn metric(subject: &Subject, name: &str) -> Result<Option<f64>> {
    let request = Request::get("/metrics")
        .header(header::AUTHORIZATION, authorization(&subject.key)?)
        .body(Full::default())?;
    let mut connection = Connection::open(subject.address).await?;
    let (status, page) = connection.call(request).await?;
    ensure!(status.is_success(), "GET /metrics: {status}");
    let page = String::from_utf8_lossy(&page);
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.and_then(|value| value.trim().parse().ok()))
}
