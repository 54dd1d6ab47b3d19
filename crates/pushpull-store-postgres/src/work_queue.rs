//! Work queues: a row for each item that was taken and is not done; all else up to the handed seq is done.

mod answer;
mod items;
mod take;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::Seq;
use pushpull_store::{
    Answered, Answers, Asked, ConsumerKey, Error, Page, PageQuery, Parked, Refused, Take, Taken, WorkQueue,
    gather::{BYTES_MAX, Gather, beyond, bytes_of, direction},
};

use crate::{
    Db, Postgres,
    consumer_rows::{lock, save},
    consumers::Outcome,
    fault::Fault,
    feed,
    pool::Params,
    rows::{self, MESSAGE},
};

impl WorkQueue for Postgres {
    fn take(&self, key: ConsumerKey, take: Take) -> BoxFuture<'_, Asked<Taken>> {
        Box::pin(async move {
            let asked = key.clone();
            let looked = self.read(move |db| async move { take::look(&db, &asked).await });
            // Of many workers who wait, all are woken by what one takes: to the rest it costs one look.
            if let Some(answer) = looked.await? {
                return Ok(answer);
            }
            let taken = self.write(move |db| async move { take::take(&db, &key, &take).await });
            let (items, taken) = match taken.await? {
                Ok(taken) => taken,
                Err(refused) => return Ok(Err(refused)),
            };
            let items = self.read(move |db| async move { take::with_messages(&db, items).await });
            Ok(Ok(Taken { items: items.await?, ..taken }))
        })
    }

    fn answer(&self, key: ConsumerKey, answers: Answers) -> BoxFuture<'_, Asked<Answered>> {
        self.write(move |db| async move { answer::answer(&db, &key, &answers).await })
    }

    fn parked(&self, key: ConsumerKey, page: PageQuery<Seq>) -> BoxFuture<'_, Result<Page<Parked>, Error>> {
        self.read(move |db| async move { parked(&db, &key, &page).await })
    }

    fn replay(&self, key: ConsumerKey, only: Option<Vec<Seq>>) -> BoxFuture<'_, Asked<u64>> {
        self.write(move |db| async move { replay(&db, &key, only.as_deref()).await })
    }
}

async fn parked(db: &Arc<Db>, key: &ConsumerKey, page: &PageQuery<Seq>) -> Result<Page<Parked>, Fault> {
    let (beyond, direction) = (beyond(page), direction(page));
    // One whose message retention removed is parked no more.
    let sql = format!(
        "SELECT m.seq, m.delivered, {MESSAGE}
         FROM (SELECT m.*, sum(octet_length(m.payload)) OVER (ORDER BY m.seq {direction}
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
               FROM (SELECT i.seq, i.delivered, {MESSAGE}
                     FROM consumer_item i
                         CROSS JOIN LATERAL (SELECT message, message_day FROM delivery
                             WHERE key = $3 + i.seq AND day = i.day LIMIT 1) AS d
                         CROSS JOIN LATERAL (SELECT * FROM message
                             WHERE key = d.message AND day = d.message_day LIMIT 1) AS m
                     WHERE i.endpoint = $1 AND i.consumer = $2 AND i.due_at IS NULL
                         AND ($4::bigint IS NULL OR i.seq {beyond} $4)
                     ORDER BY i.seq {direction} LIMIT $5) AS m) AS m
         WHERE coalesce(m.bytes_before, 0) < $6 ORDER BY m.seq {direction}"
    );
    let params: Params<'_> = &[
        &key.endpoint.0.cast_signed(),
        &&*key.name,
        &feed::key_of(key.endpoint, Seq(0)),
        &page.beyond.map(|seq| seq.0.cast_signed()),
        &(page.limit as i64 + 1),
        &(BYTES_MAX as i64),
    ];
    let rows = db.reads.lend().await?.query(&sql, params).await?;
    let mut rows = rows.iter();
    let mut found = Gather::new(page);
    while found.goes_on()
        && let Some(row) = rows.next()
    {
        let (seq, message) = (feed::seq(row, 0), Arc::new(rows::message(row, 2)?));
        let bytes = bytes_of(&message);
        let delivered = row.get::<_, i32>(1).cast_unsigned();
        found.looked(seq.0, Some((Parked { seq, message, delivered }, bytes)));
    }
    Ok(found.into_page(page))
}

const PUT_BACK: &str = "
    UPDATE consumer_item SET due_at = $3, delivered = 0
    WHERE endpoint = $1 AND consumer = $2 AND due_at IS NULL AND ($4::bigint[] IS NULL OR seq = ANY ($4))";

async fn replay(db: &Arc<Db>, key: &ConsumerKey, only: Option<&[Seq]>) -> Outcome<u64> {
    let tx = db.begin().await?;
    let Some(consumer) = lock(&tx, key).await? else { return Ok(Err(Refused::Gone)) };
    // What was never handed out is not parked, and may be no number for the database.
    let only: Option<Vec<i64>> = only.map(|seqs| {
        seqs.iter().filter(|seq| **seq <= consumer.handed).map(|seq| seq.0.cast_signed()).collect()
    });
    let params: Params<'_> = &[&key.endpoint.0.cast_signed(), &&*key.name, &tx.wall.as_millis(), &only];
    let count = tx.execute(PUT_BACK, params).await?;
    save(&tx, consumer).await?;
    tx.commit().await?;
    Ok(Ok(count))
}
