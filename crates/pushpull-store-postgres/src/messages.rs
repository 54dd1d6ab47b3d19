//! The log, as it is asked for.

mod expunge;
mod list;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{AppNo, EventId, Message, MessageId, MessageKey, Position};
use pushpull_store::{
    Append, Appended, CommitListener, Error, MessageFilter, MessageLog, Page, PageQuery, codec,
};

use crate::{Db, Postgres, days::days_of, fault::Fault, rows};

pub(crate) use expunge::{OF_MESSAGE, expunge};

impl MessageLog for Postgres {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, Error>> {
        Box::pin(self.committer.append(append))
    }

    fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.db.listeners.write().expect("nobody panics while holding this lock").push(listener);
    }

    fn message(&self, app: AppNo, id: MessageId) -> BoxFuture<'_, Result<Option<Arc<Message>>, Error>> {
        self.read(move |db| async move { message(&db, app, id).await })
    }

    fn message_by_event_id(
        &self,
        app: AppNo,
        id: EventId,
    ) -> BoxFuture<'_, Result<Option<Arc<Message>>, Error>> {
        self.read(move |db| async move {
            let sql = format!(
                "SELECT {} FROM event_id e JOIN message m ON m.key = e.message AND m.day = e.day
                 WHERE e.app = $1 AND e.event_id = $2",
                rows::MESSAGE
            );
            let conn = db.reads.lend().await?;
            let found = conn.query_opt(&sql, &[&app.0.cast_signed(), &&*id]).await?;
            found.map(|row| rows::message(&row, 0).map(Arc::new)).transpose()
        })
    }

    fn messages(
        &self,
        app: AppNo,
        filter: MessageFilter,
        page: PageQuery<Position>,
    ) -> BoxFuture<'_, Result<Page<Arc<Message>>, Error>> {
        self.read(move |db| async move { list::list(&db, app, &filter, &page).await })
    }

    fn expunge_message(&self, key: MessageKey) -> BoxFuture<'_, Result<(), Error>> {
        self.write(move |db| async move { expunge::expunge_one(&db, key).await })
    }
}

/// A message by its id, which says when it was made.
async fn message(db: &Arc<Db>, app: AppNo, id: MessageId) -> Result<Option<Arc<Message>>, Fault> {
    let sql = format!("SELECT {} FROM message m WHERE m.key = $1 AND m.day BETWEEN $2 AND $3", rows::MESSAGE);
    let key = codec::message_key(MessageKey { app, position: Position(id.number()) });
    let conn = db.reads.lend().await?;
    for (first, last) in days_of(id.at()) {
        if let Some(row) = conn.query_opt(&sql, &[&key, &first, &last]).await? {
            return Ok(Some(rows::message(&row, 0)?).filter(|found| found.id == id).map(Arc::new));
        }
    }
    Ok(None)
}
