//! Consumers that were not seen for too long.

use std::sync::{Arc, LazyLock};

use pushpull_store::{Expired, columns, consumers::SEEN_EVERY};

use crate::{Db, consumer_rows::CONSUMER, fault::Fault, named::Named};

/// Consumers looked at in one step.
const EXPIRED_MAX: usize = 100;
/// Rows of work queues removed in one step.
const ROWS_MAX: i64 = 1_000;

/// By the clock of this node (`$1`) and by the database's: a node that is ahead would remove what others are using.
const NOW: &str = "(SELECT least($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint))";

/// Those that are due, not having been seen for `$2` longer than they may, and how many items each has. One that is
/// locked is being used: it is not due any more.
static DUE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {CONSUMER}, app.id AS app_id, endpoint.id AS endpoint_id,
             (SELECT count(*) FROM consumer_item i WHERE i.endpoint = c.endpoint AND i.consumer = c.name) AS items
         FROM consumer c JOIN endpoint ON endpoint.no = c.endpoint JOIN app ON app.no = endpoint.app
         WHERE c.expires_at <= {NOW} AND c.seen_at + c.idle_ms + $2 <= {NOW}
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
    let due = tx.query(&DUE, &[&tx.wall.as_millis(), &(SEEN_EVERY.as_millis() as i64)]).await?;
    let mut expired = Expired { more: due.len() == EXPIRED_MAX, ..Expired::default() };
    let (mut endpoints, mut names, mut removed) = (Vec::new(), Vec::new(), 0);
    for row in &due {
        if removed >= ROWS_MAX {
            expired.more = true;
            break;
        }
        // All of a consumer at once: what is left of its work queue would be taken for all that is not done.
        let (key, consumer) = columns::expired(&Named::new(row))?;
        removed += 1 + row.get::<_, i64>("items");
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
