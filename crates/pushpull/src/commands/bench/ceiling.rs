//! The bare ceiling: the same bodies, signed and sent to the same receiver, with nothing between.
//!
//! No server can do better on this machine: it has to take each message in besides. A ratio to it, of the same
//! minute, says more than a rate: half of what disturbs one disturbs the other too.

use std::sync::Arc;

use anyhow::Result;
use tokio::runtime::Handle;

use super::{
    figures::{Figures, Run},
    ledger::Ledger,
    load::{self, Pace},
    options::Plan,
    payload::Payloads,
    receiver::Receiver,
    span::Span,
    target::Target,
};

/// Most requests of one measurement: a second or two of them is enough.
const REQUESTS_MAX: usize = 100_000;
/// Requests before it: connections are made, buffers have grown.
const WARM_UP: usize = 1_000;

/// Measures it once, in a closed loop of the plan's callers.
pub(super) async fn measure(runtime: &Handle, plan: &Plan) -> Result<Run> {
    let requests = (plan.messages * plan.endpoints.max(1)).clamp(1, REQUESTS_MAX);
    let warm_up = WARM_UP.min(requests);
    let payloads = Arc::new(Payloads::new(plan.size));
    let ledger = Arc::new(Ledger::new(warm_up + requests, 1));
    let receiver = Receiver::open(Arc::clone(&ledger), Arc::clone(&payloads))?;
    let (target, secret) = Target::deliveries(receiver.address, payloads);
    receiver.trust(vec![secret]);
    let target = Arc::new(target);
    let pace = Pace { rate: None, ..plan.pace };

    load::send(runtime, &target, &ledger, 0..warm_up, pace).await?;
    let span = Span::begin(None)?;
    let measured = warm_up..warm_up + requests;
    let sent = load::send(runtime, &target, &ledger, measured.clone(), pace).await?;
    let used = span.end(None)?;

    let delivered = ledger.accepted(measured.clone());
    let mut figures = Figures::default();
    figures.put("delivered_per_s", delivered as f64 / sent.took.as_secs_f64());
    figures.put("cpu_s_per_1k.client", used.client_per_1k(delivered));
    figures.put_latencies("end_to_end_ms", &ledger.end_to_end(measured.clone()));
    used.tell_noise(&mut figures);
    let mut faults = ledger.faults(measured);
    faults.errors = sent.errors;
    Ok(Run { figures, faults })
}
