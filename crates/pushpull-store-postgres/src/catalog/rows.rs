//! Rows of applications and endpoints.

use pushpull_domain::{Endpoint, EndpointNo, seal::Sealer};
use pushpull_store::columns;

use crate::{fault::Fault, named::Named, tx::Tx};

/// The columns of an application.
pub(super) const APP: &str = "app.no, app.id, app.environment, app.uid, app.name, app.rate_limit, app.metadata, \
                              app.created_at, app.updated_at";
/// How many those are.
pub(super) const APP_COLUMNS: usize = 9;

/// The columns of an endpoint, the first of which is never NULL.
pub(super) const ENDPOINT: &str = "endpoint.no, endpoint.id, endpoint.app, endpoint.uid, endpoint.url, \
     endpoint.description, endpoint.event_types, endpoint.channels, endpoint.mode, endpoint.disabled_at, \
     endpoint.disabled_reason, endpoint.failing_since, endpoint.failing_notified, endpoint.rate_limit, \
     endpoint.retry_schedule, endpoint.fifo, endpoint.batch_size, endpoint.batch_wait_secs, \
     endpoint.hold_when_failing, endpoint.headers, endpoint.secrets, endpoint.metadata, endpoint.read_seq, \
     endpoint.draining_since, endpoint.created_at, endpoint.updated_at";

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
