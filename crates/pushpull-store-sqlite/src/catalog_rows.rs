//! Rows by the names of their columns, and an application as it is configured.

use std::sync::Arc;

use pushpull_domain::{AppNo, AppSnapshot, Endpoint, EndpointNo, seal::Sealer};
use pushpull_store::columns::{self, Columns};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::fault::Fault;

/// A row of which a domain type is made.
pub(crate) struct Named<'r>(pub(crate) &'r Row<'r>);

impl Columns for Named<'_> {
    type Fault = Fault;

    fn text(&self, column: &str) -> Result<Option<&str>, Fault> {
        Ok(self.0.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?)
    }

    fn number(&self, column: &str) -> Result<Option<i64>, Fault> {
        Ok(self.0.get(column)?)
    }

    fn flag(&self, column: &str) -> Result<Option<bool>, Fault> {
        Ok(self.0.get(column)?)
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, Fault> {
        Ok(self.0.get_ref(column)?.as_blob_or_null().map_err(rusqlite::Error::from)?)
    }
}

/// An application by number, with its endpoints.
pub(crate) fn snapshot(
    conn: &Connection,
    sealer: &Sealer,
    no: AppNo,
) -> Result<Option<Arc<AppSnapshot>>, Fault> {
    let mut query = conn.prepare_cached("SELECT * FROM app WHERE no = ?1 AND deleted_at IS NULL")?;
    let mut rows = query.query([no.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (app, version) = (columns::app(&Named(row))?, row.get("version")?);
    let mut query =
        conn.prepare_cached("SELECT * FROM endpoint WHERE app = ?1 AND deleted_at IS NULL ORDER BY no")?;
    let mut rows = query.query([no.0])?;
    let mut endpoints = Vec::new();
    while let Some(row) = rows.next()? {
        endpoints.push(Arc::new(columns::endpoint(&Named(row), sealer)?));
    }
    Ok(Some(Arc::new(AppSnapshot { app, version, endpoints })))
}

/// An endpoint by number, unless it is deleted.
pub(crate) fn endpoint_by_no(
    conn: &Connection,
    sealer: &Sealer,
    no: EndpointNo,
) -> Result<Option<Endpoint>, Fault> {
    conn.prepare_cached("SELECT * FROM endpoint WHERE no = ?1 AND deleted_at IS NULL")?
        .query_row([no.0], |row| Ok(columns::endpoint(&Named(row), sealer)))
        .optional()?
        .transpose()
}
