//! What is owed and what was tried, as it is asked for.

mod list;
mod resend;

use futures_util::future::BoxFuture;
use pushpull_domain::{AppNo, AttemptId, Delivery, EndpointNo, MessageKey, Seq, TaskId, Timestamp};
use pushpull_store::{
    AttemptFilter, Deliveries, DeliveryCounts, DeliveryStatus, DueDelivery, DueOrder, DuePage, Error,
    MessageFilter, OwedEndpoint, Page, PageQuery, Recovery, RecoveryStep, Resent, Settlement, StoredAttempt,
    deliveries::AttemptWithMessage,
};

use crate::{Postgres, attempts, due, fault::Fault, pool::Conn, recovery};

pub(crate) use resend::{is_pushed, reopen};

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
        Box::pin(self.outcomes.settle(settlements))
    }

    fn deliveries_of(&self, message: MessageKey) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        self.read(move |db| async move { list::of_message(&db, message).await })
    }

    fn endpoint_deliveries(
        &self,
        endpoint: EndpointNo,
        status: Option<DeliveryStatus>,
        filter: MessageFilter,
        page: PageQuery<Seq>,
    ) -> BoxFuture<'_, Result<Page<DueDelivery>, Error>> {
        self.read(move |db| async move { list::of_endpoint(&db, endpoint, status, &filter, &page).await })
    }

    fn delivery_counts(
        &self,
        endpoint: EndpointNo,
        since: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<DeliveryCounts, Error>> {
        self.read(move |db| async move { list::counts(&db, endpoint, since, until).await })
    }

    fn resend(&self, message: MessageKey, endpoint: EndpointNo) -> BoxFuture<'_, Result<Resent, Error>> {
        self.write(move |db| async move { resend::resend(&db, message, endpoint).await })
    }

    fn start_recovery(&self, recovery: Recovery) -> BoxFuture<'_, Result<(), Error>> {
        self.write(move |db| async move { recovery::start(&db, &recovery).await })
    }

    fn recoveries(&self) -> BoxFuture<'_, Result<Vec<Recovery>, Error>> {
        self.read(|db| async move { recovery::unfinished(&db).await })
    }

    fn step_recovery(&self, task: TaskId) -> BoxFuture<'_, Result<RecoveryStep, Error>> {
        self.write_long(move |db| async move { recovery::step(&db, task).await })
    }

    fn attempt(
        &self,
        message: MessageKey,
        id: AttemptId,
    ) -> BoxFuture<'_, Result<Option<StoredAttempt>, Error>> {
        self.read(move |db| async move {
            let conn = db.reads.lend().await?;
            Ok(attempts::attempt(&conn, message, id).await?.map(|(attempt, _)| attempt))
        })
    }

    fn attempts_at(
        &self,
        endpoint: EndpointNo,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<AttemptWithMessage>, Error>> {
        self.read(move |db| async move { attempts::attempts_at(&db, endpoint, &filter, &page).await })
    }

    fn attempts_for(
        &self,
        message: MessageKey,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<StoredAttempt>, Error>> {
        self.read(move |db| async move { attempts::attempts_for(&db, message, &filter, &page).await })
    }

    fn expunge_attempt(&self, message: MessageKey, id: AttemptId) -> BoxFuture<'_, Result<bool, Error>> {
        self.write(move |db| async move { attempts::expunge(&db, message, id).await })
    }
}

/// Whose an endpoint is, deleted or not.
pub(crate) async fn app_of(conn: &Conn, endpoint: EndpointNo) -> Result<Option<AppNo>, Fault> {
    let sql = "SELECT app FROM endpoint WHERE no = $1";
    let row = conn.query_opt(sql, &[&endpoint.0.cast_signed()]).await?;
    Ok(row.map(|row| AppNo(row.get::<_, i32>(0).cast_unsigned())))
}
