//! How lists are read from tables: in rounds, first without what may be large. How much one page may cost is said in
//! [`pushpull_store::gather`].

use std::{collections::HashMap, sync::Arc};

use pushpull_domain::Message;
use pushpull_store::{
    Page, PageQuery, codec,
    gather::{Gather, upwards},
};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    fault::Fault,
    pool::{Conn, Params},
    rows,
};

/// Rows asked for at a time, once a page's own number was not enough.
const ROUND: i64 = 1_000;

/// Gathers a page from keys between two. `sql` gives rows in the page's order, each with its key first: between `$1`
/// and `$2`, at most `$3`; `params` are those from `$4` on. Of each row that is looked at `look` says what is shown,
/// and how many bytes that will hold.
pub(crate) async fn gather<T, K>(
    conn: &Conn,
    sql: &str,
    (mut first, mut last): (i64, i64),
    params: Params<'_>,
    page: &PageQuery<K>,
    look: impl Fn(&Row) -> Result<Option<(T, usize)>, Fault>,
) -> Result<Page<T>, Fault> {
    let mut found = Gather::new(page);
    let mut limit = page.limit as i64 + 1;
    while found.goes_on() && first <= last {
        let range: [&(dyn ToSql + Sync); 3] = [&first, &last, &limit];
        let rows = conn.query(sql, &[&range, params].concat()).await?;
        for row in &rows {
            if !found.goes_on() {
                break;
            }
            let key: i64 = row.get(0);
            found.looked(codec::place(key), look(row)?);
            if upwards(page) { first = key + 1 } else { last = key - 1 }
        }
        if (rows.len() as i64) < limit {
            break;
        }
        limit = ROUND;
    }
    Ok(found.into_page(page))
}

/// The page with what is large filled in; what went meanwhile is left out.
pub(crate) fn fill<T, U, K>(
    page: Page<T>,
    query: &PageQuery<K>,
    place: impl Fn(&T) -> u64,
    fill: impl Fn(T) -> Option<U>,
) -> Page<U> {
    let far = if query.backwards { page.items.first() } else { page.items.last() };
    let far = far.map(place);
    let items: Vec<U> = page.items.into_iter().filter_map(fill).collect();
    // Where to go on must be told even if nothing is left of the page.
    let reached = if items.is_empty() && !page.done { page.reached.or(far) } else { page.reached };
    Page { items, done: page.done, reached }
}

/// The keys between which a page may find something: those between two, but for what it begins beyond.
pub(crate) fn within<K>((first, last): (i64, i64), page: &PageQuery<K>, beyond: Option<i64>) -> (i64, i64) {
    match beyond {
        Some(key) if upwards(page) => (first.max(key + 1), last),
        Some(key) => (first, last.min(key - 1)),
        None => (first, last),
    }
}

/// Messages by their keys, where these, and their days, are given.
pub(crate) async fn messages(
    conn: &Conn,
    places: impl Iterator<Item = (i64, i32)>,
) -> Result<HashMap<i64, Arc<Message>>, Fault> {
    let places: HashMap<i64, i32> = places.collect();
    let (keys, days): (Vec<i64>, Vec<i32>) = places.into_iter().unzip();
    let sql = format!(
        "SELECT {} FROM unnest($1::bigint[], $2::integer[]) AS k (key, day)
         CROSS JOIN LATERAL (SELECT * FROM message m WHERE m.key = k.key AND m.day = k.day LIMIT 1) m",
        rows::MESSAGE
    );
    let found = conn.query(&sql, &[&keys, &days]).await?;
    found.iter().map(|row| Ok((row.get(0), Arc::new(rows::message(row, 0)?)))).collect()
}

/// What tells whether a message is shown, and how large its payload is, of a table or alias `m`.
pub(crate) const LOOKED_AT: &str = "m.event_type, m.channels, m.tags, coalesce(octet_length(m.payload), 0)";

/// The bytes of a message's payload, if the message is shown: from the columns [`LOOKED_AT`], the first of which is
/// this one.
pub(crate) fn shown(wanted: &pushpull_store::gather::Wanted<'_>, row: &Row, first: usize) -> Option<usize> {
    // Without a message there is no event type.
    let event_type: Option<&str> = row.get(first);
    wanted
        .shows(event_type?, row.get(first + 1), row.get(first + 2))
        .then(|| row.get::<_, i32>(first + 3).cast_unsigned() as usize)
}
