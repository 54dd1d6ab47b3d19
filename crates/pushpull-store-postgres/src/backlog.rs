//! What waits, counted exactly as long as it is not much.

use std::sync::{Arc, Mutex};

use pushpull_domain::Timestamp;
use pushpull_store::{Backlog, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Db, due, fault::Fault};

/// Up to so many are counted each time; more than that at most once in a while, by one process for itself.
const COUNTED_MAX: i64 = 10_000;
const FRESH_MILLIS: i64 = 60_000;
/// A number is told as long as this while it is counted anew; nobody waits for that.
const TOLD_MILLIS: i64 = 10 * 60_000;

const COUNT_SOME: &str = "
    SELECT (SELECT count(*) FROM (SELECT FROM delivery WHERE due_at IS NOT NULL LIMIT $1) AS pending),
           (SELECT count(*) FROM (SELECT FROM delivery WHERE state = 2 LIMIT $1) AS exhausted)";
const COUNT_PENDING: &str = "SELECT count(*) FROM delivery WHERE due_at IS NOT NULL";
const COUNT_EXHAUSTED: &str = "SELECT count(*) FROM delivery WHERE state = 2";

/// What was counted of what is pending, and of what is exhausted.
#[derive(Default)]
pub(crate) struct Counted([Counter; 2]);

struct Counter {
    /// When, and how many.
    known: Mutex<Option<(Timestamp, i64)>>,
    /// Who counts has the only permit.
    turn: Arc<Semaphore>,
}

impl Default for Counter {
    fn default() -> Self {
        Self { known: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Counter {
    /// What was counted within so many milliseconds.
    fn known(&self, now: Timestamp, millis: i64) -> Option<i64> {
        let known = *self.known.lock().expect("nobody panics while holding this lock");
        let (at, count) = known?;
        (0..millis).contains(&(now.as_millis() - at.as_millis())).then_some(count)
    }

    fn learn(&self, at: Timestamp, count: i64) {
        *self.known.lock().expect("nobody panics while holding this lock") = Some((at, count));
    }
}

/// What waits to be pushed, and what never arrived.
pub(crate) async fn backlog(db: &Arc<Db>) -> Result<Backlog, Fault> {
    let conn = db.reads.lend().await?;
    let some = conn.query_one(COUNT_SOME, &[&(COUNTED_MAX + 1)]).await?;
    drop(conn);
    let pending = count(db, 0, COUNT_PENDING, some.get(0)).await?;
    let exhausted = count(db, 1, COUNT_EXHAUSTED, some.get(1)).await?;
    let oldest_due_at = due::owed_endpoints_of_all(db).await?.iter().map(|owed| owed.due_at).min();
    Ok(Backlog { pending, oldest_due_at, exhausted })
}

/// How many there are, if so many were found of at most one more than are counted each time.
async fn count(db: &Arc<Db>, which: usize, all: &'static str, found: i64) -> Result<u64, Fault> {
    if found <= COUNTED_MAX {
        return Ok(found.cast_unsigned());
    }
    let counter = &db.counted.0[which];
    let known = |millis| counter.known(db.clock.now(), millis);
    let count = if let Some(count) = known(FRESH_MILLIS) {
        count
    } else if let Some(count) = known(TOLD_MILLIS) {
        if let Ok(turn) = Arc::clone(&counter.turn).try_acquire_owned() {
            // Should it fail, that is told once this number is too old to be told.
            drop(db.tasks.spawn(count_all(Arc::clone(db), which, all, turn)));
        }
        count
    } else {
        let turn = Arc::clone(&counter.turn).acquire_owned().await.expect("it is never closed");
        match known(FRESH_MILLIS) {
            // Another counted meanwhile.
            Some(count) => count,
            // To its end, even if who asked goes away: who asks next finds it.
            None => db
                .tasks
                .spawn(count_all(Arc::clone(db), which, all, turn))
                .await
                .map_err(|error| Error::Unavailable(Arc::new(error)))??,
        }
    };
    Ok(count.max(found).cast_unsigned())
}

/// Counts, for all who ask for a while. A store that is closed does not wait for it.
async fn count_all(
    db: Arc<Db>,
    which: usize,
    all: &'static str,
    _turn: OwnedSemaphorePermit,
) -> Result<i64, Fault> {
    let counting = async {
        let conn = db.long_read().await?;
        let count: i64 = conn.query_one(all, &[]).await?.get(0);
        conn.finish().await?;
        Ok::<_, Fault>(count)
    };
    let count = tokio::select! {
        count = counting => count?,
        () = db.closing.cancelled() => return Err(Error::Closing.into()),
    };
    db.counted.0[which].learn(db.clock.now(), count);
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pushpull_domain::{FixedClock, SeededChance, seal::MasterKey};
    use tokio_postgres::{Client, NoTls};

    use super::*;
    use crate::{Options, Postgres};

    /// A count that waits for others, and is another number each time.
    const ALL: &str =
        "SELECT (random() * 1e9)::bigint + 20000 WHERE pg_advisory_xact_lock_shared(42)::text = ''";
    const MANY: i64 = COUNTED_MAX + 1;

    async fn until_counting(other: &Client) {
        let sql = "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
        while !other.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    }

    /// However many ask, and however soon they give up: it goes on, and its number is for all who ask meanwhile, and
    /// for a while afterwards.
    #[tokio::test]
    async fn all_are_counted_by_one_at_a_time() {
        let url = pushpull_testkit::new_database();
        let clock = Arc::new(FixedClock::at(Timestamp::from_millis(1_795_513_560_000)));
        let options = Options {
            url: url.clone(),
            clock: Arc::clone(&clock) as _,
            chance: Arc::new(SeededChance::new(7)),
            master_key: MasterKey::new([7; 32]),
            older_master_keys: Vec::new(),
            serves: false,
        };
        let store = Postgres::open(options).await.unwrap();
        let (other, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        store.db.tasks.spawn(connection);
        other.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
        let ask = || count(&store.db, 0, ALL, MANY);
        tokio::select! {
            counted = ask() => panic!("{counted:?}"),
            () = until_counting(&other) => {}
        }
        let free = async {
            until_counting(&other).await;
            other.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
        };
        let (one, two, ()) = tokio::join!(ask(), ask(), free);
        let first = one.unwrap();
        assert_eq!(two.unwrap(), first);
        assert_eq!(ask().await.unwrap(), first);

        clock.advance(Duration::from_mins(2));
        other.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
        assert_eq!(ask().await.unwrap(), first, "what is known, while it is counted anew");
        until_counting(&other).await;
        assert_eq!(ask().await.unwrap(), first);
        clock.advance(Duration::from_mins(9));
        let free = async {
            until_counting(&other).await;
            other.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
        };
        let (then, ()) = tokio::join!(ask(), free);
        assert_ne!(then.unwrap(), first, "what is too old is not told");
        drop(other);
        store.shut().await;
    }
}
