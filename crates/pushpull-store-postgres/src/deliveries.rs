#![allow(unused_variables, reason = "not written yet")]
use crate::{Postgres, due};
use futures_util::future::BoxFuture;
use pushpull_domain::{
    AppNo, AttemptId, Delivery, DeliveryKey, EndpointNo, Message, MessageKey, Seq, TaskId, Timestamp,
    attempt::Attempt,
};
use pushpull_store::deliveries::AttemptWithMessage;
use pushpull_store::*;
use pushpull_store::{Error, MessageFilter, Page, PageQuery};
use std::{sync::Arc, time::Duration};
impl Deliveries for Postgres {
    fn owns(&self, app: AppNo) -> bool {
        self.db.shards.owns(app)
    }

    fn owed_endpoints(&self) -> BoxFuture<'_, Result<Vec<OwedEndpoint>, Error>> {
        self.read(|db| async move { due::owed_endpoints(&db).await })
    }
    fn due(
        &self,
        endpoint: EndpointNo,
        order: DueOrder,
        skip: Vec<Seq>,
        limit: usize,
    ) -> BoxFuture<'_, Result<DuePage, Error>> {
        self.read(move |db| async move { due::due(&db, endpoint, order, &skip, limit).await })
    }
    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<(), Error>> {
        self.write(move |db| async move { db.settler.lock().await.settle(&db, &settlements).await })
    }
    fn deliveries_of(&self, message: MessageKey) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        todo!()
    }
    fn endpoint_deliveries(
        &self,
        endpoint: EndpointNo,
        status: Option<DeliveryStatus>,
        filter: MessageFilter,
        page: PageQuery<Seq>,
    ) -> BoxFuture<'_, Result<Page<DueDelivery>, Error>> {
        todo!()
    }
    fn delivery_counts(
        &self,
        endpoint: EndpointNo,
        since: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<DeliveryCounts, Error>> {
        todo!()
    }
    fn resend(&self, message: MessageKey, endpoint: EndpointNo) -> BoxFuture<'_, Result<Resent, Error>> {
        todo!()
    }
    fn start_recovery(&self, recovery: Recovery) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }
    fn recoveries(&self) -> BoxFuture<'_, Result<Vec<Recovery>, Error>> {
        todo!()
    }
    fn step_recovery(&self, task: TaskId) -> BoxFuture<'_, Result<RecoveryStep, Error>> {
        todo!()
    }
    fn attempt(
        &self,
        message: MessageKey,
        id: AttemptId,
    ) -> BoxFuture<'_, Result<Option<StoredAttempt>, Error>> {
        todo!()
    }
    fn attempts_at(
        &self,
        endpoint: EndpointNo,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<AttemptWithMessage>, Error>> {
        todo!()
    }
    fn attempts_for(
        &self,
        message: MessageKey,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<StoredAttempt>, Error>> {
        todo!()
    }
    fn expunge_attempt(&self, message: MessageKey, id: AttemptId) -> BoxFuture<'_, Result<bool, Error>> {
        todo!()
    }
}
