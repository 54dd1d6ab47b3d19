//! What is owed and what was tried, as it is asked for.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{
    AppNo, AttemptId, Delivery, DeliveryKey, DeliveryState, EndpointNo, MessageKey, Payload, Seq, TaskId,
    Timestamp, attempt::Trigger,
};
use pushpull_store::{
    AttemptFilter, Deliveries, DeliveryCounts, DeliveryStatus, DueDelivery, DueOrder, DuePage, Error,
    MessageFilter, OwedEndpoint, Page, PageQuery, Recovery, RecoveryStep, Resent, Settlement, StoredAttempt,
    deliveries::AttemptWithMessage,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Sqlite,
    append::insert_delivery,
    attempts, codec, due,
    fault::Fault,
    list::{Gather, Wanted, bytes_of, cut, upwards, wanted_message_at},
    messages::bounds,
    recovery, rows, settle, span,
    tx::Tx,
};

impl Deliveries for Sqlite {
    fn owed_endpoints(&self) -> BoxFuture<'_, Result<Vec<OwedEndpoint>, Error>> {
        Box::pin(self.read(due::owed_endpoints))
    }

    fn due(
        &self,
        endpoint: EndpointNo,
        order: DueOrder,
        skip: Vec<Seq>,
        limit: usize,
    ) -> BoxFuture<'_, Result<DuePage, Error>> {
        Box::pin(self.read(move |conn| due::due(conn, endpoint, order, &skip, limit)))
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.writer.run_bare(move |tx| settle::settle(tx, &settlements)))
    }

    fn deliveries_of(&self, message: MessageKey) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        Box::pin(self.read(move |conn| {
            let Some(message) = rows::message(conn, codec::message_key(message))? else {
                return Ok(Vec::new());
            };
            message
                .fanout
                .iter()
                .filter_map(|(endpoint, seq)| {
                    let key = DeliveryKey { endpoint: *endpoint, seq: *seq };
                    rows::delivery(conn, codec::delivery_key(key)).transpose()
                })
                .collect()
        }))
    }

    fn endpoint_deliveries(
        &self,
        endpoint: EndpointNo,
        status: Option<DeliveryStatus>,
        filter: MessageFilter,
        page: PageQuery<Seq>,
    ) -> BoxFuture<'_, Result<Page<DueDelivery>, Error>> {
        Box::pin(self.read_long(move |conn| endpoint_deliveries(conn, endpoint, status, &filter, &page)))
    }

    fn delivery_counts(
        &self,
        endpoint: EndpointNo,
        since: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<DeliveryCounts, Error>> {
        Box::pin(self.read_long(move |conn| delivery_counts(conn, endpoint, since, until)))
    }

    fn resend(&self, message: MessageKey, endpoint: EndpointNo) -> BoxFuture<'_, Result<Resent, Error>> {
        Box::pin(self.write(move |tx| resend(tx, message, endpoint)))
    }

    fn start_recovery(&self, recovery: Recovery) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.write(move |tx| recovery::start(tx, &recovery)))
    }

    fn recoveries(&self) -> BoxFuture<'_, Result<Vec<Recovery>, Error>> {
        Box::pin(self.read(recovery::unfinished))
    }

    fn step_recovery(&self, task: TaskId) -> BoxFuture<'_, Result<RecoveryStep, Error>> {
        Box::pin(self.write(move |tx| recovery::step(tx, task)))
    }

    fn attempt(
        &self,
        message: MessageKey,
        id: AttemptId,
    ) -> BoxFuture<'_, Result<Option<StoredAttempt>, Error>> {
        Box::pin(self.read(move |conn| attempts::attempt(conn, message, id)))
    }

    fn attempts_at(
        &self,
        endpoint: EndpointNo,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<AttemptWithMessage>, Error>> {
        Box::pin(self.read_long(move |conn| attempts::attempts_at(conn, endpoint, &filter, &page)))
    }

    fn attempts_for(
        &self,
        message: MessageKey,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<StoredAttempt>, Error>> {
        Box::pin(self.read_long(move |conn| attempts::attempts_for(conn, message, &filter, &page)))
    }

    fn expunge_attempt(&self, message: MessageKey, id: AttemptId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.write(move |tx| {
            let Some(found) = attempts::attempt(tx.conn, message, id)? else { return Ok(false) };
            let key = settle::key_of(found.delivery.endpoint, id);
            tx.conn.execute("UPDATE attempt SET body = NULL WHERE key = ?1", [key])?;
            Ok(true)
        }))
    }
}

fn endpoint_deliveries(
    conn: &Connection,
    endpoint: EndpointNo,
    status: Option<DeliveryStatus>,
    filter: &MessageFilter,
    page: &PageQuery<Seq>,
) -> Result<Page<DueDelivery>, Fault> {
    let Some(app) = app_of(conn, endpoint)? else { return Ok(cut(Vec::new(), page)) };
    let (first_message, last_message) = bounds(conn, app, filter)?;
    let (mut first, mut last) = codec::range(endpoint.0);
    let up = upwards(page);
    if let Some(seq) = page.beyond {
        let key = codec::delivery_key(DeliveryKey { endpoint, seq });
        if up { first = key + 1 } else { last = key - 1 }
    }
    let sql = format!(
        "SELECT {} FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 AND message BETWEEN ?3 AND ?4 ORDER BY key {}",
        rows::DELIVERY,
        if up { "ASC" } else { "DESC" }
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut found_rows = query.query([first, last, first_message, last_message])?;
    let (wanted, mut found) = (Wanted::new(filter), Gather::new(page));
    while found.goes_on()
        && let Some(row) = found_rows.next()?
    {
        let delivery = rows::delivery_row(row)?;
        let message = if status.is_none_or(|status| status == DeliveryStatus::of(&delivery)) {
            wanted_message_at(&wanted, conn, codec::message_key(delivery.message))?
        } else {
            None
        };
        let shown = message.map(|message| {
            let bytes = bytes_of(&message);
            (DueDelivery { delivery, message: Arc::new(message) }, bytes)
        });
        found.looked(delivery.key.seq.0, shown);
    }
    Ok(found.into_page(page))
}

/// Whose an endpoint is, deleted or not.
pub(crate) fn app_of(
    conn: &Connection,
    endpoint: EndpointNo,
) -> Result<Option<pushpull_domain::AppNo>, rusqlite::Error> {
    conn.prepare_cached("SELECT app FROM endpoint WHERE no = ?1")?
        .query_row([endpoint.0], |row| Ok(pushpull_domain::AppNo(row.get(0)?)))
        .optional()
}

fn delivery_counts(
    conn: &Connection,
    endpoint: EndpointNo,
    since: Timestamp,
    until: Timestamp,
) -> Result<DeliveryCounts, Fault> {
    let Some(app) = app_of(conn, endpoint)? else { return Ok(DeliveryCounts::default()) };
    let (first_message, end_message) = span::span(conn, app, since, until)?;
    let (first, last) = codec::range(endpoint.0);
    // Sums, since a GROUP BY would sort what it reads.
    let counts = conn
        .prepare_cached(
            "SELECT total(state = 1), total(state = 0 AND attempts = 0), total(state = 0 AND attempts > 0),
                 total(state = 2), total(state >= 3)
             FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 AND message >= ?3 AND message < ?4",
        )?
        .query_row([first, last, first_message, end_message], |row| {
            let count = |column| row.get::<_, f64>(column).map(|count| count as u64);
            Ok(DeliveryCounts {
                success: count(0)?,
                pending: count(1)?,
                sending: count(2)?,
                fail: count(3)?,
                cancelled: count(4)?,
            })
        })?;
    Ok(counts)
}

fn resend(tx: &mut Tx<'_>, message: MessageKey, endpoint: EndpointNo) -> Result<Resent, Fault> {
    let key = codec::message_key(message);
    let Some(found) = rows::message(tx.conn, key)? else { return Ok(Resent::Gone) };
    let Some(pushed) = is_pushed(tx.conn, message.app, endpoint)? else { return Ok(Resent::Gone) };
    if found.payload == Payload::Expunged {
        return Ok(Resent::Gone);
    }
    let due_at = pushed.then_some(tx.wall);
    let mut fanout = found.fanout;
    if let Some((_, seq)) = fanout.iter().find(|(no, _)| *no == endpoint) {
        if !pushed {
            return Ok(Resent::Queued);
        }
        reopen(tx, codec::delivery_key(DeliveryKey { endpoint, seq: *seq }), due_at)?;
    } else {
        let seq = insert_delivery(tx, endpoint, message, due_at, Trigger::Manual)?;
        fanout.push((endpoint, seq));
        tx.conn
            .execute("UPDATE message SET fanout = ?2 WHERE key = ?1", params![key, codec::fanout(&fanout)])?;
    }
    tx.news.rescheduled.push((message.app, endpoint));
    Ok(Resent::Owed)
}

/// Whether the dispatcher brings things to an endpoint of this application; `None`: there is no such endpoint.
pub(crate) fn is_pushed(
    conn: &Connection,
    app: AppNo,
    endpoint: EndpointNo,
) -> Result<Option<bool>, rusqlite::Error> {
    conn.prepare_cached("SELECT mode = 0 FROM endpoint WHERE no = ?1 AND app = ?2 AND deleted_at IS NULL")?
        .query_row([endpoint.0, app.0], |row| row.get(0))
        .optional()
}

/// Owes a delivery again, by hand, its schedule begun anew.
pub(crate) fn reopen(tx: &mut Tx<'_>, key: i64, due_at: Option<Timestamp>) -> Result<(), Fault> {
    let Some(before) = rows::delivery(tx.conn, key)? else { return Ok(()) };
    tx.conn
        .prepare_cached(
            "UPDATE delivery SET state = 0, due_at = ?2, trigger = 1, attempts = 0 WHERE key = ?1",
        )?
        .execute(params![key, due_at.map(Timestamp::as_millis)])?;
    tx.tally.leaves(before.state);
    tx.tally.enters(DeliveryState::Owed { due_at, trigger: Trigger::Manual });
    Ok(())
}
