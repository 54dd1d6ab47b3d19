//! `readers`: what readers of other applications, at the heads of their queues, cost who is pushed to.

use anyhow::Result;
use tokio::{runtime::Handle, task::JoinSet};

use super::{
    deliver::Course,
    figures::Run,
    options::Plan,
    phase,
    poller::Poller,
    subject::{Origin, Subject},
};

/// Readers beside, each of an application of its own.
const READERS: usize = 10;

/// Runs it once: without, beside, without again.
pub(super) async fn run(runtime: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    let mut run = Run::default();
    phase("without readers");
    let before = pushed(runtime, origin, plan, 0, &mut run).await?;
    phase("beside ten readers");
    let beside = pushed(runtime, origin, plan, READERS, &mut run).await?;
    phase("without readers again");
    let after = pushed(runtime, origin, plan, 0, &mut run).await?;
    let without = before.zip(after).map(|(before, after)| f64::midpoint(before, after));
    run.figures.put_some("cpu_s_per_1k.without", without);
    run.figures.put_some("cpu_s_per_1k.beside", beside);
    let ratio = beside.zip(without).map(|(beside, without)| beside / without);
    run.figures.put_some("cpu_beside_to_without", ratio);
    Ok(run)
}

/// CPU seconds of the server for 1,000 deliveries to one endpoint, beside so many readers that wait.
async fn pushed(
    runtime: &Handle,
    origin: &Origin,
    plan: &Plan,
    readers: usize,
    run: &mut Run,
) -> Result<Option<f64>> {
    let subject = Subject::start(origin).await?;
    let mut waiting = JoinSet::new();
    for _ in 0..readers {
        let app = subject.make_app().await?;
        let queue = subject.make_queue(&app).await?;
        let mut poller = Poller::open(&subject, &queue).await?;
        waiting.spawn_on(async move { while poller.next().await.is_ok() {} }, runtime);
    }
    let course = Course::prepare(&subject, plan, &[]).await?;
    let told = course.run(runtime, &subject, plan).await?.told(plan);
    run.faults.add(&told.faults);
    waiting.shutdown().await;
    subject.stop().await?;
    Ok(told.figures.get("cpu_s_per_1k.server"))
}
