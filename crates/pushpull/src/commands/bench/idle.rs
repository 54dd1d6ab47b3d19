//! `idle`: a server that nobody calls.

use anyhow::Result;

use super::{
    figures::{Figures, Run},
    options::Plan,
    phase,
    span::Span,
    subject::{Origin, Subject},
};

/// Looks once.
pub(super) async fn run(origin: &Origin, plan: &Plan) -> Result<Run> {
    let subject = Subject::start(origin).await?;
    subject.rest().await?;
    phase("looking at it");
    let span = Span::begin(Some(&subject))?;
    tokio::time::sleep(plan.idle).await;
    let used = span.end(Some(&subject))?;
    let mut figures = Figures::default();
    figures.put_some("start_s", subject.started_in().map(|time| time.as_secs_f64()));
    figures.put("looked_for_s", plan.idle.as_secs_f64());
    figures.put_some("cpu_s", used.server_cpu_s());
    figures.put_some("memory_mib", subject.resident_mib()?.map(|(now, _)| now));
    used.tell_noise(&mut figures);
    subject.stop().await?;
    Ok(Run { figures, ..Run::default() })
}
