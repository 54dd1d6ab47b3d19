#![allow(unused_variables, reason = "not written yet")]
use crate::Postgres;
use futures_util::future::BoxFuture;
use pushpull_domain::{EndpointNo, Message, Seq, Timestamp};
use pushpull_store::*;
use pushpull_store::{Error, MessageFilter};
use std::sync::Arc;
impl Feed for Postgres {
    fn read_queue(&self, query: QueueQuery) -> BoxFuture<'_, Result<QueuePage, Error>> {
        todo!()
    }
    fn queue_ends(&self, endpoint: EndpointNo) -> BoxFuture<'_, Result<QueueEnds, Error>> {
        todo!()
    }
    fn queue_at(&self, endpoint: EndpointNo, at: Timestamp) -> BoxFuture<'_, Result<Seq, Error>> {
        todo!()
    }
}
