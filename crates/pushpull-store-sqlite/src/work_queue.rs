//! Work queues: a row for each item that was taken and is not done; all else up to the handed seq is done.

mod take;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use pushpull_domain::{DeliveryKey, Message, Seq, Timestamp};
use pushpull_store::{
    Answered, Answers, Asked, Consumer, ConsumerKey, Error, Nack, Page, PageQuery, Parked, Refused, Take,
    Taken, TakenItem, WorkQueue,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Sqlite, codec,
    consumer_rows::{find, save},
    consumers::Outcome,
    fault::Fault,
    list::{Gather, beyond, bytes_of, direction},
    rows,
    tx::Tx,
};

impl WorkQueue for Sqlite {
    fn take(&self, key: ConsumerKey, take: Take) -> BoxFuture<'_, Asked<Taken>> {
        Box::pin(async move {
            let endpoint = key.endpoint;
            let (items, taken) = match self.write(move |tx| take::take(tx, &key, &take)).await? {
                Ok(taken) => taken,
                Err(refused) => return Ok(Err(refused)),
            };
            let items = self.read(move |conn| {
                let mut found = Vec::with_capacity(items.len());
                for (seq, delivered) in items {
                    // What retention removes in between comes back no more.
                    if let Some(message) =
                        message_of(conn, codec::delivery_key(DeliveryKey { endpoint, seq }))?
                    {
                        found.push(TakenItem { seq, message, delivered });
                    }
                }
                Ok(found)
            });
            Ok(Ok(Taken { items: items.await?, ..taken }))
        })
    }

    fn answer(&self, key: ConsumerKey, answers: Answers) -> BoxFuture<'_, Asked<Answered>> {
        Box::pin(self.write(move |tx| answer(tx, &key, &answers)))
    }

    fn parked(&self, key: ConsumerKey, page: PageQuery<Seq>) -> BoxFuture<'_, Result<Page<Parked>, Error>> {
        Box::pin(self.read_long(move |conn| parked(conn, &key, &page)))
    }

    fn replay(&self, key: ConsumerKey, only: Option<Vec<Seq>>) -> BoxFuture<'_, Asked<u64>> {
        Box::pin(self.write(move |tx| replay(tx, &key, only.as_deref())))
    }
}

/// The message of a delivery, if it is kept.
fn message_of(conn: &Connection, key: i64) -> Result<Option<Arc<Message>>, Fault> {
    let Some(delivery) = rows::delivery(conn, key)? else { return Ok(None) };
    Ok(rows::message(conn, codec::message_key(delivery.message))?.map(Arc::new))
}

/// What of a work queue is not done.
pub(crate) struct Undone {
    /// Taken, or waiting to come back.
    pub(crate) taken: u64,
    /// Of these, in somebody's hands, or put off.
    out: usize,
    /// Handed out no more.
    pub(crate) parked: u64,
    /// The first that is taken, or waits to come back.
    pub(crate) oldest: Option<Seq>,
}

impl Undone {
    pub(crate) fn of(conn: &Connection, key: &ConsumerKey, now: Timestamp) -> Result<Self, Fault> {
        let undone = conn
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 0 AND due_at > ?3),
                     count(*) FILTER (WHERE state = 1), min(seq) FILTER (WHERE state = 0)
                 FROM consumer_item NOT INDEXED WHERE endpoint = ?1 AND consumer = ?2",
            )?
            .query_row(params![key.endpoint.0, &*key.name, now.as_millis()], |row| {
                Ok(Self {
                    taken: row.get(0)?,
                    out: row.get(1)?,
                    parked: row.get(2)?,
                    oldest: row.get::<_, Option<u64>>(3)?.map(Seq),
                })
            })?;
        Ok(undone)
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.taken + self.parked == 0
    }
}

/// Forgets a work queue; how many rows it had.
pub(crate) fn forget(conn: &Connection, key: &ConsumerKey) -> Result<usize, Fault> {
    let forgotten = conn
        .prepare_cached("DELETE FROM consumer_item WHERE endpoint = ?1 AND consumer = ?2")?
        .execute(params![key.endpoint.0, &*key.name])?;
    Ok(forgotten)
}

/// How far everything is done: up to the first row.
fn done_upto(conn: &Connection, consumer: &Consumer) -> Result<Seq, Fault> {
    let first: Option<u64> = conn
        .prepare_cached("SELECT min(seq) FROM consumer_item WHERE endpoint = ?1 AND consumer = ?2")?
        .query_row(params![consumer.key.endpoint.0, &*consumer.key.name], |row| row.get(0))?;
    Ok(first.map_or(consumer.handed, |first| Seq(first - 1)).max(consumer.committed))
}

fn remove(conn: &Connection, key: &ConsumerKey, seq: Seq) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM consumer_item WHERE endpoint = ?1 AND consumer = ?2 AND seq = ?3")?
        .execute(params![key.endpoint.0, &*key.name, seq.0])?;
    Ok(())
}

fn park(conn: &Connection, key: &ConsumerKey, seq: Seq) -> Result<(), Fault> {
    conn.prepare_cached(
        "UPDATE consumer_item SET state = 1, due_at = NULL, holder = NULL
         WHERE endpoint = ?1 AND consumer = ?2 AND seq = ?3",
    )?
    .execute(params![key.endpoint.0, &*key.name, seq.0])?;
    Ok(())
}

fn answer(tx: &mut Tx<'_>, key: &ConsumerKey, answers: &Answers) -> Outcome<Answered> {
    let Some(mut consumer) = find(tx.conn, key)? else { return Ok(Err(Refused::Gone)) };
    let seqs = answers.ack.iter().chain(answers.nack.iter().map(|(seq, _)| seq));
    if seqs.chain(answers.extend.iter().map(|(seq, _)| seq)).any(|seq| *seq > consumer.handed) {
        return Ok(Err(Refused::Ahead(consumer.handed)));
    }
    if let Some(held) = consumer.lease_at(tx.wall) {
        return Ok(Err(Refused::Held(held.clone())));
    }
    for seq in &answers.ack {
        remove(tx.conn, key, *seq)?;
    }
    let mut lost = Vec::new();
    for (seq, nack) in &answers.nack {
        let Some(delivered) = in_hands_of(tx.conn, key, *seq, answers)? else {
            lost.push(*seq);
            continue;
        };
        let max = consumer.settings.max_deliver;
        match nack {
            Nack::Retry(_) if max > 0 && delivered >= max => park(tx.conn, key, *seq)?,
            Nack::Retry(delay) => put_off(tx, key, *seq, *delay, None)?,
            Nack::Park => park(tx.conn, key, *seq)?,
            Nack::Skip => remove(tx.conn, key, *seq)?,
        }
    }
    for (seq, lease) in &answers.extend {
        match in_hands_of(tx.conn, key, *seq, answers)? {
            Some(_) => put_off(tx, key, *seq, *lease, answers.holder.as_deref())?,
            None => lost.push(*seq),
        }
    }
    // What a stream was handed has no rows either, and is not done for that.
    if consumer.lease.is_none() {
        consumer.committed = done_upto(tx.conn, &consumer)?;
    }
    let consumer = save(tx, consumer)?;
    Ok(Ok(Answered { committed: consumer.committed, lost }))
}

/// How often an item was handed out that is in the hands of who answers; `None`: it is not, or it is done or parked.
fn in_hands_of(
    conn: &Connection,
    key: &ConsumerKey,
    seq: Seq,
    answers: &Answers,
) -> Result<Option<u32>, rusqlite::Error> {
    conn.prepare_cached(
        "SELECT delivered FROM consumer_item WHERE endpoint = ?1 AND consumer = ?2 AND seq = ?3 AND state = 0
             AND holder IS ?4",
    )?
    .query_row(params![key.endpoint.0, &*key.name, seq.0, answers.holder.as_deref()], |row| row.get(0))
    .optional()
}

/// An item comes back after a while, and until then is in these hands.
fn put_off(
    tx: &Tx<'_>,
    key: &ConsumerKey,
    seq: Seq,
    wait: Duration,
    holder: Option<&str>,
) -> Result<(), Fault> {
    tx.conn
        .prepare_cached(
            "UPDATE consumer_item SET due_at = ?4, holder = ?5 WHERE endpoint = ?1 AND consumer = ?2 AND seq = ?3",
        )?
        .execute(params![key.endpoint.0, &*key.name, seq.0, tx.wall.after(wait).as_millis(), holder])?;
    Ok(())
}

fn parked(conn: &Connection, key: &ConsumerKey, page: &PageQuery<Seq>) -> Result<Page<Parked>, Fault> {
    let sql = format!(
        "SELECT seq, delivered FROM consumer_item NOT INDEXED
         WHERE endpoint = ?1 AND consumer = ?2 AND state = 1 AND (?3 IS NULL OR seq {} ?3) ORDER BY seq {}",
        beyond(page),
        direction(page),
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query(params![key.endpoint.0, &*key.name, page.beyond.map(|seq| seq.0)])?;
    let mut found = Gather::new(page);
    while found.goes_on()
        && let Some(row) = rows.next()?
    {
        let (seq, delivered) = (Seq(row.get(0)?), row.get(1)?);
        let message = message_of(conn, codec::delivery_key(DeliveryKey { endpoint: key.endpoint, seq }))?;
        let shown = message.map(|message| {
            let bytes = bytes_of(&message);
            (Parked { seq, message, delivered }, bytes)
        });
        found.looked(seq.0, shown);
    }
    Ok(found.into_page(page))
}

fn replay(tx: &mut Tx<'_>, key: &ConsumerKey, only: Option<&[Seq]>) -> Outcome<u64> {
    let Some(consumer) = find(tx.conn, key)? else { return Ok(Err(Refused::Gone)) };
    let mut put_back = tx.conn.prepare_cached(
        "UPDATE consumer_item SET state = 0, due_at = ?3, delivered = 0
         WHERE endpoint = ?1 AND consumer = ?2 AND state = 1 AND (?4 IS NULL OR seq = ?4)",
    )?;
    let (endpoint, name, now) = (key.endpoint.0, &*key.name, tx.wall.as_millis());
    let mut count = 0;
    match only {
        None => count += put_back.execute(params![endpoint, name, now, None::<u64>])?,
        Some(seqs) => {
            // What was never handed out is not parked, and may be no number for the database.
            for seq in seqs.iter().filter(|seq| **seq <= consumer.handed) {
                count += put_back.execute(params![endpoint, name, now, seq.0])?;
            }
        }
    }
    save(tx, consumer)?;
    Ok(Ok(count as u64))
}
