//! `apps`: many small customers. What they cost in memory, and at the start.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use pushpull_domain::signature::{Secret, SignatureType};
use serde_json::json;
use tokio::{runtime::Handle, task::JoinSet, time::Instant};

use super::{
    deliver::arrived,
    figures::Run,
    ledger::Ledger,
    options::Plan,
    payload::Payloads,
    phase,
    receiver::Receiver,
    subject::{Origin, Subject},
    target::{authorization, message_body},
};
use crate::{chance::SystemChance, commands::call::Connection};

/// Makes them, sends each a message, and starts the server again.
pub(super) async fn run(runtime: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    let count = plan.apps.context("the number of applications is planned")?;
    let payloads = Arc::new(Payloads::new(plan.size));
    let ledger = Arc::new(Ledger::new(count, plan.endpoints));
    let receiver = Receiver::open(Arc::clone(&ledger), Arc::clone(&payloads))?;
    let secret = Secret::generate(SignatureType::Hmac256, &SystemChance);
    receiver.trust(vec![secret.to_verifier_text(); plan.endpoints]);
    let subject = Subject::start(origin).await?;
    let crowd = Arc::new(Crowd {
        authorization: authorization(&subject.key)?,
        urls: (0..plan.endpoints).map(|endpoint| receiver.url(endpoint)).collect(),
        secret: secret.to_text(),
        payloads,
        ledger: Arc::clone(&ledger),
        next: AtomicUsize::new(0),
        count,
    });
    let mut run = Run::default();
    run.figures.put_some("memory_mib.empty", subject.resident_mib()?.map(|(now, _)| now));

    phase("making the applications");
    let start = Instant::now();
    crowd.work(runtime, &subject, plan.pace.callers, Crowd::make).await?;
    run.figures.put("made_per_s", count as f64 / start.elapsed().as_secs_f64());
    subject.rest().await?;
    run.figures.put_some("memory_mib.made", subject.resident_mib()?.map(|(now, _)| now));

    phase("one message to each");
    crowd.next.store(0, Relaxed);
    let start = Instant::now();
    crowd.work(runtime, &subject, plan.pace.callers, Crowd::send).await?;
    arrived(&ledger, ledger.accepted(0..count) * plan.endpoints).await;
    run.figures
        .put("delivered_per_s", ledger.pairs() as f64 / ledger.until_last_arrival(start).as_secs_f64());
    subject.rest().await?;
    let resident = subject.resident_mib()?;
    run.figures.put_some("memory_mib.delivered", resident.map(|(now, _)| now));
    run.figures.put_some("memory_mib.peak", resident.map(|(_, peak)| peak));

    phase("starting the server again");
    let subject = subject.restart().await?;
    run.figures.put_some("start_s", subject.started_in().map(|time| time.as_secs_f64()));
    subject.rest().await?;
    run.figures.put_some("memory_mib.started", subject.resident_mib()?.map(|(now, _)| now));
    subject.stop().await?;
    run.faults = ledger.faults(0..count);
    Ok(run)
}

/// The applications, by number, and what their calls are made of. Each has its number as its uid.
struct Crowd {
    authorization: http::HeaderValue,
    urls: Vec<String>,
    secret: String,
    payloads: Arc<Payloads>,
    ledger: Arc<Ledger>,
    next: AtomicUsize,
    count: usize,
}

impl Crowd {
    /// Does something for each application, several at a time.
    async fn work<F>(
        self: &Arc<Self>,
        runtime: &Handle,
        subject: &Subject,
        callers: usize,
        one: fn(Arc<Self>, Connection, usize) -> F,
    ) -> Result<()>
    where
        F: Future<Output = Result<Connection>> + Send + 'static,
    {
        let mut working = JoinSet::new();
        for _ in 0..callers {
            let (crowd, address) = (Arc::clone(self), subject.address);
            let work = async move {
                let mut connection = Connection::open(address).await?;
                loop {
                    let n = crowd.next.fetch_add(1, Relaxed);
                    if n >= crowd.count {
                        return anyhow::Ok(());
                    }
                    connection = one(Arc::clone(&crowd), connection, n).await?;
                }
            };
            working.spawn_on(work, runtime);
        }
        while let Some(ended) = working.join_next().await {
            ended.context("a caller ended early")??;
        }
        Ok(())
    }

    async fn make(self: Arc<Self>, mut connection: Connection, n: usize) -> Result<Connection> {
        let app = json!({"name": format!("application {n}"), "uid": n.to_string()});
        self.post(&mut connection, "/api/v1/app", app.to_string().into()).await?;
        for url in &self.urls {
            let endpoint = json!({"url": url, "secret": self.secret});
            self.post(&mut connection, &format!("/api/v1/app/{n}/endpoint"), endpoint.to_string().into())
                .await?;
        }
        Ok(connection)
    }

    async fn send(self: Arc<Self>, mut connection: Connection, n: usize) -> Result<Connection> {
        self.ledger.send(n, Instant::now());
        let message = message_body(&self.payloads, n);
        self.post(&mut connection, &format!("/api/v1/app/{n}/msg"), message).await?;
        self.ledger.accept(n);
        Ok(connection)
    }

    async fn post(&self, connection: &mut Connection, path: &str, body: Bytes) -> Result<()> {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let (status, answer) = connection.call(request).await?;
        ensure!(status.is_success(), "POST {path}: {status} {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}
