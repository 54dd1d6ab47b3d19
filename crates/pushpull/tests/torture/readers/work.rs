//! A work queue with two workers, who put items back, keep some longer, and let others lie.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    desk::{Desk, read},
    notes::{Gap, Item, Notes},
};

/// What was pulled.
#[derive(Deserialize)]
struct Pulled {
    data: Vec<Taken>,
    gap: Option<Gap>,
}

/// An item that was handed out. Not an [`Item`] with one field more: serde keeps no raw JSON through `flatten`.
#[derive(Deserialize)]
struct Taken {
    id: String,
    seq: u64,
    position: u64,
    payload: Box<serde_json::value::RawValue>,
    attempt: u32,
}

/// What the workers know together.
struct Bench {
    notes: Notes,
    /// How often each was handed out, as it said, and since when that is known.
    attempts: HashMap<u64, (u32, Instant)>,
    /// What was said to be done.
    done: BTreeSet<u64>,
    /// Since when it is known that it counted.
    done_since: HashMap<u64, Instant>,
}

/// Two workers at once. In the notes is what was done.
pub(crate) async fn queue(mut one: Desk, mut other: Desk) -> Notes {
    let notes = std::mem::replace(&mut one.notes, Notes::new(other.notes.who, true));
    let (attempts, done, done_since) = (HashMap::new(), BTreeSet::new(), HashMap::new());
    let bench = Mutex::new(Bench { notes, attempts, done, done_since });
    loop {
        other.rests_at = one.rests_at;
        let (is_end, _) = tokio::join!(work(&mut one, &bench, "one"), work(&mut other, &bench, "other"));
        if is_end {
            break;
        }
        // Both rest, or the other would take what one lets lie.
        one.pause().await;
    }
    let Bench { mut notes, done, .. } = bench.into_inner().unwrap();
    // Only what was said to be done is.
    notes.seen.retain(|seq, _| done.contains(seq));
    notes.gaps.append(&mut one.notes.gaps);
    notes.gaps.append(&mut other.notes.gaps);
    notes.faults.append(&mut one.notes.faults);
    notes.faults.append(&mut other.notes.faults);
    notes
}

/// Works until everything is done, which it says, or until it is time to rest.
async fn work(desk: &mut Desk, bench: &Mutex<Bench>, name: &str) -> bool {
    let consumer = format!("{}/consumer/queue", desk.path());
    let mut kept = Vec::new();
    loop {
        if desk.is_to_rest().is_some() && desk.head().is_none() {
            return false;
        }
        let head = desk.head();
        let ask = json!({
            "max": 1 + desk.dice.below(50), "lease": 1 + desk.dice.below(2), "wait": desk.dice.below(2), "holder": name,
        });
        let asked = Instant::now();
        let Some(answer) = desk.post(&format!("{consumer}/pull"), &ask).await else { continue };
        let pulled: Pulled = read(&answer.expect(200));
        if head.is_some() && pulled.data.is_empty() && kept.is_empty() && is_done(desk, &consumer).await {
            return true;
        }
        let mut done = std::mem::take(&mut kept);
        if let Some(Gap { from, until }) = pulled.gap {
            desk.note_gap(from, until).await;
            done.push(until);
        }
        let (mut nack, mut extend) = (Vec::new(), Vec::new());
        for item in bench.lock().unwrap().takes(pulled.data, asked) {
            match desk.dice.below(40) {
                // It lies until its lease ends.
                0 => {}
                1..=4 => nack.push(json!({ "seq": item, "delay": desk.dice.below(2) })),
                5..=8 => {
                    extend.push(json!({ "seq": item, "lease": 2 }));
                    kept.push(item);
                }
                _ => done.push(item),
            }
        }
        let says = json!({ "ack": done, "nack": nack, "extend": extend, "holder": name });
        bench.lock().unwrap().done.extend(&done);
        if let Some(answer) = desk.post(&format!("{consumer}/ack"), &says).await {
            answer.expect(200);
            let now = Instant::now();
            bench.lock().unwrap().done_since.extend(done.into_iter().map(|seq| (seq, now)));
        }
        desk.nap().await;
    }
}

/// Whether nothing is left to do.
async fn is_done(desk: &mut Desk, consumer: &str) -> bool {
    let Some(answer) = desk.get(&format!("{consumer}/status")).await else { return false };
    let status: Value = answer.expect(200).json();
    status["lag"]["messages"] == 0 && status["taken"] == 0 && status.get("gap").is_none()
}

impl Bench {
    /// Notes items that were asked for then; their seqs.
    fn takes(&mut self, items: Vec<Taken>, asked: Instant) -> Vec<u64> {
        let mut seqs = Vec::with_capacity(items.len());
        for Taken { id, seq, position, payload, attempt } in items {
            if self.done_since.get(&seq).is_some_and(|since| *since < asked) {
                self.notes.wrong(format!("seq {seq} was handed out after it was done"));
            }
            // An answer may be late: a node that slept after it took has been overtaken.
            match self.attempts.get(&seq) {
                Some((before, since)) if attempt <= *before => {
                    if *since < asked {
                        self.notes
                            .wrong(format!("attempt {attempt} of seq {seq} came after attempt {before}"));
                    }
                }
                Some(_) | None => drop(self.attempts.insert(seq, (attempt, Instant::now()))),
            }
            self.notes.item(Item { id, seq, position, payload });
            seqs.push(seq);
        }
        seqs
    }
}
