//! Retention: what is older than it is kept goes, and what is left of what was deleted, in bounded steps.
//!
//! Messages, with what hangs on them, go by whole days, when everything of a day is too old: a partition that is
//! dropped costs next to nothing, rows that are deleted one by one leave as many dead ones. Of the nodes one at a time
//! does a step. Each may be cut off anywhere, and is done again.

mod day;
mod deleted;
mod detach;
mod payloads;
mod round;

use std::sync::{Arc, Mutex};

use pushpull_store::{Retention, Trimmed};

use self::round::{Round, Work};
use crate::{Db, days::day_of, fault::Fault, migrate, pool::Lent, tx::Tx};

pub(crate) use day::is_going;
pub(crate) use deleted::end_endpoint;

/// Rows removed or changed in one transaction: some ten milliseconds of those that it holds up.
const ROWS_MAX: i64 = 1_000;

/// Held by the node that does a step.
const TURN: i64 = migrate::LOCK + 1;

/// How far the rounds through the tables have come. Lost at a restart, which only begins them anew.
#[derive(Default)]
pub(crate) struct Trimmer(Mutex<Progress>);

#[derive(Clone, Copy, Default)]
struct Progress {
    round: Round,
    /// Of the day whose payloads are being erased: up to this key.
    erased: i64,
    deleted_app: i32,
    ended_endpoint: i32,
}

impl Trimmer {
    fn progress(&self) -> Progress {
        *self.0.lock().expect("nobody panics while holding this lock")
    }

    fn advance(&self, advance: impl FnOnce(&mut Progress)) {
        advance(&mut self.0.lock().expect("nobody panics while holding this lock"));
    }
}

/// One step of each kind of work that may have something to do.
pub(crate) async fn step(db: &Arc<Db>, retention: Retention) -> Result<Trimmed, Fault> {
    let conn = db.writes.lend().await?;
    let turn: bool = conn.query_one("SELECT pg_try_advisory_lock($1)", &[&TURN]).await?.get(0);
    if !turn {
        return Ok(Trimmed::default());
    }
    let stepped = steps(db, &conn, retention).await;
    // With its connection the lock goes too.
    match conn.execute("SELECT pg_advisory_unlock($1)", &[&TURN]).await {
        Ok(_) if stepped.is_ok() => {}
        _ => conn.discard(),
    }
    stepped
}

async fn steps(db: &Arc<Db>, conn: &Lent, retention: Retention) -> Result<Trimmed, Fault> {
    let mut trimmed = Trimmed::default();
    // Of a day that nobody writes to any more everything can go, also if nobody writes at all.
    let today = db.open_day(db.clock.now()).await?.max(day_of(db.clock.now()));
    db.make_day(today + 1).await?;
    let mut round = db.trimmer.progress().round;
    for work in round.begin() {
        trimmed.more = false;
        do_some(work, db, conn, retention, &mut trimmed).await?;
        if !trimmed.more {
            round.rest(work);
        }
    }
    trimmed.more = round.goes_on();
    db.trimmer.advance(|progress| progress.round = round);
    Ok(trimmed)
}

async fn do_some(
    work: Work,
    db: &Arc<Db>,
    conn: &Lent,
    retention: Retention,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    match work {
        Work::ExpiredPayloads => payloads::expired(db, trimmed).await,
        Work::PayloadsByAge => payloads::by_age(db, retention, trimmed).await,
        Work::PayloadsOfDeleted => payloads::of_deleted(db, trimmed).await,
        Work::Day => day::step(db, conn, retention, trimmed).await,
        Work::DeletedEndpoints => deleted::endpoints(db, trimmed).await,
        Work::DeletedApps => deleted::apps(db).await,
        Work::Keys => deleted::keys(db, trimmed).await,
        Work::Recoveries => deleted::recoveries(db, retention).await,
        Work::Idempotency => idempotency(db, retention, trimmed).await,
    }
}

/// Idempotency keys. Those that are being written anew are passed over.
async fn idempotency(db: &Arc<Db>, retention: Retention, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let sql = "DELETE FROM idempotency WHERE (app, key) IN (
                   SELECT app, key FROM idempotency WHERE created_at <= $1 ORDER BY created_at LIMIT $2
                   FOR UPDATE SKIP LOCKED)";
    let tx = db.begin().await?;
    let removed = tx.execute(sql, &[&tx.now.before(retention.idempotency).as_millis(), &ROWS_MAX]).await?;
    tx.commit().await?;
    trimmed.more |= removed == ROWS_MAX.cast_unsigned();
    Ok(())
}

/// Locks applications, deleted ones too: nothing joins their logs and queues meanwhile.
async fn lock_apps(tx: &Tx, apps: &[i32]) -> Result<(), Fault> {
    tx.query("SELECT FROM app WHERE no = ANY ($1) ORDER BY no FOR UPDATE", &[&apps]).await?;
    Ok(())
}

/// The same, of endpoints.
async fn lock_apps_of(tx: &Tx, endpoints: &[i32]) -> Result<(), Fault> {
    let sql =
        "SELECT FROM app WHERE no IN (SELECT app FROM endpoint WHERE no = ANY ($1)) ORDER BY no FOR UPDATE";
    tx.query(sql, &[&endpoints]).await?;
    Ok(())
}
