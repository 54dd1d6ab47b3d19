//! Applications as they are configured. Each request asks for one, and so does a reader several times: one that is as it
//! was is not read again, nor are its secrets opened again.

use std::sync::Arc;

use moka::sync::Cache;
use pushpull_domain::{AppNo, AppSnapshot};
use pushpull_store::columns;

use super::rows::{APP, APP_COLUMNS, ENDPOINT};
use crate::{Db, fault::Fault, named::Named, pool::Params};

/// Applications that are remembered.
const KNOWN_MAX: u64 = 100_000;

/// What was read of applications, each with the mark it had then.
pub(crate) struct Snapshots(Cache<AppNo, (Arc<str>, Arc<AppSnapshot>)>);

impl Default for Snapshots {
    fn default() -> Self {
        Self(Cache::new(KNOWN_MAX))
    }
}

impl Snapshots {
    /// The database may not be the one it was: marks say nothing any more.
    pub(crate) fn forget(&self) {
        self.0.invalidate_all();
    }
}

/// Applications, each with a mark that changes with everything that is read of it: the version, but for how endpoints
/// fail, which is no new version.
const MARKED: &str = "
    app CROSS JOIN LATERAL (
        SELECT concat_ws(' ', app.version, app.updated_at, max(e.updated_at),
            string_agg(concat_ws(':', e.no, e.failing_notified, e.failing_since), ' ' ORDER BY e.no)
                FILTER (WHERE e.failing_since IS NOT NULL OR e.failing_notified)) AS mark
        FROM endpoint e WHERE e.app = app.no AND e.deleted_at IS NULL) AS marked";

/// The application that a condition names, with its endpoints.
pub(super) async fn snapshot(
    db: &Db,
    condition: &str,
    params: Params<'_>,
) -> Result<Option<Arc<AppSnapshot>>, Fault> {
    let conn = db.reads.lend().await?;
    let sql = format!("SELECT app.no, mark FROM {MARKED} WHERE {condition} AND app.deleted_at IS NULL");
    let Some(found) = conn.query_opt(&sql, params).await? else { return Ok(None) };
    let no = AppNo(found.get::<_, i32>(0).cast_unsigned());
    if let Some((mark, known)) = db.snapshots.0.get(&no)
        && *mark == *found.get::<_, &str>(1)
    {
        return Ok(Some(known));
    }
    // One statement, so that all of it is of one moment.
    let sql = format!(
        "SELECT mark, app.version, {APP}, {ENDPOINT} FROM {MARKED}
         LEFT JOIN endpoint ON endpoint.app = app.no AND endpoint.deleted_at IS NULL
         WHERE {condition} AND app.deleted_at IS NULL ORDER BY endpoint.no"
    );
    let rows = conn.query(&sql, params).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let endpoint_at = 2 + APP_COLUMNS;
    let mut endpoints = Vec::new();
    for row in &rows {
        if row.get::<_, Option<i32>>(endpoint_at).is_some() {
            endpoints.push(Arc::new(columns::endpoint(&Named::from(row, endpoint_at), &db.sealer)?));
        }
    }
    let app = columns::app(&Named::from(first, 2))?;
    let version = first.get::<_, i64>(1).cast_unsigned();
    let snapshot = Arc::new(AppSnapshot { app, version, endpoints });
    db.snapshots.0.insert(snapshot.app.no, (first.get::<_, &str>(0).into(), Arc::clone(&snapshot)));
    Ok(Some(snapshot))
}
