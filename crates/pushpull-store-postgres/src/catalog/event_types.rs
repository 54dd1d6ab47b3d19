//! Event types.

use pushpull_domain::{EnvironmentNo, EventType, EventTypeName, Timestamp};
use pushpull_store::{
    Page, PageQuery, WriteError,
    columns::{self, to_json},
    gather::{cut, direction},
};

use super::{begins_beyond, later};
use crate::{fault::Fault, named::Named, pool::Conn, tx::Tx};

const EVENT_TYPE: &str = "environment, name, description, archived, deprecated, schemas, feature_flags, group_name, \
                          retry_schedule, created_at, updated_at";

/// `$1` to `$9` are the columns, `$10` the moment that was read, `$11` the new one.
async fn write(tx: &Tx, event_type: &EventType, sql: &str, read: Timestamp) -> Result<u64, Fault> {
    tx.execute(
        sql,
        &[
            &event_type.environment.0.cast_signed(),
            &&*event_type.name,
            &event_type.description,
            &event_type.archived,
            &event_type.deprecated,
            &event_type.schemas.as_ref().map(|raw| raw.get()),
            &event_type.feature_flags.as_ref().map(to_json),
            &event_type.group_name,
            &event_type.retry_schedule.as_ref().map(ToString::to_string),
            &read.as_millis(),
            &event_type.updated_at.as_millis(),
        ],
    )
    .await
}

/// Makes an event type.
pub(super) async fn create(tx: &Tx, event_type: EventType) -> Result<EventType, Fault> {
    let event_type = EventType { created_at: tx.now, updated_at: tx.now, ..event_type };
    let sql = format!(
        "INSERT INTO event_type ({EVENT_TYPE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT DO NOTHING"
    );
    let written = write(tx, &event_type, &sql, event_type.created_at).await?;
    if written == 1 { Ok(event_type) } else { Err(WriteError::Taken("name").into()) }
}

/// Writes an event type back, if it is still as it was read.
pub(super) async fn update(tx: &Tx, event_type: EventType) -> Result<EventType, Fault> {
    let read = event_type.updated_at;
    let event_type = EventType { updated_at: later(tx.now, read), ..event_type };
    let sql = "UPDATE event_type SET description = $3, archived = $4, deprecated = $5, schemas = $6,
                   feature_flags = $7, group_name = $8, retry_schedule = $9, updated_at = $11
               WHERE environment = $1 AND name = $2 AND updated_at = $10";
    let written = write(tx, &event_type, sql, read).await?;
    if written == 1 { Ok(event_type) } else { Err(WriteError::Stale.into()) }
}

/// Removes an event type.
pub(super) async fn delete(tx: &Tx, environment: EnvironmentNo, name: EventTypeName) -> Result<(), Fault> {
    let sql = "DELETE FROM event_type WHERE environment = $1 AND name = $2";
    let deleted = tx.execute(sql, &[&environment.0.cast_signed(), &&*name]).await?;
    if deleted == 1 { Ok(()) } else { Err(WriteError::NotFound.into()) }
}

/// The event type of this name.
pub(super) async fn find(
    conn: &Conn,
    environment: EnvironmentNo,
    name: EventTypeName,
) -> Result<Option<EventType>, Fault> {
    let sql = format!("SELECT {EVENT_TYPE} FROM event_type WHERE environment = $1 AND name = $2");
    let row = conn.query_opt(&sql, &[&environment.0.cast_signed(), &&*name]).await?;
    row.map(|row| columns::event_type(&Named::new(&row))).transpose()
}

/// One page of an environment's event types.
pub(super) async fn list(
    conn: &Conn,
    environment: EnvironmentNo,
    include_archived: bool,
    page: PageQuery<EventTypeName>,
) -> Result<Page<EventType>, Fault> {
    let sql = format!(
        "SELECT {EVENT_TYPE} FROM event_type WHERE environment = $1 AND ($3 OR NOT archived) AND {}
         ORDER BY name {} LIMIT $4",
        begins_beyond("name", &page),
        direction(&page),
    );
    let after = page.beyond.as_deref();
    let limit = page.limit as i64 + 1;
    let rows = conn.query(&sql, &[&environment.0.cast_signed(), &after, &include_archived, &limit]).await?;
    let found = rows.iter().map(|row| columns::event_type(&Named::new(row))).collect::<Result<_, Fault>>()?;
    Ok(cut(found, &page))
}
