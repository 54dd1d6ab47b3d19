//! The log, as it is asked for.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{
    AppNo, CancelReason, Delivery, DeliveryKey, DeliveryState, EventId, Message, MessageId, MessageKey,
    Position, Timestamp,
};
use pushpull_store::{Append, Appended, CommitListener, Error, MessageFilter, MessageLog, Page, PageQuery};
use rusqlite::{Connection, params};

use crate::{
    Sqlite, append, codec,
    fault::Fault,
    list::{Gather, Wanted, bytes_of, upwards, wanted_message},
    rows, span,
    tx::Tx,
};

impl MessageLog for Sqlite {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, Error>> {
        Box::pin(self.writer.append(append))
    }

    fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.shared.listeners.write().expect("nobody panics while holding this lock").push(listener);
    }

    fn message(&self, app: AppNo, id: MessageId) -> BoxFuture<'_, Result<Option<Arc<Message>>, Error>> {
        Box::pin(self.read(move |conn| {
            let key = codec::message_key(MessageKey { app, position: Position(id.number()) });
            let found = rows::message(conn, key)?;
            Ok(found.filter(|message| message.id == id).map(Arc::new))
        }))
    }

    fn message_by_event_id(
        &self,
        app: AppNo,
        id: EventId,
    ) -> BoxFuture<'_, Result<Option<Arc<Message>>, Error>> {
        Box::pin(self.read(move |conn| {
            let Some(key) = append::message_with_event_id(conn, app, &id)? else { return Ok(None) };
            Ok(rows::message(conn, key)?.map(Arc::new))
        }))
    }

    fn messages(
        &self,
        app: AppNo,
        filter: MessageFilter,
        page: PageQuery<Position>,
    ) -> BoxFuture<'_, Result<Page<Arc<Message>>, Error>> {
        Box::pin(self.read_long(move |conn| list(conn, app, &filter, &page)))
    }

    fn expunge_message(&self, key: MessageKey) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.write(move |tx| expunge(tx, codec::message_key(key), CancelReason::Expunged).map(drop)))
    }
}

/// The keys an application's messages have within a filter's times: the first, and the last.
pub(crate) fn bounds(conn: &Connection, app: AppNo, filter: &MessageFilter) -> Result<(i64, i64), Fault> {
    let (first, last) = codec::range(app.0);
    let first = match filter.after {
        Some(after) => span::first_since(conn, app, Timestamp::from_millis(after.as_millis() + 1))?,
        None => first,
    };
    let last = match filter.before {
        Some(before) => span::first_since(conn, app, before)? - 1,
        None => last,
    };
    Ok((first, last))
}

fn list(
    conn: &Connection,
    app: AppNo,
    filter: &MessageFilter,
    page: &PageQuery<Position>,
) -> Result<Page<Arc<Message>>, Fault> {
    let (mut first, mut last) = bounds(conn, app, filter)?;
    let up = upwards(page);
    if let Some(position) = page.beyond {
        let key = codec::message_key(MessageKey { app, position });
        if up {
            first = first.max(key + 1);
        } else {
            last = last.min(key - 1);
        }
    }
    let sql = format!(
        "SELECT {} FROM message WHERE key BETWEEN ?1 AND ?2 ORDER BY key {}",
        rows::MESSAGE,
        if up { "ASC" } else { "DESC" }
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut found_rows = query.query([first, last])?;
    let (wanted, mut found) = (Wanted::new(filter), Gather::new(page));
    while found.goes_on()
        && let Some(row) = found_rows.next()?
    {
        let shown = wanted_message(&wanted, row)?.map(|message| {
            let bytes = bytes_of(&message);
            (Arc::new(message), bytes)
        });
        found.looked(codec::place(row.get(0)?), shown);
    }
    Ok(found.into_page(page))
}

/// Erases a payload and gives up what is owed of it. How many deliveries were given up.
pub(crate) fn expunge(tx: &mut Tx<'_>, key: i64, reason: CancelReason) -> Result<u64, Fault> {
    let Some(message) = rows::message(tx.conn, key)? else { return Ok(0) };
    tx.conn
        .prepare_cached("UPDATE message SET payload = NULL, payload_expires_at = NULL WHERE key = ?1")?
        .execute([key])?;
    let mut cancelled = 0;
    for (endpoint, seq) in message.fanout {
        let key = codec::delivery_key(DeliveryKey { endpoint, seq });
        if let Some(delivery) = rows::delivery(tx.conn, key)?
            && !delivery.state.is_settled()
        {
            cancel(tx, &delivery, reason)?;
            cancelled += 1;
        }
    }
    Ok(cancelled)
}

/// Gives a delivery up.
pub(crate) fn cancel(
    tx: &mut Tx<'_>,
    delivery: &Delivery,
    reason: CancelReason,
) -> Result<(), rusqlite::Error> {
    let cancelled = DeliveryState::Cancelled(reason);
    tx.conn
        .prepare_cached("UPDATE delivery SET state = ?2, due_at = NULL WHERE key = ?1")?
        .execute(params![codec::delivery_key(delivery.key), codec::state_number(cancelled)])?;
    tx.tally.leaves(delivery.state);
    tx.tally.enters(cancelled);
    Ok(())
}
