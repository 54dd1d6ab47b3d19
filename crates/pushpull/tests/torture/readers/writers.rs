//! Many who write, with pauses, until each message is acknowledged; and write down what they were told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use http::Method;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{Dice, Lives, Visitor, hash, let_pass};

/// Writers at once.
const WRITERS: usize = 16;
/// The event type that the pushed endpoint takes.
pub(crate) const PAID: &str = "invoice.paid";
/// The others.
const OTHERS: [&str; 2] = ["invoice.sent", "order.made"];

/// A message that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) is_paid: bool,
    /// Of the payload.
    pub(crate) hash: [u8; 32],
    /// When it was first sent.
    pub(crate) at: Instant,
}

/// The writers at work.
pub(crate) struct Writers {
    over: Arc<AtomicBool>,
    writers: JoinSet<Vec<Written>>,
}

impl Writers {
    pub(crate) fn start(lives: &Lives, dice: &Dice) -> Self {
        let (over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            writers.spawn(write(lives.visitor(), dice.fork(), Arc::clone(&over), Arc::clone(&next)));
        }
        Self { over, writers }
    }

    /// Lets each finish what it is at; all that was acknowledged.
    pub(crate) async fn finish(self) -> Vec<Written> {
        self.over.store(true, Ordering::SeqCst);
        self.writers.join_all().await.into_iter().flatten().collect()
    }
}

async fn write(
    mut visitor: Visitor,
    dice: Dice,
    over: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
) -> Vec<Written> {
    let mut written = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let n = next.fetch_add(1, Ordering::SeqCst);
        let event_type = if dice.once_in(3) { PAID } else { dice.pick(&OTHERS) };
        let pad = "x".repeat(dice.below(500) as usize);
        // Not as a JSON library writes it: bytes that were parsed and written anew would differ.
        let payload = format!(r#"{{ "n" :{n}, "amount": 1.10, "pad":"{pad}" }}"#);
        let body = format!(r#"{{"eventType":"{event_type}","payload":{payload}}}"#).into();
        let (key, at) = (format!("key-{n}"), Instant::now());
        let headers = [("idempotency-key", &*key)];
        let answer = visitor.ask(Method::POST, "/api/v1/app/app/msg", body, &headers).await.expect(202);
        let (id, hash) = (answer.text("id"), hash(payload.as_bytes()));
        written.push(Written { id, is_paid: event_type == PAID, hash, at });
        if !dice.once_in(4) {
            let_pass(dice.millis(1, 80)).await;
        }
    }
    written
}
