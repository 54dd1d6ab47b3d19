//! `long-poll`: readers that wait. How soon a thousand are told, each of another application, and what ten thousand
//! cost that are told nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::{runtime::Handle, task::JoinSet, time::Instant};

use super::{
    deliver::arrived,
    figures::Run,
    ledger::Ledger,
    load,
    options::Plan,
    payload::{self, Payloads},
    phase,
    poller::Poller,
    span::Span,
    subject::{Origin, Subject},
    target::Target,
};

/// Applications, each with a queue and a reader that waits.
const READERS: usize = 1_000;
/// Readers that wait for nothing.
const IDLE: usize = 10_000;
/// Readers that connect at once.
const TOGETHER: usize = 64;
/// How long the idle ones are looked at: less than they wait.
const LOOKED_FOR: Duration = Duration::from_secs(15);

/// Tells a thousand, then parks ten thousand.
pub(super) async fn run(runtime: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    let subject = Arc::new(Subject::start(origin).await?);
    phase("making a thousand applications");
    let (mut apps, mut queues) = (Vec::with_capacity(READERS), Vec::with_capacity(READERS));
    for _ in 0..READERS {
        let app = subject.make_app().await?;
        queues.push(subject.make_queue(&app).await?);
        apps.push(app);
    }
    let mut run = told(runtime, &subject, plan, &apps, &queues).await?;

    subject.rest().await?;
    run.figures.put("memory_mib.before", resident(&subject)?);
    phase("ten thousand readers wait");
    let queues = (0..IDLE).map(|n| queues[n % READERS].clone()).collect();
    let pollers = open(runtime, &subject, queues).await?;
    run.figures.put("memory_mib.connected", resident(&subject)?);
    let mut waiting = JoinSet::new();
    for mut poller in pollers {
        waiting.spawn_on(async move { poller.next().await }, runtime);
    }
    subject.rest().await?;
    let span = Span::begin(Some(&subject))?;
    tokio::time::sleep(LOOKED_FOR).await;
    let used = span.end(Some(&subject))?;
    if let Some(ended) = waiting.try_join_next() {
        ended??;
        anyhow::bail!("a reader was answered although nothing was sent");
    }
    run.figures.put("idle_readers", waiting.len() as f64);
    run.figures.put("memory_mib.waiting", resident(&subject)?);
    run.figures.put_some("idle_cpu_s", used.server_cpu_s());
    waiting.shutdown().await;
    Arc::into_inner(subject).context("the readers have ended")?.stop().await?;
    Ok(run)
}

/// A reader waits at each queue while messages are sent to each application in turn.
async fn told(
    runtime: &Handle,
    subject: &Arc<Subject>,
    plan: &Plan,
    apps: &[String],
    queues: &[String],
) -> Result<Run> {
    phase("a thousand readers wait");
    let ledger = Arc::new(Ledger::new(plan.messages, 1));
    let mut readers = JoinSet::new();
    for poller in open(runtime, subject, queues.to_vec()).await? {
        readers.spawn_on(read(poller, Arc::clone(&ledger)), runtime);
    }
    subject.rest().await?;
    let payloads = Arc::new(Payloads::new(plan.size));
    let names = apps.iter().map(String::as_str);
    let target = Target::messages_in_turn(subject.address, &subject.key, names, payloads)?;
    let span = Span::begin(Some(subject))?;
    let sent = load::send(runtime, &Arc::new(target), &ledger, 0..plan.messages, plan.pace).await?;
    let accepted = ledger.accepted(0..plan.messages);
    ensure!(accepted > 0, "no message is accepted: {:?}", sent.errors);
    arrived(&ledger, accepted).await;
    let used = span.end(Some(subject))?;
    readers.shutdown().await;
    let mut run = Run { faults: ledger.faults(0..plan.messages), ..Run::default() };
    run.figures.put_latencies("end_to_end_ms", &ledger.end_to_end(0..plan.messages));
    run.figures.put_latencies("api_call_ms", &sent.calls);
    run.figures.put_some("cpu_s_per_1k.server", used.server_per_1k(accepted));
    used.tell_noise(&mut run.figures);
    run.faults.errors = sent.errors;
    Ok(run)
}

fn resident(subject: &Subject) -> Result<f64> {
    subject.resident_mib()?.map(|(now, _)| now).context("the server's process is known")
}

/// A reader at the end of each of these queues.
async fn open(runtime: &Handle, subject: &Arc<Subject>, queues: Vec<String>) -> Result<Vec<Poller>> {
    let (queues, next) = (Arc::new(queues), Arc::new(AtomicUsize::new(0)));
    let mut opening = JoinSet::new();
    for _ in 0..TOGETHER {
        let (subject, queues, next) = (Arc::clone(subject), Arc::clone(&queues), Arc::clone(&next));
        let some = async move {
            let mut opened = Vec::new();
            while let Some(queue) = queues.get(next.fetch_add(1, Relaxed)) {
                opened.push(Poller::open(&subject, queue).await?);
            }
            anyhow::Ok(opened)
        };
        opening.spawn_on(some, runtime);
    }
    let mut all = Vec::with_capacity(queues.len());
    while let Some(opened) = opening.join_next().await {
        all.extend(opened??);
    }
    Ok(all)
}

/// Reads until it is ended, and writes down what arrives.
async fn read(mut poller: Poller, ledger: Arc<Ledger>) {
    while let Ok(page) = poller.next().await {
        let now = Instant::now();
        for message in numbers(&page) {
            ledger.arrive(message, 0, now);
        }
    }
}

/// The numbers of the payloads in a page.
fn numbers(page: &Bytes) -> impl Iterator<Item = usize> {
    const PAYLOAD: &[u8] = b"\"payload\":";
    let starts = (0..page.len().saturating_sub(PAYLOAD.len())).filter(|at| page[*at..].starts_with(PAYLOAD));
    starts.filter_map(|at| payload::number(&page[at + PAYLOAD.len()..]))
}
