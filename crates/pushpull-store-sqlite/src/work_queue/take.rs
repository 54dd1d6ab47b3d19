//! Taking from a work queue: what came back, then what is new.

use pushpull_domain::{Seq, Timestamp};
use pushpull_store::{
    Consumer, ConsumerKey, Gap, Refused, Take, Taken,
    consumers::SEEN_EVERY,
    work_queue::{TAKEN_MAX, UNDONE_MAX},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Undone, done_upto, park, remove};
use crate::{
    codec,
    consumer_rows::{Queue, find, save},
    consumers::Outcome,
    fault::Fault,
    list::{BYTES_MAX, collect},
    tx::Tx,
};

/// Rows looked at for what is new in one call: some milliseconds of the writer's time.
const LOOKED_MAX: usize = 2_000;

/// Takes items: which, and how often each was handed out. Their messages are for a reader to find.
pub(super) fn take(tx: &mut Tx<'_>, key: &ConsumerKey, ask: &Take) -> Outcome<(Vec<(Seq, u32)>, Taken)> {
    let (Some(mut consumer), Some(queue)) = (find(tx.conn, key)?, Queue::of(tx.conn, key.endpoint, tx.wall)?)
    else {
        return Ok(Err(Refused::Gone));
    };
    if let Some(held) = consumer.lease_at(tx.wall) {
        return Ok(Err(Refused::Held(held.clone())));
    }
    let gap = Gap::between(consumer.committed, queue.trimmed);
    let next_due = next_due_at(tx.conn, key)?;
    if consumer.lease.is_none()
        && consumer.handed >= queue.last
        && gap.is_none()
        && next_due.is_none_or(|at| at > tx.wall)
    {
        // Of many workers who wait, all are woken by what one takes: to the rest it must cost next to nothing.
        touch(tx, consumer)?;
        return Ok(Ok((Vec::new(), Taken { next_due_at: next_due, ..Taken::default() })));
    }
    let before = consumer.clone();
    tx.conn
        .prepare_cached("DELETE FROM consumer_item WHERE endpoint = ?1 AND consumer = ?2 AND seq <= ?3")?
        .execute(params![key.endpoint.0, &*key.name, queue.trimmed.0])?;
    let undone = Undone::of(tx.conn, key, tx.wall)?;
    if consumer.lease.is_some() && undone.is_nothing() {
        // What a stream was handed and did not commit is not done. Without a lease all that was handed is.
        consumer.handed = consumer.committed;
    }
    // What was removed counts as handed out: an answer for its last seq says that it was heard of.
    consumer.handed = consumer.handed.max(queue.trimmed);
    let room = ask.max.min(TAKEN_MAX.saturating_sub(undone.out));
    let waits = queue.draining && !queue.pushed;
    let mut taking = Taking { tx, ask, consumer, queue, room, items: Vec::new(), bytes: 0 };
    let mut more = false;
    if !waits {
        more |= taking.what_came_back()?;
        let rows = undone.taken + undone.parked;
        let new_max = UNDONE_MAX.saturating_sub(usize::try_from(rows).unwrap_or(UNDONE_MAX));
        more |= taking.what_is_new(new_max, gap)?;
    }
    let next_due_at = next_due_at(tx.conn, key)?;
    let consumer = Consumer { lease: None, ..taking.consumer };
    let items = taking.items;
    // Who only asks, and asks often, writes nothing.
    if consumer == before {
        touch(tx, consumer)?;
    } else {
        save(tx, consumer)?;
    }
    let full = undone.out + items.len() >= TAKEN_MAX;
    Ok(Ok((items, Taken { items: Vec::new(), gap, more: more && !full, full, next_due_at })))
}

fn touch(tx: &Tx<'_>, consumer: Consumer) -> Result<(), Fault> {
    if tx.wall.since(consumer.seen_at) >= SEEN_EVERY {
        save(tx, consumer)?;
    }
    Ok(())
}

/// What is being taken.
struct Taking<'t, 'c> {
    tx: &'t Tx<'c>,
    ask: &'t Take,
    consumer: Consumer,
    queue: Queue,
    /// How many more may be taken.
    room: usize,
    items: Vec<(Seq, u32)>,
    bytes: usize,
}

impl Taking<'_, '_> {
    fn is_full(&self) -> bool {
        self.room == 0 || self.bytes >= BYTES_MAX
    }

    fn due_at(&self) -> i64 {
        self.tx.wall.after(self.ask.lease).as_millis()
    }

    fn takes(&mut self, seq: Seq, delivered: u32, message: i64) -> Result<(), Fault> {
        let bytes: Option<usize> = self
            .tx
            .conn
            .prepare_cached("SELECT ifnull(length(payload), 0) FROM message WHERE key = ?1")?
            .query_row([message], |row| row.get(0))
            .optional()?;
        self.bytes += bytes.unwrap_or_default();
        self.room -= 1;
        self.items.push((seq, delivered));
        Ok(())
    }

    /// Takes what came back; whether there is more of it.
    fn what_came_back(&mut self) -> Result<bool, Fault> {
        let (conn, key, queue) = (self.tx.conn, &self.consumer.key, &self.queue);
        let (endpoint, name) = (key.endpoint.0, key.name.clone());
        let due: Vec<(u64, u32, Option<i64>, Option<u8>)> = collect(
            conn,
            "SELECT seq, delivered, delivery.message, delivery.state
             FROM consumer_item AS item INDEXED BY consumer_item_due
                 LEFT JOIN delivery NOT INDEXED ON delivery.key = ?4 + item.seq
             WHERE item.endpoint = ?1 AND consumer = ?2 AND item.state = 0 AND item.due_at <= ?3
             ORDER BY item.due_at, seq LIMIT ?5",
            params![endpoint, &*name, self.tx.wall.as_millis(), queue.key(Seq(0)), TAKEN_MAX],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        let mut again = conn.prepare_cached(
            "UPDATE consumer_item SET due_at = ?4, holder = ?5, delivered = delivered + 1
             WHERE endpoint = ?1 AND consumer = ?2 AND seq = ?3",
        )?;
        let max_deliver = self.consumer.settings.max_deliver;
        for (seq, delivered, message, state) in &due {
            if self.is_full() {
                return Ok(true);
            }
            // What retention removed is done, too: an old message that was sent again goes before those around it.
            let (Some(message), Some(state)) = (message, state) else {
                remove(conn, &self.consumer.key, Seq(*seq))?;
                continue;
            };
            if self.queue.passes_over(*state) {
                remove(conn, &self.consumer.key, Seq(*seq))?;
            } else if max_deliver > 0 && *delivered >= max_deliver {
                park(conn, &self.consumer.key, Seq(*seq))?;
            } else {
                again.execute(params![endpoint, &*name, seq, self.due_at(), self.ask.holder.as_deref()])?;
                self.takes(Seq(*seq), delivered + 1, *message)?;
            }
        }
        Ok(due.len() == TAKEN_MAX)
    }

    /// Takes what was never handed out; whether there is more of it.
    fn what_is_new(&mut self, new_max: usize, gap: Option<Gap>) -> Result<bool, Fault> {
        let conn = self.tx.conn;
        let after = self.consumer.handed;
        let mut deliveries = conn.prepare_cached(
            "SELECT key, message, state FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
        )?;
        let mut take = conn.prepare_cached(
            "INSERT INTO consumer_item (endpoint, consumer, seq, state, due_at, holder, delivered)
             VALUES (?1, ?2, ?3, 0, ?4, ?5, 1)",
        )?;
        let key = self.consumer.key.clone();
        let mut found = deliveries.query([self.queue.key(after) + 1, self.queue.key(self.queue.last)])?;
        let (mut looked, mut new) = (0, 0);
        while !self.is_full() && new < new_max && looked < LOOKED_MAX {
            let Some(row) = found.next()? else {
                // What an old message that was sent again left at the end is a hole.
                self.consumer.handed = self.consumer.handed.max(self.queue.last);
                break;
            };
            let seq = Seq(codec::place(row.get(0)?));
            looked += 1;
            self.consumer.handed = seq;
            if !self.queue.passes_over(row.get(2)?) {
                let holder = self.ask.holder.as_deref();
                take.execute(params![key.endpoint.0, &*key.name, seq.0, self.due_at(), holder])?;
                self.takes(seq, 1, row.get(1)?)?;
                new += 1;
            }
        }
        // A gap is told until something beyond it is done, unless there is so much to pass over that it would be
        // passed over again and again.
        if gap.is_none() || (looked == LOOKED_MAX && self.items.is_empty()) {
            self.consumer.committed = done_upto(conn, &self.consumer)?;
        }
        Ok(new < new_max && self.consumer.handed < self.queue.last)
    }
}

fn next_due_at(conn: &Connection, key: &ConsumerKey) -> Result<Option<Timestamp>, Fault> {
    let next: Option<i64> = conn
        .prepare_cached(
            "SELECT min(due_at) FROM consumer_item INDEXED BY consumer_item_due
             WHERE endpoint = ?1 AND consumer = ?2 AND state = 0",
        )?
        .query_row(params![key.endpoint.0, &*key.name], |row| row.get(0))?;
    Ok(next.map(Timestamp::from_millis))
}
