//! Retention: what is older than it is kept goes, and what is left of what was deleted, in bounded steps.

mod deleted;
mod log;

use pushpull_store::{Retention, Trimmed};
use rusqlite::params;

use crate::{codec, fault::Fault, tx::Tx};

pub(crate) use deleted::end_endpoint;

/// Rows removed or changed in one step: some ten milliseconds of the writer's time.
const ROWS_MAX: usize = 1_000;
/// Rows looked at in one step of each round, where most need nothing done.
const LOOKED_MAX: usize = 1_000;
/// Pages given back to the file system in one step: 2 MiB.
const VACUUM_PAGES: i64 = 256;
/// Free pages that stay in the file, at least: 32 MiB. What comes in takes them again; giving them back and
/// asking for new ones would write each page twice.
const FREE_PAGES_KEPT: i64 = 4_096;

/// How far the rounds through the tables have come. Lost at a restart, which only begins them anew.
#[derive(Default)]
pub(crate) struct Progress {
    app: u32,
    ended_endpoint: u32,
    idempotency: Option<(u32, String)>,
}

/// What a step may still do.
struct Budget {
    rows: usize,
}

impl Budget {
    fn spend(&mut self, rows: usize) {
        self.rows = self.rows.saturating_sub(rows);
    }

    fn is_spent(&self) -> bool {
        self.rows == 0
    }
}

/// One step of each kind of work, together within one budget.
pub(crate) fn step(tx: &mut Tx<'_>, progress: &mut Progress, retention: Retention) -> Result<Trimmed, Fault> {
    let mut trimmed = Trimmed::default();
    let mut budget = Budget { rows: ROWS_MAX };
    log::expired_payloads(tx, &mut budget, &mut trimmed)?;
    log::each_app(tx, progress, &mut budget, retention, &mut trimmed)?;
    deleted::endpoints(tx, progress, &mut budget, &mut trimmed)?;
    deleted::apps(tx, &mut budget, &mut trimmed)?;
    deleted::keys(tx, &mut trimmed)?;
    deleted::recoveries(tx, retention)?;
    idempotency(tx, progress, retention, &mut trimmed)?;
    trimmed.more |= vacuum(tx)?;
    Ok(trimmed)
}

/// Idempotency keys: walked through, since an index by time would cost more than the walk.
fn idempotency(
    tx: &mut Tx<'_>,
    progress: &mut Progress,
    retention: Retention,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    let (app, key) = progress.idempotency.take().unwrap_or_default();
    let looked: Vec<(u32, String, bool)> = crate::list::collect(
        tx.conn,
        "SELECT app, key, created_at <= ?3 FROM idempotency WHERE (app, key) > (?1, ?2) ORDER BY app, key LIMIT ?4",
        params![app, key, tx.now.before(retention.idempotency).as_millis(), LOOKED_MAX],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    for (app, key, _) in looked.iter().filter(|(_, _, old)| *old) {
        tx.conn
            .prepare_cached("DELETE FROM idempotency WHERE app = ?1 AND key = ?2")?
            .execute(params![app, key])?;
    }
    if looked.len() == LOOKED_MAX {
        progress.idempotency = looked.into_iter().last().map(|(app, key, _)| (app, key));
        trimmed.more = true;
    }
    Ok(())
}

/// Gives free pages back, but for a reserve; whether there are more.
fn vacuum(tx: &Tx<'_>) -> Result<bool, Fault> {
    let pages = |what| tx.conn.query_row(what, [], |row| row.get::<_, i64>(0));
    let reserve = FREE_PAGES_KEPT.max(pages("PRAGMA page_count")? / 8);
    let spare = pages("PRAGMA freelist_count")? - reserve;
    if spare <= 0 {
        return Ok(false);
    }
    let give = spare.min(VACUUM_PAGES);
    let mut vacuum = tx.conn.prepare(&format!("PRAGMA incremental_vacuum({give})"))?;
    let mut freed = vacuum.query([])?;
    while freed.next()?.is_some() {}
    Ok(spare > give)
}

/// The greatest key that a number's rows can have.
fn last_key(no: u32) -> i64 {
    codec::range(no).1
}
