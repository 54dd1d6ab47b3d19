//! How lists are read from tables; how much one page may cost is said in [`pushpull_store::gather`].

use pushpull_domain::Message;
pub(crate) use pushpull_store::gather::{
    BYTES_MAX, Gather, LOOKED_MAX, Wanted, beyond, bytes_of, cut, direction, upwards,
};
use rusqlite::{CachedStatement, Connection, Row};

use crate::{
    fault::Fault,
    rows::{self, as_text},
};

/// All rows of a query.
pub(crate) fn collect<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&rusqlite::Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The message of a row with the columns of [`rows::MESSAGE`], if it is shown. Its time is not looked at.
pub(crate) fn wanted_message(wanted: &Wanted<'_>, row: &Row<'_>) -> Result<Option<Message>, Fault> {
    let event_type = as_text(row, 3)?.unwrap_or_default();
    if wanted.shows(event_type, as_text(row, 4)?, as_text(row, 5)?) {
        rows::message_row(row).map(Some)
    } else {
        Ok(None)
    }
}

/// The message with this key, if it is kept and shown.
pub(crate) fn wanted_message_at(
    wanted: &Wanted<'_>,
    conn: &Connection,
    key: i64,
) -> Result<Option<Message>, Fault> {
    wanted_message_by(wanted, &mut conn.prepare_cached(rows::MESSAGE_BY_KEY)?, key)
}

/// The same, with the statement [`rows::MESSAGE_BY_KEY`], for who asks for many.
pub(crate) fn wanted_message_by(
    wanted: &Wanted<'_>,
    query: &mut CachedStatement<'_>,
    key: i64,
) -> Result<Option<Message>, Fault> {
    let mut found = query.query([key])?;
    found.next()?.map_or(Ok(None), |row| wanted_message(wanted, row))
}
