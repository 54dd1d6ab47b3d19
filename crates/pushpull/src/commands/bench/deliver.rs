//! `ingest`, `deliver` and `fan-out`: messages in by the API, deliveries out to the receiver.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use tokio::{runtime::Handle, time::Instant};

use super::{
    figures::{Figures, Run},
    ledger::Ledger,
    load::{self, Pace, Sent},
    options::Plan,
    payload::Payloads,
    receiver::Receiver,
    span::{Span, Used},
    subject::{Origin, Subject},
    target::Target,
};

/// Messages before the measured ones: connections are made, windows have opened.
const WARM_UP: usize = 500;
/// It is given up when nothing has arrived for so long: longer than the retry schedule's longest wait.
const QUIET_MAX: Duration = Duration::from_secs(45);
/// How often it is looked whether all have arrived; nothing is measured by it.
const LOOK: Duration = Duration::from_millis(10);

/// Runs it once, on a server for this alone unless one is given.
pub(super) async fn run(runtime: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    let subject = Subject::start(origin).await?;
    let before = subject.resident_mib()?;
    let course = Course::prepare(&subject, plan, &[]).await?;
    let outcome = course.run(runtime, &subject, plan).await?;
    let mut run = outcome.told(plan);
    let resident = subject.resident_mib()?;
    run.figures.put_some("memory_mib.at_start", before.map(|(now, _)| now));
    run.figures.put_some("memory_mib.peak", resident.map(|(_, peak)| peak));
    subject.remove_app(&course.app).await?;
    let messages = outcome.messages_kept;
    let kept = subject.stop().await?.map(|bytes| bytes as f64 / messages as f64);
    run.figures.put_some("disk_bytes_per_message.kept", kept);
    Ok(run)
}

/// An application whose endpoints lead to a receiver.
pub(super) struct Course {
    pub(super) app: String,
    ledger: Arc<Ledger>,
    target: Arc<Target>,
    warm_up: usize,
    endpoints: usize,
    _receiver: Receiver,
}

/// What a run came to.
pub(super) struct Outcome {
    pub(super) sent: Sent,
    pub(super) used: Used,
    pub(super) ledger: Arc<Ledger>,
    pub(super) measured: Range<usize>,
    pub(super) accepted: usize,
    /// Accepted, those before the measured ones included.
    pub(super) messages_kept: usize,
}

impl Course {
    /// Makes the application, its good endpoints and, besides, one for each of these URLs.
    pub(super) async fn prepare(subject: &Subject, plan: &Plan, others: &[String]) -> Result<Self> {
        let warm_up = WARM_UP.min(plan.messages);
        let endpoints = plan.endpoints;
        let payloads = Arc::new(Payloads::new(plan.size));
        let ledger = Arc::new(Ledger::new(warm_up + plan.messages, endpoints));
        let receiver = Receiver::open(Arc::clone(&ledger), Arc::clone(&payloads))?;
        let app = subject.make_app().await?;
        let mut secrets = Vec::with_capacity(endpoints);
        for endpoint in 0..endpoints {
            secrets.push(subject.make_endpoint(&app, &receiver.url(endpoint)).await?);
        }
        receiver.trust(secrets);
        for url in others {
            subject.make_endpoint(&app, url).await?;
        }
        let target = Arc::new(Target::messages(subject.address, &subject.key, &app, payloads)?);
        Ok(Self { app, ledger, target, warm_up, endpoints, _receiver: receiver })
    }

    /// Sends the messages and waits for their deliveries.
    pub(super) async fn run(&self, runtime: &Handle, subject: &Subject, plan: &Plan) -> Result<Outcome> {
        let Self { ledger, target, warm_up, endpoints, .. } = self;
        let measured = *warm_up..*warm_up + plan.messages;
        let closed = Pace { rate: None, ..plan.pace };
        let warmed = load::send(runtime, target, ledger, 0..*warm_up, closed).await?;
        ensure!(ledger.accepted(0..*warm_up) > 0, "no message is accepted: {:?}", warmed.errors);
        arrived(ledger, ledger.accepted(0..*warm_up) * endpoints).await;
        subject.rest().await?;

        let span = Span::begin(Some(subject))?;
        let sent = load::send(runtime, target, ledger, measured.clone(), plan.pace).await?;
        let messages_kept = ledger.accepted(0..measured.end);
        arrived(ledger, messages_kept * endpoints).await;
        // Late duplicates, and what the server has still to write, count.
        subject.rest().await?;
        let used = span.end(Some(subject))?;
        let accepted = ledger.accepted(measured.clone());
        Ok(Outcome { sent, used, ledger: Arc::clone(ledger), measured, accepted, messages_kept })
    }
}

/// Waits until so many pairs have arrived, or nothing arrives any more.
pub(super) async fn arrived(ledger: &Ledger, owed: usize) {
    let (mut before, mut moved) = (0, Instant::now());
    while before < owed as u64 && moved.elapsed() < QUIET_MAX {
        tokio::time::sleep(LOOK).await;
        let now = ledger.pairs();
        if now > before {
            (before, moved) = (now, Instant::now());
        }
    }
}

impl Outcome {
    /// In figures, per delivery; per message if there are no endpoints.
    pub(super) fn told(&self, plan: &Plan) -> Run {
        let Self { sent, ledger, measured, accepted, .. } = self;
        let mut faults = ledger.faults(measured.clone());
        faults.errors.clone_from(&sent.errors);
        let delivered = accepted * plan.endpoints - faults.lost as usize;
        let mut figures = Figures::default();
        figures.put("accepted_per_s", *accepted as f64 / sent.took.as_secs_f64());
        let counted = if plan.endpoints == 0 {
            *accepted
        } else {
            let per_s = delivered as f64 / ledger.until_last_arrival(sent.start).as_secs_f64();
            figures.put("delivered_per_s", per_s);
            figures.put("delivered_mb_per_s", per_s * plan.size as f64 / 1e6);
            figures.put_latencies("end_to_end_ms", &ledger.end_to_end(measured.clone()));
            delivered
        };
        figures.put_latencies("api_call_ms", &sent.calls);
        figures.put_latencies("sent_late_ms", &sent.late);
        self.used.tell(&mut figures, counted, *accepted);
        Run { figures, faults }
    }
}
