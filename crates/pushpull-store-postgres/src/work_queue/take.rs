//! Taking from a work queue: what came back, then what is new.

use std::sync::{Arc, LazyLock};

use pushpull_domain::{Seq, Timestamp};
use pushpull_store::{
    Consumer, ConsumerKey, Gap, Refused, Take, Taken, TakenItem,
    codec::DELIVERED,
    consumers::SEEN_EVERY,
    gather::BYTES_MAX,
    work_queue::{TAKEN_MAX, UNDONE_MAX},
};
use tokio_postgres::Row;

use super::items::{self, Changes, Item};
use crate::{
    Db,
    consumer_rows::{Queue, Standing, lock, save},
    consumers::Outcome,
    fault::Fault,
    feed, list,
    pool::Params,
    tx::Tx,
};

/// Rows looked at for what is new in one call: some milliseconds during which the consumer is locked.
const LOOKED_MAX: i64 = 2_000;

/// What is taken, and how often it was handed out. Its message is found when nobody waits for the consumer any more.
pub(super) struct Found {
    seq: Seq,
    delivered: u32,
    message: i64,
    message_day: i32,
}

/// Looks whether there is anything to take, and locks and writes nothing; `None`: there is.
pub(super) async fn look(db: &Arc<Db>, key: &ConsumerKey) -> Result<Option<Result<Taken, Refused>>, Fault> {
    let now = db.clock.now();
    let conn = db.reads.lend().await?;
    let Some(standing) = Standing::of(db, &conn, key, now, false).await? else {
        return Ok(Some(Err(Refused::Gone)));
    };
    let is_noted = now.since(standing.consumer.seen_at) < SEEN_EVERY;
    Ok(nothing_to_take(&standing, now).filter(|answer| answer.is_err() || is_noted))
}

/// The answer, if nothing is taken.
fn nothing_to_take(standing: &Standing, now: Timestamp) -> Option<Result<Taken, Refused>> {
    let Standing { consumer, queue, next_due_at, .. } = standing;
    if let Some(held) = consumer.lease_at(now) {
        return Some(Err(Refused::Held(held.clone())));
    }
    let nothing = consumer.lease.is_none()
        && consumer.handed >= queue.last
        && queue.trimmed <= consumer.committed
        && next_due_at.is_none_or(|at| at > now);
    nothing.then(|| Ok(Taken { next_due_at: *next_due_at, ..Taken::default() }))
}

/// What retention removed is not taken any more.
const REMOVE_TRIMMED: &str = "DELETE FROM consumer_item WHERE endpoint = $1 AND consumer = $2 AND seq <= $3";

/// Takes items.
pub(super) async fn take(db: &Arc<Db>, key: &ConsumerKey, ask: &Take) -> Outcome<(Vec<Found>, Taken)> {
    let tx = db.begin().await?;
    // A statement of its own: the next one sees what was committed before this one got the lock.
    if lock(&tx, key).await?.is_none() {
        return Ok(Err(Refused::Gone));
    }
    let Some(standing) = Standing::of(db, tx.conn(), key, tx.wall, true).await? else {
        return Ok(Err(Refused::Gone));
    };
    match nothing_to_take(&standing, tx.wall) {
        Some(Ok(taken)) => {
            touch(tx, standing.consumer).await?;
            return Ok(Ok((Vec::new(), taken)));
        }
        Some(Err(refused)) => return Ok(Err(refused)),
        None => {}
    }
    take_of(db, tx, ask, standing).await.map(Ok)
}

async fn take_of(db: &Db, tx: Tx, ask: &Take, standing: Standing) -> Result<(Vec<Found>, Taken), Fault> {
    let Standing { mut consumer, queue, next_due_at, undone, .. } = standing;
    let before = consumer.clone();
    let gap = Gap::between(consumer.committed, queue.trimmed);
    let mut removed = 0;
    if gap.is_some() {
        let (no, name) = (queue.endpoint.0.cast_signed(), &*consumer.key.name);
        removed = tx.execute(REMOVE_TRIMMED, &[&no, &name, &queue.trimmed.0.cast_signed()]).await?;
    }
    if consumer.lease.is_some() && undone.is_nothing() {
        // What a stream was handed and did not commit is not done. Without a lease all that was handed is.
        consumer.handed = consumer.committed;
    }
    // What was removed counts as handed out: an answer for its last seq says that it was heard of.
    consumer.handed = consumer.handed.max(queue.trimmed);
    consumer.lease = None;
    let waits = queue.draining && !queue.pushed;
    let room = ask.max.min(TAKEN_MAX.saturating_sub(undone.out));
    let mut taking = Taking {
        db,
        tx: &tx,
        ask,
        consumer,
        queue,
        room,
        changes: Changes::default(),
        found: Vec::new(),
        bytes: 0,
    };
    let (mut more, mut moves) = (false, false);
    if !waits {
        if next_due_at.is_some_and(|at| at <= tx.wall) {
            more |= taking.what_came_back().await?;
        }
        let rows = usize::try_from(undone.taken + undone.parked).unwrap_or(UNDONE_MAX);
        let looked = taking.what_is_new(UNDONE_MAX.saturating_sub(rows)).await?;
        more |= looked.more;
        // A gap is told until something beyond it is done, unless there is so much to pass over that it would be
        // passed over again and again.
        moves = gap.is_none() || (looked.is_much && taking.found.is_empty());
    }
    let Taking { consumer, changes, found, .. } = taking;
    let next_due_at = if removed == 0 && changes.is_nothing() && consumer == before {
        // Who only asks, and asks often, writes nothing.
        touch(tx, consumer).await?;
        next_due_at
    } else {
        let (_, next_due_at) = items::write(&tx, consumer, moves, &changes).await?;
        tx.commit().await?;
        next_due_at
    };
    let full = undone.out + found.len() >= TAKEN_MAX;
    Ok((found, Taken { items: Vec::new(), gap, more: more && !full, full, next_due_at }))
}

async fn touch(tx: Tx, consumer: Consumer) -> Result<(), Fault> {
    if tx.wall.since(consumer.seen_at) >= SEEN_EVERY {
        save(&tx, consumer).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// What is being taken.
struct Taking<'t> {
    db: &'t Db,
    tx: &'t Tx,
    ask: &'t Take,
    consumer: Consumer,
    queue: Queue,
    /// How many more may be taken.
    room: usize,
    changes: Changes,
    found: Vec<Found>,
    bytes: usize,
}

/// What was looked at for what is new.
struct Looked {
    /// Whether there is more.
    more: bool,
    /// As much as one call looks at.
    is_much: bool,
}

/// What is due of the items, with what is known of its delivery.
static CAME_BACK: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT i.seq, i.day, d.state, d.message, d.message_day, octet_length(m.payload), i.delivered
         FROM (SELECT * FROM consumer_item WHERE endpoint = $1 AND consumer = $2 AND due_at <= $3 AND seq > $4
               ORDER BY due_at, seq LIMIT {TAKEN_MAX}) AS i
             LEFT JOIN LATERAL (SELECT * FROM delivery WHERE key = $5 + i.seq AND day = i.day LIMIT 1) AS d ON true
             LEFT JOIN LATERAL (SELECT payload FROM message WHERE key = d.message AND day = d.message_day LIMIT 1)
                 AS m ON true
         ORDER BY i.due_at, i.seq"
    )
});

/// The deliveries in a range, but for what is passed over (`$3`: what a push brought) and is not the last looked at.
static NEW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT d.key - $5, d.day, d.state, d.message, d.message_day, octet_length(m.payload), d.looked
         FROM (SELECT *, row_number() OVER (ORDER BY key) AS looked FROM delivery
               WHERE key BETWEEN $1 AND $2 AND day >= $6 ORDER BY key LIMIT {LOOKED_MAX}) AS d
             LEFT JOIN LATERAL (SELECT payload FROM message WHERE key = d.message AND day = d.message_day LIMIT 1)
                 AS m ON true
         WHERE NOT ($3 AND d.state = {DELIVERED}) OR d.looked = {LOOKED_MAX}
         ORDER BY d.key LIMIT $4"
    )
});

impl Taking<'_> {
    fn is_full(&self) -> bool {
        self.room == 0 || self.bytes >= BYTES_MAX
    }

    /// Takes the item of a row of one of the two queries above.
    fn takes(&mut self, row: &Row, delivered: u32) {
        let (seq, day) = (feed::seq(row, 0), row.get(1));
        let due_at = Some(self.tx.wall.after(self.ask.lease));
        self.changes.keep(seq, Item { day, due_at, holder: self.ask.holder.clone(), delivered });
        self.found.push(Found { seq, delivered, message: row.get(3), message_day: row.get(4) });
        self.bytes += row.get::<_, Option<i32>>(5).unwrap_or_default() as usize;
        self.room -= 1;
    }

    /// Takes what came back; whether there is more of it.
    async fn what_came_back(&mut self) -> Result<bool, Fault> {
        let params: Params<'_> = &[
            &self.queue.endpoint.0.cast_signed(),
            &&*self.consumer.key.name,
            &self.tx.wall.as_millis(),
            &self.queue.trimmed.0.cast_signed(),
            &self.queue.key(Seq(0)),
        ];
        let due = self.tx.query(&CAME_BACK, params).await?;
        let max_deliver = self.consumer.settings.max_deliver;
        for row in &due {
            if self.is_full() {
                return Ok(true);
            }
            let (seq, delivered) = (feed::seq(row, 0), row.get::<_, i32>(6).cast_unsigned());
            match row.get::<_, Option<i16>>(2) {
                Some(state) if !self.queue.passes_over(state) => {
                    if max_deliver > 0 && delivered >= max_deliver {
                        let parked = Item { day: row.get(1), due_at: None, holder: None, delivered };
                        self.changes.keep(seq, parked);
                    } else {
                        self.takes(row, delivered + 1);
                    }
                }
                // What retention removed is done, too: an old message that was sent again goes before those around it.
                Some(_) | None => self.changes.done(seq),
            }
        }
        Ok(due.len() == TAKEN_MAX)
    }

    /// Takes what was never handed out.
    async fn what_is_new(&mut self, new_max: usize) -> Result<Looked, Fault> {
        let last = self.queue.last;
        let (mut looked, mut new) = (0, 0);
        if !self.is_full() && new_max > 0 && self.consumer.handed < last {
            let next = self.queue.key(self.consumer.handed) + 1;
            let params: Params<'_> = &[
                &next,
                &self.queue.key(last),
                &!self.queue.pushed,
                &(self.room.min(new_max) as i64),
                &self.queue.key(Seq(0)),
                &self.db.days.not_before(next),
            ];
            let rows = self.tx.query(&NEW, params).await?;
            if let Some(row) = rows.last() {
                self.db.days.learn(self.queue.key(feed::seq(row, 0)), row.get(1));
            }
            for row in &rows {
                if self.is_full() {
                    break;
                }
                looked = row.get(6);
                self.consumer.handed = feed::seq(row, 0);
                if !self.queue.passes_over(row.get(2)) {
                    self.takes(row, 1);
                    new += 1;
                }
            }
        }
        if !self.is_full() && new < new_max && looked < LOOKED_MAX {
            // What an old message that was sent again left at the end is a hole.
            self.consumer.handed = self.consumer.handed.max(last);
        }
        Ok(Looked { more: new < new_max && self.consumer.handed < last, is_much: looked == LOOKED_MAX })
    }
}

/// Items with their messages. What retention removes in between comes back no more.
pub(super) async fn with_messages(db: &Arc<Db>, found: Vec<Found>) -> Result<Vec<TakenItem>, Fault> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let conn = db.reads.lend().await?;
    let messages = list::messages(&conn, found.iter().map(|item| (item.message, item.message_day))).await?;
    let items = found.into_iter().filter_map(|Found { seq, delivered, message, .. }| {
        Some(TakenItem { seq, message: Arc::clone(messages.get(&message)?), delivered })
    });
    Ok(items.collect())
}
