//! Attempts, as they are asked for.

use std::{collections::HashMap, sync::Arc};

use pushpull_domain::{AttemptId, EndpointNo, MessageKey};
use pushpull_store::{
    AttemptFilter, Page, PageQuery, StoredAttempt, codec,
    deliveries::AttemptWithMessage,
    gather::{Gather, Wanted, direction, upwards},
};
use tokio_postgres::Row;

use crate::{
    Db,
    days::{day_of, days_of},
    fault::Fault,
    list::{self, LOOKED_AT, fill, gather, shown, within},
    messages::OF_MESSAGE,
    pool::Conn,
    rows,
};

/// Where an attempt with this id would be, at this endpoint.
fn key_of(endpoint: EndpointNo, id: AttemptId) -> i64 {
    codec::attempt_key(endpoint, id.number())
}

/// An attempt by its id, and its day.
pub(crate) async fn attempt(
    conn: &Conn,
    message: MessageKey,
    id: AttemptId,
) -> Result<Option<(StoredAttempt, i32)>, Fault> {
    let sql = format!(
        "SELECT {}, a.day FROM message m CROSS JOIN LATERAL unnest(m.endpoints) AS f (endpoint)
         CROSS JOIN LATERAL (SELECT * FROM attempt WHERE attempt.key = f.endpoint::bigint << 40 | $2
             AND attempt.day >= m.day AND attempt.day BETWEEN $3 AND $4) a
         WHERE m.key = $1 AND a.message = m.key",
        rows::ATTEMPT
    );
    let key = codec::message_key(message);
    let n = codec::place(key_of(EndpointNo(0), id)).cast_signed();
    for (first, last) in days_of(id.at()) {
        for row in conn.query(&sql, &[&key, &n, &first, &last]).await? {
            let found = rows::attempt(&row, 0)?;
            if found.id == id {
                return Ok(Some((found, row.get(12))));
            }
        }
    }
    Ok(None)
}

/// Erases the answer kept of an attempt.
pub(crate) async fn expunge(db: &Arc<Db>, message: MessageKey, id: AttemptId) -> Result<bool, Fault> {
    let conn = db.reads.lend().await?;
    let Some((found, day)) = attempt(&conn, message, id).await? else { return Ok(false) };
    drop(conn);
    let tx = db.begin().await?;
    let key = key_of(found.delivery.endpoint, id);
    tx.execute("UPDATE attempt SET body = NULL WHERE key = $1 AND day = $2", &[&key, &day]).await?;
    tx.commit().await?;
    Ok(true)
}

fn is_shown(attempt: &StoredAttempt, filter: &AttemptFilter) -> bool {
    let started_at = attempt.attempt.started_at;
    let outcome = &attempt.attempt.outcome;
    filter.message.before.is_none_or(|before| started_at < before)
        && filter.message.after.is_none_or(|after| started_at > after)
        && filter.delivered.is_none_or(|wanted| wanted == outcome.class().is_none())
        && filter.status_class.is_none_or(|wanted| wanted == outcome.status().unwrap_or(0) / 100)
        && filter.endpoint.is_none_or(|wanted| wanted == attempt.delivery.endpoint)
}

/// The columns of an attempt without its answer.
fn without_body() -> String {
    rows::ATTEMPT.replace("a.body", "NULL::bytea AS body")
}

/// Attempts by their keys, where these, and their days, are given.
async fn read(conn: &Conn, places: &[(i64, i32)]) -> Result<HashMap<i64, StoredAttempt>, Fault> {
    let (keys, days): (Vec<i64>, Vec<i32>) = places.iter().copied().unzip();
    let sql = format!(
        "SELECT {} FROM unnest($1::bigint[], $2::integer[]) AS k (key, day)
         CROSS JOIN LATERAL (SELECT * FROM attempt a WHERE a.key = k.key AND a.day = k.day LIMIT 1) a",
        rows::ATTEMPT
    );
    let found = conn.query(&sql, &[&keys, &days]).await?;
    found.iter().map(|row: &Row| Ok((row.get(0), rows::attempt(row, 0)?))).collect()
}

/// Where an attempt lies, and its message.
struct Place {
    attempt: (i64, i32),
    message: (i64, i32),
}

/// One page of an endpoint's attempts, with their messages.
pub(crate) async fn attempts_at(
    db: &Arc<Db>,
    endpoint: EndpointNo,
    filter: &AttemptFilter,
    page: &PageQuery<AttemptId>,
) -> Result<Page<AttemptWithMessage>, Fault> {
    // Nothing is written down on an earlier day than it was made.
    let first_day = filter.message.after.map_or(0, day_of);
    let order = direction(page);
    let sql = format!(
        "SELECT {}, a.day, a.message_day, coalesce(octet_length(a.body), 0), {LOOKED_AT}
         FROM (SELECT * FROM attempt WHERE key BETWEEN $1 AND $2 AND day >= $4 ORDER BY key {order} LIMIT $3) a
         LEFT JOIN LATERAL (SELECT event_type, channels, tags, payload FROM message
               WHERE message.key = a.message AND message.day = a.message_day LIMIT 1) m ON true
         ORDER BY a.key {order}",
        without_body()
    );
    let wanted = Wanted::new(&filter.message);
    let range = within(codec::range(endpoint.0), page, page.beyond.map(|id| key_of(endpoint, id)));
    let conn = db.reads.lend().await?;
    let look = |row: &Row| {
        let attempt = rows::attempt(row, 0)?;
        let Some(bytes) = shown(&wanted, row, 15).filter(|_| is_shown(&attempt, filter)) else {
            return Ok(None);
        };
        let place = Place { attempt: (row.get(0), row.get(12)), message: (row.get(2), row.get(13)) };
        Ok(Some((place, bytes + row.get::<_, i32>(14).cast_unsigned() as usize)))
    };
    let found = gather(&conn, &sql, range, &[&first_day], page, look).await?;
    let attempts: Vec<_> = found.items.iter().map(|place| place.attempt).collect();
    let attempts = read(&conn, &attempts).await?;
    let messages = list::messages(&conn, found.items.iter().map(|place| place.message)).await?;
    let fill_in = |place: Place| {
        Some((attempts.get(&place.attempt.0)?.clone(), Arc::clone(messages.get(&place.message.0)?)))
    };
    Ok(fill(found, page, |place| codec::place(place.attempt.0), fill_in))
}

/// A message's attempts, by the newest of each of its deliveries, each of which names the one before.
fn chains() -> String {
    format!(
        "WITH RECURSIVE a AS (
             SELECT a.* FROM message m {OF_MESSAGE} CROSS JOIN LATERAL (
                 SELECT * FROM attempt WHERE attempt.key = d.last_attempt AND attempt.day = d.last_attempt_day LIMIT 1) a
             WHERE m.key = $1
             UNION ALL
             SELECT b.* FROM a CROSS JOIN LATERAL (
                 SELECT * FROM attempt WHERE attempt.key = a.previous AND attempt.day = a.previous_day LIMIT 1) b
         )
         SELECT {}, a.day, coalesce(octet_length(a.body), 0) FROM a",
        without_body()
    )
}

/// One page of a message's attempts, over all its endpoints. Their bodies are read last: of a message with many
/// endpoints they may be more than memory should hold.
pub(crate) async fn attempts_for(
    db: &Arc<Db>,
    message: MessageKey,
    filter: &AttemptFilter,
    page: &PageQuery<AttemptId>,
) -> Result<Page<StoredAttempt>, Fault> {
    let conn = db.reads.lend().await?;
    let key = codec::message_key(message);
    let wanted = Wanted::new(&filter.message);
    let sql = format!("SELECT {LOOKED_AT} FROM message m WHERE m.key = $1");
    let of = conn.query_opt(&sql, &[&key]).await?;
    let mut found: Vec<(AttemptId, (i64, i32), usize)> = Vec::new();
    if of.is_some_and(|row| shown(&wanted, &row, 0).is_some()) {
        for row in conn.query(&chains(), &[&key]).await? {
            let attempt = rows::attempt(&row, 0)?;
            if is_shown(&attempt, filter) {
                let bytes = row.get::<_, i32>(13).cast_unsigned() as usize;
                found.push((attempt.id, (row.get(0), row.get(12)), bytes));
            }
        }
    }
    let up = upwards(page);
    found.sort_unstable();
    if !up {
        found.reverse();
    }
    if let Some(beyond) = page.beyond {
        found.retain(|(id, ..)| if up { *id > beyond } else { *id < beyond });
    }
    let mut gathered = Gather::new(page);
    for (id, place, bytes) in found {
        if !gathered.goes_on() {
            break;
        }
        gathered.looked(id.number(), Some((place, bytes)));
    }
    let found = gathered.into_page(page);
    let attempts = read(&conn, &found.items).await?;
    Ok(fill(found, page, |(key, _)| codec::place(*key), |(key, _)| attempts.get(&key).cloned()))
}
