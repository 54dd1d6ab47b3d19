//! Consumers that were not seen for too long, and what those of a deleted endpoint left.

use std::sync::{Arc, LazyLock};

use pushpull_domain::EndpointNo;
use pushpull_store::{ConsumerKey, Expired, ExpiredConsumer, columns};
use tokio_postgres::Row;

use crate::{Db, consumer_rows::CONSUMER, fault::Fault, named::Named, tx::Tx};

/// Consumers looked at in one step.
const EXPIRED_MAX: usize = 100;
/// Rows of work queues removed in one step.
const ROWS_MAX: i64 = 1_000;

/// Those that are due at `$1`, and how many rows each has. One that is locked is being used: it is not due any more.
static DUE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {CONSUMER}, app.id AS app_id, endpoint.id AS endpoint_id,
             (SELECT count(*) FROM consumer_item i WHERE i.endpoint = c.endpoint AND i.consumer = c.name) AS items
         FROM consumer c JOIN endpoint ON endpoint.no = c.endpoint JOIN app ON app.no = endpoint.app
         WHERE c.expires_at <= $1 AND c.seen_at + c.idle_ms + $2 <= $1
         ORDER BY c.expires_at LIMIT {EXPIRED_MAX} FOR UPDATE OF c SKIP LOCKED"
    )
});

const REMOVE: &str = "
    WITH gone AS (SELECT * FROM unnest($1::integer[], $2::text[]) AS gone (endpoint, name)),
    items AS (DELETE FROM consumer_item i USING gone WHERE i.endpoint = gone.endpoint AND i.consumer = gone.name)
    DELETE FROM consumer c USING gone WHERE c.endpoint = gone.endpoint AND c.name = gone.name";

/// Removes consumers that were not seen for as long as they may not be.
pub(super) async fn expire(db: &Arc<Db>) -> Result<Expired, Fault> {
    let tx = db.begin().await?;
    let seen_every = pushpull_store::consumers::SEEN_EVERY.as_millis() as i64;
    let due = tx.query(&DUE, &[&tx.wall.as_millis(), &seen_every]).await?;
    let mut expired = Expired { more: due.len() == EXPIRED_MAX, ..Expired::default() };
    let (mut endpoints, mut names, mut removed) = (Vec::new(), Vec::new(), 0);
    for row in &due {
        if removed >= ROWS_MAX {
            expired.more = true;
            break;
        }
        // All of a consumer at once: what is left of its work queue would be taken for all that is not done.
        let (key, items, consumer) = due_row(row)?;
        removed += 1 + items;
        endpoints.push(key.endpoint.0.cast_signed());
        names.push(key.name.to_string());
        expired.consumers.push(consumer);
    }
    if !endpoints.is_empty() {
        tx.execute(REMOVE, &[&endpoints, &names]).await?;
        tx.commit().await?;
    }
    Ok(expired)
}

fn due_row(row: &Row) -> Result<(ConsumerKey, i64, ExpiredConsumer), Fault> {
    let (key, consumer) = columns::expired(&Named::new(row))?;
    Ok((key, row.get("items"), consumer))
}

/// Removes what the consumers of a deleted endpoint left, at most so many rows; how many it was.
pub(crate) async fn remove_some_of(tx: &Tx, endpoint: EndpointNo, rows_max: u64) -> Result<u64, Fault> {
    let no = endpoint.0.cast_signed();
    // As everyone who changes a work queue: first its consumer.
    tx.execute("SELECT FROM consumer WHERE endpoint = $1 FOR UPDATE", &[&no]).await?;
    let items = "DELETE FROM consumer_item WHERE ctid = ANY (ARRAY(
                     SELECT ctid FROM consumer_item WHERE endpoint = $1 LIMIT $2))";
    let items = tx.execute(items, &[&no, &(rows_max as i64)]).await?;
    let consumers = "DELETE FROM consumer WHERE ctid = ANY (ARRAY(
                         SELECT ctid FROM consumer WHERE endpoint = $1 LIMIT $2))";
    let consumers = tx.execute(consumers, &[&no, &((rows_max - items) as i64)]).await?;
    Ok(items + consumers)
}
