#![allow(unused_variables, reason = "not written yet")]
use pushpull_store::*;
use crate::Postgres;
use std::{collections::HashSet, sync::Arc};
use futures_util::future::BoxFuture;
use pushpull_domain::{
    AppNo, Channel, EndpointNo, EventId, EventTypeName, Message, MessageId, MessageKey, NewMessage, Position,
    Tag, Timestamp,
};
use pushpull_store::{Error, Page, PageQuery};
impl MessageLog for Postgres {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, Error>> { todo!() }
    fn listen(&self, listener: Arc<dyn CommitListener>) { todo!() }
    fn message(&self, app: AppNo, id: MessageId) -> BoxFuture<'_, Result<Option<Arc<Message>>, Error>> { todo!() }
    fn message_by_event_id(&self,
        app: AppNo,
        id: EventId,
    ) -> BoxFuture<'_, Result<Option<Arc<Message>>, Error>> { todo!() }
    fn messages_at(&self, keys: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<Arc<Message>>, Error>> { todo!() }
    fn messages(&self,
        app: AppNo,
        filter: MessageFilter,
        page: PageQuery<Position>,
    ) -> BoxFuture<'_, Result<Page<Arc<Message>>, Error>> { todo!() }
    fn expunge_message(&self, key: MessageKey) -> BoxFuture<'_, Result<(), Error>> { todo!() }
}
