//! Lists of messages.

use std::sync::Arc;

use pushpull_domain::{AppNo, Message, MessageKey, Position};
use pushpull_store::{
    MessageFilter, Page, PageQuery, codec,
    gather::{Wanted, direction},
};

use tokio_postgres::Row;

use crate::{
    Db,
    fault::Fault,
    list::{self, LOOKED_AT, fill, gather, shown, within},
    span,
};

pub(crate) async fn list(
    db: &Arc<Db>,
    app: AppNo,
    filter: &MessageFilter,
    page: &PageQuery<Position>,
) -> Result<Page<Arc<Message>>, Fault> {
    let conn = db.reads.lend().await?;
    let bounds = span::bounds(&conn, app, filter).await?;
    let beyond = page.beyond.map(|position| codec::message_key(MessageKey { app, position }));
    // The messages of an application that was deleted are there until their day goes.
    let sql = format!(
        "SELECT m.key, m.day, {LOOKED_AT} FROM message m WHERE m.key BETWEEN $1 AND $2
             AND (SELECT deleted_at IS NULL FROM app WHERE no = $4)
         ORDER BY m.key {} LIMIT $3",
        direction(page)
    );
    let wanted = Wanted::new(filter);
    let look = |row: &Row| {
        let place: (i64, i32) = (row.get(0), row.get(1));
        Ok(shown(&wanted, row, 2).map(|bytes| (place, bytes)))
    };
    let range = within(bounds, page, beyond);
    let found = gather(&conn, &sql, range, &[&app.0.cast_signed()], page, look).await?;
    let messages = list::messages(&conn, found.items.iter().copied()).await?;
    Ok(fill(found, page, |(key, _)| codec::place(*key), |(key, _)| messages.get(&key).cloned()))
}
