//! Rows of applications and endpoints, and an application as it is configured.

use std::sync::Arc;

use pushpull_domain::{AppSnapshot, Endpoint, EndpointNo, seal::Sealer};
use pushpull_store::columns;

use crate::{
    fault::Fault,
    named::Named,
    pool::{Conn, Params},
    tx::Tx,
};

/// The columns of an application.
pub(super) const APP: &str = "app.no, app.id, app.environment, app.uid, app.name, app.rate_limit, app.metadata, \
                              app.created_at, app.updated_at";
/// How many those are.
const APP_COLUMNS: usize = 9;

/// The columns of an endpoint, the first of which is never NULL.
const ENDPOINT: &str = "endpoint.no, endpoint.id, endpoint.app, endpoint.uid, endpoint.url, endpoint.description, \
     endpoint.event_types, endpoint.channels, endpoint.mode, endpoint.disabled_at, endpoint.disabled_reason, \
     endpoint.failing_since, endpoint.failing_notified, endpoint.rate_limit, endpoint.retry_schedule, \
     endpoint.fifo, endpoint.batch_size, endpoint.batch_wait_secs, endpoint.hold_when_failing, endpoint.headers, \
     endpoint.secrets, endpoint.metadata, endpoint.read_seq, endpoint.draining_since, endpoint.created_at, \
     endpoint.updated_at";

/// The application that a condition names, with its endpoints: one statement, so that they are of one moment.
pub(super) async fn snapshot(
    conn: &Conn,
    sealer: &Sealer,
    condition: &str,
    params: Params<'_>,
) -> Result<Option<Arc<AppSnapshot>>, Fault> {
    let sql = format!(
        "SELECT app.version, {APP}, {ENDPOINT} FROM app
         LEFT JOIN endpoint ON endpoint.app = app.no AND endpoint.deleted_at IS NULL
         WHERE {condition} AND app.deleted_at IS NULL ORDER BY endpoint.no"
    );
    let rows = conn.query(&sql, params).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let endpoint_at = 1 + APP_COLUMNS;
    let mut endpoints = Vec::new();
    for row in &rows {
        if row.get::<_, Option<i32>>(endpoint_at).is_some() {
            endpoints.push(Arc::new(columns::endpoint(&Named::from(row, endpoint_at), sealer)?));
        }
    }
    let app = columns::app(&Named::from(first, 1))?;
    Ok(Some(Arc::new(AppSnapshot { app, version: first.get::<_, i64>(0).cast_unsigned(), endpoints })))
}

/// An endpoint by number, unless it is deleted.
pub(super) async fn endpoint_by_no(
    tx: &Tx,
    sealer: &Sealer,
    no: EndpointNo,
) -> Result<Option<Endpoint>, Fault> {
    let sql = format!("SELECT {ENDPOINT} FROM endpoint WHERE no = $1 AND deleted_at IS NULL");
    let row = tx.query_opt(&sql, &[&no.0.cast_signed()]).await?;
    row.map(|row| columns::endpoint(&Named::new(&row), sealer)).transpose()
}
