//! The oldest day, once everything of it is older than it is kept.
//!
//! Before its partitions are dropped it is written down how far they went, since what is numbered next is numbered
//! after the newest row that is kept, or else after that. How far this has come stands in `made_day`.

pub(super) mod stages;

use std::sync::Arc;

use pushpull_store::{Retention, Trimmed};
use tokio_postgres::{Row, error::SqlState};

use super::detach::detach;
use crate::{
    Db,
    days::{DAY_MILLIS, PARTITIONED},
    fault::Fault,
    pool::Lent,
    tx::Tx,
};

/// What is done with a day, one after the other.
const KEPT: i16 = 0;
/// Nobody writes to it any more; how far each application's positions went.
const APPS: i16 = 1;
/// From here on it goes, whatever comes. How much is owed of it.
const OWED: i16 = 2;
/// How far each endpoint's seqs went.
const DELIVERIES: i16 = 3;
/// How far each endpoint's attempts went.
const ATTEMPTS: i16 = 4;
/// What joined a queue on a later day.
const LATER: i16 = 5;
/// The users' own ids of its messages. Then the partitions.
const EVENT_IDS: i16 = 6;

/// How long is waited for others who use a day's tables. Who comes after them waits as long.
pub(super) const WAIT: &str = "1s";

/// A day, and how far it has come.
struct Day {
    no: i32,
    stage: i16,
    /// In this stage: up to this key, or block.
    reached: i64,
    messages: i64,
    cancelled: i64,
}

/// One step, if the oldest day is to go.
pub(super) async fn step(
    db: &Arc<Db>,
    conn: &Lent,
    retention: Retention,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    // The newest is never removed: what is written next is written there.
    let sql = "SELECT day, stage, reached, messages, cancelled FROM made_day
               WHERE day < (SELECT max(day) FROM open_day) ORDER BY day LIMIT 1";
    let Some(found) = conn.query_opt(sql, &[]).await? else { return Ok(()) };
    let day = Day::of(&found);
    let before = db.clock.now().before(retention.messages).as_millis();
    let is_old = (i64::from(day.no) + 1) * DAY_MILLIS <= before;
    if !is_old && day.stage <= APPS {
        return Ok(());
    }
    let goes_on = match day.stage {
        KEPT => begin(db, &day).await,
        APPS => stages::apps(db, day, before).await,
        OWED => stages::owed(db, day).await,
        DELIVERIES => stages::deliveries(db, day).await,
        ATTEMPTS => stages::attempts(db, day).await,
        LATER => stages::later(db, day, trimmed).await,
        EVENT_IDS => stages::event_ids(db, day).await,
        _ => drop_partitions(db, conn, &day, trimmed).await,
    };
    match goes_on {
        Ok(goes_on) => trimmed.more |= goes_on,
        // Somebody uses its tables for long: it is tried again when they are looked at next.
        Err(Fault::Sql(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            tracing::info!(day = found.get::<_, i32>(0), "a day that is too old is still in use");
        }
        Err(fault) => return Err(fault),
    }
    Ok(())
}

/// Whether a day's messages are about to go, so that nothing may begin to hang on them. If not, they stay until the
/// transaction ends.
pub(crate) async fn is_going(tx: &Tx, day: i32) -> Result<bool, Fault> {
    let row = tx.query_opt("SELECT stage FROM made_day WHERE day = $1 FOR SHARE", &[&day]).await?;
    Ok(row.is_none_or(|row| row.get::<_, i16>(0) >= OWED))
}

impl Day {
    fn of(row: &Row) -> Self {
        Self {
            no: row.get(0),
            stage: row.get(1),
            reached: row.get(2),
            messages: row.get(3),
            cancelled: row.get(4),
        }
    }

    /// Goes on from there; from nowhere, with the next stage.
    fn reach(self, reached: Option<i64>) -> Self {
        match reached {
            Some(reached) => Self { reached, ..self },
            None => Self { stage: self.stage + 1, reached: 0, ..self },
        }
    }

    async fn save(&self, tx: &Tx) -> Result<(), Fault> {
        tx.execute(
            "UPDATE made_day SET stage = $2, reached = $3, messages = $4, cancelled = $5 WHERE day = $1",
            &[&self.no, &self.stage, &self.reached, &self.messages, &self.cancelled],
        )
        .await?;
        Ok(())
    }
}

/// Waits until nobody has anything uncommitted in a day's tables. Nobody begins, since a newer day is written to.
async fn begin(db: &Arc<Db>, day: &Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let tables = PARTITIONED.map(|table| format!("{table}_{}", day.no)).join(", ");
    tx.conn().batch(&format!("SET LOCAL lock_timeout = '{WAIT}'")).await?;
    // First the day, as by those who ask whether it is going before they write to its tables.
    Day { no: day.no, stage: APPS, reached: 0, messages: 0, cancelled: 0 }.save(&tx).await?;
    tx.conn().batch(&format!("LOCK TABLE {tables} IN SHARE MODE")).await?;
    tx.commit().await?;
    Ok(true)
}

async fn drop_partitions(db: &Arc<Db>, conn: &Lent, day: &Day, trimmed: &mut Trimmed) -> Result<bool, Fault> {
    // What is owed ends first; a message is there as long as anything of it is.
    for table in ["delivery", "attempt", "message"] {
        detach(conn, table, day.no).await?;
    }
    let tx = db.begin().await?;
    tx.execute("DELETE FROM open_day WHERE day = $1", &[&day.no]).await?;
    tx.execute("DELETE FROM made_day WHERE day = $1", &[&day.no]).await?;
    tx.commit().await?;
    db.days.forget();
    trimmed.messages += day.messages.cast_unsigned();
    trimmed.cancelled += day.cancelled.cast_unsigned();
    Ok(true)
}
