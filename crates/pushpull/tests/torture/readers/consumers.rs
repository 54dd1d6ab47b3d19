//! Consumers: one that gives iterators back, and one that holds leases and commits.

use serde_json::json;

use super::{
    desk::{Desk, read},
    notes::{Committed, Gap, Item, Notes, Page},
};

/// A page brings the reader down once in so many times: it forgets where it was.
const CRASHES: u64 = 12;

/// Gives the iterator of each page back with the next call, which commits the page.
pub(crate) async fn by_iterator(mut desk: Desk) -> Notes {
    let consumer = format!("{}/consumer/iterator", desk.path());
    let mut committed = Committed::nothing();
    // What it was given last, and the seq that it stands for.
    let mut given: Option<(String, u64)> = None;
    loop {
        let head = desk.head();
        let limit = 1 + desk.dice.below(100);
        let mut path = format!("{consumer}?limit={limit}&wait={}", desk.dice.below(3));
        if let Some((iterator, seq)) = &given {
            path = format!("{path}&iterator={iterator}");
            committed.asked(*seq);
        }
        let Some(answer) = desk.get(&path).await else { continue };
        if answer.status == 400 && answer.code() == "invalid_iterator" && given.is_some() {
            given = None;
            continue;
        }
        let page: Page = read(&answer.expect(200));
        if let Some((_, seq)) = given.take() {
            committed.told(seq);
        }
        let Part { reached, is_end, .. } = note(&mut desk, &mut committed, page.gap, page.data).await;
        if head.is_some() && is_end {
            return desk.notes;
        }
        if !desk.dice.once_in(CRASHES) {
            given = Some((page.iterator, reached));
        }
        desk.pause().await;
    }
}

/// Is handed out what is not committed under a lease, and commits some or all of it. Whoever holds it goes down at
/// times; the next has another name, and waits until the lease has ended.
pub(crate) async fn by_lease(mut desk: Desk) -> Notes {
    let consumer = format!("{}/consumer/lease", desk.leased_path());
    let mut committed = Committed::nothing();
    let (mut holder, mut kept_out) = (0, 0);
    loop {
        let head = desk.head();
        let (limit, lease) = (1 + desk.dice.below(100), 1_000 + desk.dice.below(1_000));
        let path =
            format!("{consumer}?limit={limit}&lease_duration_ms={lease}&wait=1&holder=holder-{holder}");
        let Some(answer) = desk.get(&path).await else { continue };
        if answer.status == 409 && answer.code() == "lease_held" && holder > 0 {
            kept_out += 1;
            desk.pause().await;
            continue;
        }
        let page: Page = read(&answer.expect(200));
        let part = note(&mut desk, &mut committed, page.gap, page.data).await;
        if head.is_some() && part.is_end {
            if kept_out == 0 {
                desk.notes.wrong("no holder was ever kept out by the lease of another".into());
            }
            return desk.notes;
        }
        // Not always all of it: the rest is handed to the same holder again.
        let all = !desk.dice.once_in(4);
        let handled =
            if all { part.reached } else { part.begin + desk.dice.below(part.reached - part.begin + 1) };
        if desk.dice.once_in(CRASHES) {
            holder += 1;
        } else if handled > part.committed {
            committed.asked(handled);
            let body = json!({ "offset": handled, "holder": format!("holder-{holder}") });
            if let Some(answer) = desk.post(&format!("{consumer}/commit"), &body).await {
                answer.expect(204);
                committed.told(handled);
            }
        }
        desk.pause().await;
    }
}

/// Which part of the queue a consumer was given.
struct Part {
    /// Up to where it has committed, before.
    committed: u64,
    /// The items begin after this seq.
    begin: u64,
    /// Up to where it knows of everything.
    reached: u64,
    /// There was nothing.
    is_end: bool,
}

/// Notes what a consumer was given, which must go on where it has committed.
async fn note(desk: &mut Desk, committed: &mut Committed, gap: Option<Gap>, items: Vec<Item>) -> Part {
    let first = gap.map(|gap| gap.from).or(items.first().map(|item| item.seq));
    let committed = match committed.shown_by(first) {
        Ok(committed) => committed,
        Err(error) => {
            desk.notes.wrong(error);
            first.unwrap_or_default().saturating_sub(1)
        }
    };
    let begin = gap.map_or(committed, |gap| gap.until);
    let reached = items.last().map_or(begin, |item| item.seq);
    let is_end = first.is_none();
    if let Some(Gap { from, until }) = gap {
        desk.note_gap(from, until).await;
    }
    desk.notes.part(begin, items);
    Part { committed, begin, reached, is_end }
}
