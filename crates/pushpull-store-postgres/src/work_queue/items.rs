//! The rows of a work queue, and how they change together with their consumer.

use std::collections::BTreeMap;

use pushpull_domain::{Holder, Seq, Timestamp};
use pushpull_store::{Consumer, ConsumerKey};
use tokio_postgres::Row;

use crate::{
    consumer_rows::expires_at,
    fault::{Fault, inconsistent},
    feed,
    pool::Params,
    tx::Tx,
};

/// An item that is not done.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Its delivery's.
    pub(super) day: i32,
    /// When it comes back; `None`: it is parked.
    pub(super) due_at: Option<Timestamp>,
    /// Who took it, if it was named.
    pub(super) holder: Option<Holder>,
    /// How often it was handed out.
    pub(super) delivered: u32,
}

impl Item {
    /// It, handed out no more.
    pub(super) fn parked(self) -> Self {
        Self { due_at: None, holder: None, ..self }
    }
}

/// What becomes of items: those that are kept, as they are from now on, and those that are done.
#[derive(Debug, Default)]
pub(super) struct Changes {
    kept: BTreeMap<Seq, Item>,
    done: Vec<i64>,
}

impl Changes {
    pub(super) fn keep(&mut self, seq: Seq, item: Item) {
        self.kept.insert(seq, item);
    }

    pub(super) fn done(&mut self, seq: Seq) {
        self.kept.remove(&seq);
        self.done.push(seq.0.cast_signed());
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.kept.is_empty() && self.done.is_empty()
    }
}

/// The items `$3` that are not done.
const FIND: &str = "
    SELECT seq, day, due_at, holder, delivered FROM consumer_item
    WHERE endpoint = $1 AND consumer = $2 AND seq = ANY ($3)";

/// Those of these items that are not done.
pub(super) async fn find(tx: &Tx, key: &ConsumerKey, seqs: &[Seq]) -> Result<BTreeMap<Seq, Item>, Fault> {
    if seqs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let seqs: Vec<i64> = seqs.iter().map(|seq| seq.0.cast_signed()).collect();
    let found = tx.query(FIND, &[&key.endpoint.0.cast_signed(), &&*key.name, &seqs]).await?;
    found.iter().map(|row| Ok((feed::seq(row, 0), item(row)?))).collect()
}

fn item(row: &Row) -> Result<Item, Fault> {
    let named = |name: &str| name.parse().map_err(|e| inconsistent("consumer_item", name, e));
    Ok(Item {
        day: row.get(1),
        due_at: row.get::<_, Option<i64>>(2).map(Timestamp::from_millis),
        holder: row.get::<_, Option<&str>>(3).map(named).transpose()?,
        delivered: row.get::<_, i32>(4).cast_unsigned(),
    })
}

/// Writes items and their consumer: what is done (`$3`), what is kept (`$4` to `$8`), and up to where all is done, which
/// is up to the first that is kept. A statement sees what was before it, so that the items that it writes are left out
/// of what is looked at, and told beside it: the first of them (`$16`), and when the first comes back (`$17`).
const WRITE: &str = "
    WITH done AS (
        DELETE FROM consumer_item WHERE endpoint = $1 AND consumer = $2 AND seq = ANY ($3)
    ), kept AS (
        INSERT INTO consumer_item (endpoint, consumer, seq, day, due_at, holder, delivered)
        SELECT $1, $2, * FROM unnest($4::bigint[], $5::integer[], $6::bigint[], $7::text[], $8::integer[])
        ON CONFLICT (endpoint, consumer, seq) DO UPDATE
            SET due_at = excluded.due_at, holder = excluded.holder, delivered = excluded.delivered
    )
    UPDATE consumer SET handed = $9, holder = $10, leased_until = $11, seen_at = $12, expires_at = $13,
        committed = CASE WHEN $14 THEN greatest($15, coalesce(least($16, (
            SELECT min(seq) FROM consumer_item WHERE endpoint = $1 AND consumer = $2 AND seq <> ALL ($3))) - 1, $9))
            ELSE $15 END
    WHERE endpoint = $1 AND name = $2
    RETURNING committed, least($17, (
        SELECT min(due_at) FROM consumer_item
        WHERE endpoint = $1 AND consumer = $2 AND due_at IS NOT NULL AND seq <> ALL ($3) AND seq <> ALL ($4)))";

/// Writes what became of items, and their consumer, which was seen; it, and when the next item comes back. If it
/// `moves`, everything is done up to the first item that is not.
pub(super) async fn write(
    tx: &Tx,
    consumer: Consumer,
    moves: bool,
    changes: &Changes,
) -> Result<(Consumer, Option<Timestamp>), Fault> {
    let mut consumer = Consumer { seen_at: tx.wall, ..consumer };
    let lease = consumer.lease.as_ref();
    let seqs: Vec<i64> = changes.kept.keys().map(|seq| seq.0.cast_signed()).collect();
    let kept = || changes.kept.values();
    let days: Vec<i32> = kept().map(|item| item.day).collect();
    let due_at: Vec<Option<i64>> = kept().map(|item| item.due_at.map(Timestamp::as_millis)).collect();
    let holders: Vec<Option<&str>> = kept().map(|item| item.holder.as_deref()).collect();
    let delivered: Vec<i32> = kept().map(|item| item.delivered.cast_signed()).collect();
    let params: Params<'_> = &[
        &consumer.key.endpoint.0.cast_signed(),
        &&*consumer.key.name,
        &changes.done,
        &seqs,
        &days,
        &due_at,
        &holders,
        &delivered,
        &consumer.handed.0.cast_signed(),
        &lease.and_then(|lease| lease.holder.as_deref()),
        &lease.map(|lease| lease.until.as_millis()),
        &consumer.seen_at.as_millis(),
        &expires_at(&consumer),
        &moves,
        &consumer.committed.0.cast_signed(),
        &seqs.first(),
        &due_at.iter().flatten().min(),
    ];
    let row = tx.query_one(WRITE, params).await?;
    consumer.committed = feed::seq(&row, 0);
    Ok((consumer, row.get::<_, Option<i64>>(1).map(Timestamp::from_millis)))
}
