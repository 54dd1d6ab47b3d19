//! What waits, counted exactly as long as it is not much.

use std::sync::{Arc, Mutex};

use pushpull_domain::Timestamp;
use pushpull_store::Backlog;

use crate::{Db, due, fault::Fault};

/// Up to so many are counted each time; more than that at most once in a while, by one process for itself.
const COUNTED_MAX: i64 = 10_000;
const REMEMBERED_MILLIS: i64 = 60_000;

const COUNT_SOME: &str = "
    SELECT (SELECT count(*) FROM (SELECT FROM delivery WHERE due_at IS NOT NULL LIMIT $1) AS pending),
           (SELECT count(*) FROM (SELECT FROM delivery WHERE state = 2 LIMIT $1) AS exhausted)";
const COUNT_PENDING: &str = "SELECT count(*) FROM delivery WHERE due_at IS NOT NULL";
const COUNT_EXHAUSTED: &str = "SELECT count(*) FROM delivery WHERE state = 2";

/// What was counted, and when: what is pending, and what is exhausted.
#[derive(Default)]
pub(crate) struct Counted([Mutex<Option<(Timestamp, i64)>>; 2]);

/// What waits to be pushed, and what never arrived.
pub(crate) async fn backlog(db: &Arc<Db>) -> Result<Backlog, Fault> {
    let conn = db.reads.lend().await?;
    let some = conn.query_one(COUNT_SOME, &[&(COUNTED_MAX + 1)]).await?;
    drop(conn);
    let pending = count(db, 0, COUNT_PENDING, some.get(0)).await?;
    let exhausted = count(db, 1, COUNT_EXHAUSTED, some.get(1)).await?;
    let oldest_due_at = due::owed_endpoints(db).await?.iter().map(|owed| owed.due_at).min();
    Ok(Backlog { pending, oldest_due_at, exhausted })
}

/// How many there are, if so many were found of at most one more than are counted each time.
async fn count(db: &Arc<Db>, which: usize, all: &str, found: i64) -> Result<u64, Fault> {
    if found <= COUNTED_MAX {
        return Ok(found.cast_unsigned());
    }
    let now = db.clock.now();
    let age = |at: Timestamp| now.as_millis() - at.as_millis();
    let remembered = || db.counted.0[which].lock().expect("nobody panics while holding this lock");
    let known = *remembered();
    if let Some((at, count)) = known
        && (0..REMEMBERED_MILLIS).contains(&age(at))
    {
        return Ok(count.max(found).cast_unsigned());
    }
    let conn = db.long_read().await?;
    let count: i64 = conn.query_one(all, &[]).await?.get(0);
    conn.finish().await?;
    *remembered() = Some((now, count));
    Ok(count.max(found).cast_unsigned())
}
