//! Consumers, as they are asked for.

use futures_util::future::BoxFuture;
use pushpull_domain::{ConsumerName, EndpointNo, Holder, Seq, Timestamp};
use pushpull_store::{
    Asked, Consumer, ConsumerKey, ConsumerSettings, ConsumerStatus, Consumers, Error, Expired,
    ExpiredConsumer, Gap, Lease, LeaseRequest, Page, PageQuery, Refused, columns,
    consumers::{CONSUMERS_MAX, SEEN_EVERY},
};
use rusqlite::{Connection, params};

use crate::{
    Sqlite,
    catalog_rows::Named,
    consumer_rows::{Queue, find, made_after, save},
    fault::Fault,
    feed,
    list::{beyond, collect, cut, direction},
    tx::Tx,
    work_queue::{self, Undone},
};

/// Consumers looked at in one step of expiry.
const EXPIRED_MAX: usize = 100;
/// Rows of work queues removed in one step: some ten milliseconds of the writer's time.
const ROWS_MAX: usize = 1_000;

/// What a piece of work gives, or why it was refused; then it has written nothing.
pub(crate) type Outcome<T> = Result<Result<T, Refused>, Fault>;

impl Consumers for Sqlite {
    fn consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<Option<Consumer>, Error>> {
        Box::pin(self.read(move |conn| find(conn, &key)))
    }

    fn consumers(
        &self,
        endpoint: EndpointNo,
        page: PageQuery<ConsumerName>,
    ) -> BoxFuture<'_, Result<Page<Consumer>, Error>> {
        Box::pin(self.read(move |conn| {
            let sql = format!(
                "SELECT * FROM consumer WHERE endpoint = ?1 AND (?2 IS NULL OR name {} ?2) ORDER BY name {} LIMIT ?3",
                beyond(&page),
                direction(&page),
            );
            let after = page.beyond.as_deref();
            let found = collect(conn, &sql, params![endpoint.0, after, page.limit + 1], |row| columns::consumer(&Named(row)))?;
            Ok(cut(found, &page))
        }))
    }

    fn consumer_status(&self, key: ConsumerKey) -> BoxFuture<'_, Result<Option<ConsumerStatus>, Error>> {
        let now = self.shared.clock.now();
        Box::pin(self.read_long(move |conn| status(conn, &key, now)))
    }

    fn create_consumer(
        &self,
        key: ConsumerKey,
        start: Option<Seq>,
        settings: ConsumerSettings,
    ) -> BoxFuture<'_, Asked<Consumer>> {
        Box::pin(self.write(move |tx| create(tx, key, start, settings)))
    }

    fn set_consumer(&self, key: ConsumerKey, settings: ConsumerSettings) -> BoxFuture<'_, Asked<Consumer>> {
        Box::pin(self.write(move |tx| {
            let Some(consumer) = find(tx.conn, &key)? else { return Ok(Err(Refused::Gone)) };
            save(tx, Consumer { settings, ..consumer }).map(Ok)
        }))
    }

    fn delete_consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.write(move |tx| {
            work_queue::forget(tx.conn, &key)?;
            delete(tx.conn, &key)
        }))
    }

    fn touch_consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.write(move |tx| {
            if let Some(consumer) = find(tx.conn, &key)?
                && tx.wall.since(consumer.seen_at) >= SEEN_EVERY
            {
                save(tx, consumer)?;
            }
            Ok(())
        }))
    }

    fn lease(&self, key: ConsumerKey, request: LeaseRequest) -> BoxFuture<'_, Asked<Consumer>> {
        Box::pin(self.write(move |tx| lease(tx, &key, request)))
    }

    fn commit(
        &self,
        key: ConsumerKey,
        upto: Seq,
        holder: Option<Holder>,
        shown: bool,
    ) -> BoxFuture<'_, Asked<Consumer>> {
        Box::pin(self.write(move |tx| commit(tx, &key, upto, holder.as_ref(), shown)))
    }

    fn seek(&self, key: ConsumerKey, to: Seq) -> BoxFuture<'_, Asked<Consumer>> {
        Box::pin(self.write(move |tx| {
            let Some(consumer) = find(tx.conn, &key)? else { return Ok(Err(Refused::Gone)) };
            let last = feed::ends(tx.conn, key.endpoint)?.last;
            if to > last {
                return Ok(Err(Refused::Ahead(last)));
            }
            work_queue::forget(tx.conn, &key)?;
            save(tx, Consumer { committed: to, handed: to, lease: None, ..consumer }).map(Ok)
        }))
    }

    fn expire_consumers(&self) -> BoxFuture<'_, Result<Expired, Error>> {
        Box::pin(self.write(expire))
    }
}

fn delete(conn: &Connection, key: &ConsumerKey) -> Result<bool, Fault> {
    let deleted = conn
        .prepare_cached("DELETE FROM consumer WHERE endpoint = ?1 AND name = ?2")?
        .execute(params![key.endpoint.0, &*key.name])?;
    Ok(deleted == 1)
}

fn create(
    tx: &mut Tx<'_>,
    key: ConsumerKey,
    start: Option<Seq>,
    settings: ConsumerSettings,
) -> Outcome<Consumer> {
    if let Some(known) = find(tx.conn, &key)? {
        return Ok(Ok(known));
    }
    let Some(queue) = Queue::of(tx.conn, key.endpoint, tx.wall)? else { return Ok(Err(Refused::Gone)) };
    let count: usize = tx
        .conn
        .prepare_cached("SELECT count(*) FROM consumer WHERE endpoint = ?1")?
        .query_row([key.endpoint.0], |row| row.get(0))?;
    if count >= CONSUMERS_MAX {
        return Ok(Err(Refused::TooMany));
    }
    if start.is_some_and(|start| start > queue.last) {
        return Ok(Err(Refused::Ahead(queue.last)));
    }
    let start = start.unwrap_or(if queue.pushed { Seq(0) } else { queue.read });
    let consumer = Consumer {
        key,
        // What was removed before there was a reader is not missed by it.
        committed: start.max(queue.trimmed),
        handed: start.max(queue.trimmed),
        lease: None,
        settings,
        seen_at: tx.wall,
        created_at: tx.wall,
    };
    save(tx, consumer).map(Ok)
}

fn lease(tx: &mut Tx<'_>, key: &ConsumerKey, request: LeaseRequest) -> Outcome<Consumer> {
    let Some(consumer) = find(tx.conn, key)? else { return Ok(Err(Refused::Gone)) };
    let mut handed = request.upto.max(consumer.committed);
    if let Some(held) = consumer.lease_at(tx.wall) {
        if request.holder.is_none() || held.holder != request.holder {
            return Ok(Err(Refused::Held(held.clone())));
        }
        handed = handed.max(consumer.handed);
    }
    if !Undone::of(tx.conn, key, tx.wall)?.is_nothing() {
        return Ok(Err(Refused::WorkQueue));
    }
    if (consumer.committed, consumer.handed) != request.read {
        return Ok(Err(Refused::Stale));
    }
    let until = tx.wall.after(request.lease);
    let lease = (handed > consumer.committed).then_some(Lease { holder: request.holder, until });
    save(tx, Consumer { handed, lease, ..consumer }).map(Ok)
}

fn commit(
    tx: &mut Tx<'_>,
    key: &ConsumerKey,
    upto: Seq,
    holder: Option<&Holder>,
    shown: bool,
) -> Outcome<Consumer> {
    let Some(consumer) = find(tx.conn, key)? else { return Ok(Err(Refused::Gone)) };
    if let Some(held) = consumer.lease_at(tx.wall)
        && held.holder.as_ref() != holder
    {
        return Ok(Err(Refused::Held(held.clone())));
    }
    if !Undone::of(tx.conn, key, tx.wall)?.is_nothing() {
        return Ok(Err(Refused::WorkQueue));
    }
    if upto <= consumer.committed {
        return Ok(Ok(consumer));
    }
    let most = if shown { feed::ends(tx.conn, key.endpoint)?.last } else { consumer.handed };
    if upto > most {
        return Ok(Err(Refused::Ahead(most)));
    }
    let handed = consumer.handed.max(upto);
    let lease = if upto < handed { consumer.lease.clone() } else { None };
    save(tx, Consumer { committed: upto, handed, lease, ..consumer }).map(Ok)
}

fn status(conn: &Connection, key: &ConsumerKey, now: Timestamp) -> Result<Option<ConsumerStatus>, Fault> {
    let (Some(consumer), Some(queue)) = (find(conn, key)?, Queue::of(conn, key.endpoint, now)?) else {
        return Ok(None);
    };
    let undone = Undone::of(conn, key, now)?;
    // What a stream was handed is not done; what a work queue was handed is done, but for its rows.
    let passed = if undone.is_nothing() { consumer.committed } else { consumer.handed };
    let passed = passed.max(queue.trimmed);
    let oldest = undone.oldest.map_or(passed, |seq| Seq(seq.0 - 1).min(passed));
    Ok(Some(ConsumerStatus {
        head: queue.last,
        behind: queue.last.0.saturating_sub(passed.0) + undone.taken,
        oldest_at: made_after(conn, key.endpoint, oldest)?,
        taken: undone.taken,
        parked: undone.parked,
        gap: Gap::between(consumer.committed, queue.trimmed),
        consumer,
    }))
}

fn expire(tx: &mut Tx<'_>) -> Result<Expired, Fault> {
    let due: Vec<(ConsumerKey, ExpiredConsumer)> = collect(
        tx.conn,
        "SELECT consumer.*, app.id AS app_id, endpoint.id AS endpoint_id
         FROM consumer INDEXED BY consumer_expires JOIN endpoint ON endpoint.no = consumer.endpoint
             JOIN app ON app.no = endpoint.app
         WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
        params![tx.wall.as_millis(), EXPIRED_MAX],
        |row| columns::expired(&Named(row)),
    )?;
    let mut expired = Expired { more: due.len() == EXPIRED_MAX, ..Expired::default() };
    let mut removed = 0;
    for (key, consumer) in due {
        if removed >= ROWS_MAX {
            expired.more = true;
            break;
        }
        // All of a consumer at once: what is left of its work queue would be taken for all that is not done.
        removed += 1 + work_queue::forget(tx.conn, &key)?;
        delete(tx.conn, &key)?;
        expired.consumers.push(consumer);
    }
    Ok(expired)
}

/// Removes what the consumers of a deleted endpoint left, at most so many rows; how many it was.
pub(crate) fn remove_some_of(conn: &Connection, endpoint: u32, rows_max: usize) -> Result<usize, Fault> {
    let items = conn
        .prepare_cached(
            "DELETE FROM consumer_item WHERE (endpoint, consumer, seq) IN
                 (SELECT endpoint, consumer, seq FROM consumer_item WHERE endpoint = ?1 LIMIT ?2)",
        )?
        .execute(params![endpoint, rows_max])?;
    let consumers = conn
        .prepare_cached(
            "DELETE FROM consumer WHERE (endpoint, name) IN
                 (SELECT endpoint, name FROM consumer WHERE endpoint = ?1 LIMIT ?2)",
        )?
        .execute(params![endpoint, rows_max - items])?;
    Ok(items + consumers)
}
