//! Consumers, as they are asked for.

mod expiry;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{ConsumerName, EndpointNo, Holder, Seq};
use pushpull_store::{
    Asked, Consumer, ConsumerKey, ConsumerSettings, ConsumerStatus, Consumers, Error, Expired, Gap, Lease,
    LeaseRequest, Page, PageQuery, Refused,
    consumers::{CONSUMERS_MAX, SEEN_EVERY},
    gather::{beyond, cut, direction},
};

use crate::{
    Db, Postgres,
    consumer_rows::{self as rows, CONSUMER, FIND, Standing, lock, save},
    fault::Fault,
    feed,
    tx::Tx,
};

/// What a piece of work gives, or why it was refused; then it has written nothing.
pub(crate) type Outcome<T> = Result<Result<T, Refused>, Fault>;

const FORGET: &str = "DELETE FROM consumer_item WHERE endpoint = $1 AND consumer = $2";
const DELETE: &str = "DELETE FROM consumer WHERE endpoint = $1 AND name = $2";
const IS_WORK_QUEUE: &str = "SELECT EXISTS (SELECT FROM consumer_item WHERE endpoint = $1 AND consumer = $2)";
const COUNT: &str = "SELECT count(*) FROM consumer WHERE endpoint = $1";

impl Consumers for Postgres {
    fn consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<Option<Consumer>, Error>> {
        self.read(move |db| async move {
            let conn = db.reads.lend().await?;
            let found = conn.query_opt(&FIND, &[&key.endpoint.0.cast_signed(), &&*key.name]).await?;
            found.as_ref().map(rows::consumer).transpose()
        })
    }

    fn consumers(
        &self,
        endpoint: EndpointNo,
        page: PageQuery<ConsumerName>,
    ) -> BoxFuture<'_, Result<Page<Consumer>, Error>> {
        self.read(move |db| async move {
            let (beyond, direction) = (beyond(&page), direction(&page));
            let sql = format!(
                "SELECT {CONSUMER} FROM consumer c
                 WHERE c.endpoint = $1 AND ($2::text IS NULL OR c.name {beyond} $2) ORDER BY c.name {direction} LIMIT $3"
            );
            let (after, limit) = (page.beyond.as_deref(), page.limit as i64 + 1);
            let conn = db.reads.lend().await?;
            let found = conn.query(&sql, &[&endpoint.0.cast_signed(), &after, &limit]).await?;
            Ok(cut(found.iter().map(rows::consumer).collect::<Result<_, _>>()?, &page))
        })
    }

    fn consumer_status(&self, key: ConsumerKey) -> BoxFuture<'_, Result<Option<ConsumerStatus>, Error>> {
        self.read(move |db| async move { status(&db, &key).await })
    }

    fn create_consumer(
        &self,
        key: ConsumerKey,
        start: Option<Seq>,
        settings: ConsumerSettings,
    ) -> BoxFuture<'_, Asked<Consumer>> {
        self.write(move |db| async move { create(&db, key, start, settings).await })
    }

    fn set_consumer(&self, key: ConsumerKey, settings: ConsumerSettings) -> BoxFuture<'_, Asked<Consumer>> {
        self.write(move |db| async move {
            let tx = db.begin().await?;
            let Some(consumer) = lock(&tx, &key).await? else { return Ok(Err(Refused::Gone)) };
            saved(tx, Consumer { settings, ..consumer }).await
        })
    }

    fn delete_consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<bool, Error>> {
        self.write(move |db| async move {
            let tx = db.begin().await?;
            // First the consumer: who is at work with it is waited for, and what that leaves is forgotten too.
            let deleted = tx.execute(DELETE, &[&key.endpoint.0.cast_signed(), &&*key.name]).await?;
            forget(&tx, &key).await?;
            tx.commit().await?;
            Ok(deleted == 1)
        })
    }

    fn touch_consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<(), Error>> {
        self.write(move |db| async move {
            let tx = db.begin().await?;
            if let Some(consumer) = lock(&tx, &key).await?
                && tx.wall.since(consumer.seen_at) >= SEEN_EVERY
            {
                save(&tx, consumer).await?;
                tx.commit().await?;
            }
            Ok(())
        })
    }

    fn lease(&self, key: ConsumerKey, request: LeaseRequest) -> BoxFuture<'_, Asked<Consumer>> {
        self.write(move |db| async move { lease(&db, &key, request).await })
    }

    fn commit(
        &self,
        key: ConsumerKey,
        upto: Seq,
        holder: Option<Holder>,
        shown: bool,
    ) -> BoxFuture<'_, Asked<Consumer>> {
        self.write(move |db| async move { commit(&db, &key, upto, holder.as_ref(), shown).await })
    }

    fn seek(&self, key: ConsumerKey, to: Seq) -> BoxFuture<'_, Asked<Consumer>> {
        self.write(move |db| async move {
            let tx = db.begin().await?;
            let Some(consumer) = lock(&tx, &key).await? else { return Ok(Err(Refused::Gone)) };
            let last = feed::ends(&db, tx.conn(), key.endpoint).await?.last;
            if to > last {
                return Ok(Err(Refused::Ahead(last)));
            }
            forget(&tx, &key).await?;
            saved(tx, Consumer { committed: to, handed: to, lease: None, ..consumer }).await
        })
    }

    fn expire_consumers(&self) -> BoxFuture<'_, Result<Expired, Error>> {
        self.write_long(|db| async move { expiry::expire(&db).await })
    }
}

/// Forgets a work queue.
async fn forget(tx: &Tx, key: &ConsumerKey) -> Result<(), Fault> {
    tx.execute(FORGET, &[&key.endpoint.0.cast_signed(), &&*key.name]).await.map(drop)
}

/// Writes a consumer and commits.
async fn saved(tx: Tx, consumer: Consumer) -> Outcome<Consumer> {
    let consumer = save(&tx, consumer).await?;
    tx.commit().await?;
    Ok(Ok(consumer))
}

async fn create(
    db: &Arc<Db>,
    key: ConsumerKey,
    start: Option<Seq>,
    settings: ConsumerSettings,
) -> Outcome<Consumer> {
    let tx = db.begin().await?;
    let queue = rows::lock_queue(db, &tx, key.endpoint).await?;
    if let Some(known) = lock(&tx, &key).await? {
        return Ok(Ok(known));
    }
    let Some(queue) = queue else { return Ok(Err(Refused::Gone)) };
    let count: i64 = tx.query_one(COUNT, &[&key.endpoint.0.cast_signed()]).await?.get(0);
    if count >= CONSUMERS_MAX as i64 {
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
    saved(tx, consumer).await
}

async fn is_work_queue(tx: &Tx, key: &ConsumerKey) -> Result<bool, Fault> {
    Ok(tx.query_one(IS_WORK_QUEUE, &[&key.endpoint.0.cast_signed(), &&*key.name]).await?.get(0))
}

async fn lease(db: &Arc<Db>, key: &ConsumerKey, request: LeaseRequest) -> Outcome<Consumer> {
    let tx = db.begin().await?;
    let Some(consumer) = lock(&tx, key).await? else { return Ok(Err(Refused::Gone)) };
    let mut handed = request.upto.max(consumer.committed);
    if let Some(held) = consumer.lease_at(tx.wall) {
        if request.holder.is_none() || held.holder != request.holder {
            return Ok(Err(Refused::Held(held.clone())));
        }
        handed = handed.max(consumer.handed);
    }
    if is_work_queue(&tx, key).await? {
        return Ok(Err(Refused::WorkQueue));
    }
    if (consumer.committed, consumer.handed) != request.read {
        return Ok(Err(Refused::Stale));
    }
    let until = tx.wall.after(request.lease);
    let lease = (handed > consumer.committed).then_some(Lease { holder: request.holder, until });
    saved(tx, Consumer { handed, lease, ..consumer }).await
}

async fn commit(
    db: &Arc<Db>,
    key: &ConsumerKey,
    upto: Seq,
    holder: Option<&Holder>,
    shown: bool,
) -> Outcome<Consumer> {
    let tx = db.begin().await?;
    let Some(consumer) = lock(&tx, key).await? else { return Ok(Err(Refused::Gone)) };
    if let Some(held) = consumer.lease_at(tx.wall)
        && held.holder.as_ref() != holder
    {
        return Ok(Err(Refused::Held(held.clone())));
    }
    if is_work_queue(&tx, key).await? {
        return Ok(Err(Refused::WorkQueue));
    }
    if upto <= consumer.committed {
        return Ok(Ok(consumer));
    }
    let most = if shown { feed::ends(db, tx.conn(), key.endpoint).await?.last } else { consumer.handed };
    if upto > most {
        return Ok(Err(Refused::Ahead(most)));
    }
    let handed = consumer.handed.max(upto);
    let lease = if upto < handed { consumer.lease.clone() } else { None };
    saved(tx, Consumer { committed: upto, handed, lease, ..consumer }).await
}

async fn status(db: &Arc<Db>, key: &ConsumerKey) -> Result<Option<ConsumerStatus>, Fault> {
    let conn = db.reads.lend().await?;
    let found = Standing::with_oldest(db, &conn, key, db.clock.now()).await?;
    let Some((Standing { consumer, queue, undone, .. }, oldest_at)) = found else { return Ok(None) };
    // What a stream was handed is not done; what a work queue was handed is done, but for its rows.
    let passed = if undone.is_nothing() { consumer.committed } else { consumer.handed };
    Ok(Some(ConsumerStatus {
        head: queue.last,
        behind: queue.last.0.saturating_sub(passed.max(queue.trimmed).0) + undone.taken,
        oldest_at,
        taken: undone.taken,
        parked: undone.parked,
        gap: Gap::between(consumer.committed, queue.trimmed),
        consumer,
    }))
}
