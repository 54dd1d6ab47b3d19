//! What is owed and what was tried, as it is asked for.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::BoxFuture;
use pushpull_domain::{
    AppNo, AttemptId, Delivery, DeliveryKey, DeliveryState, EndpointNo, Message, MessageKey, Payload, Seq,
    TaskId, Timestamp, attempt::Trigger,
};
use pushpull_store::{
    AttemptFilter, Deliveries, DeliveryCounts, DeliveryStatus, DueDelivery, DueOrder, DuePage, Error,
    MessageFilter, OwedEndpoint, Page, PageQuery, Recovery, RecoveryStep, Settlement, StoredAttempt,
    deliveries::AttemptWithMessage,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Sqlite,
    append::insert_delivery,
    catalog::{collect, cut, upwards},
    codec,
    fault::Fault,
    messages::bounds,
    recovery, rows, settle,
    tx::Tx,
};

/// Endpoints in the index of what is due, one seek for each, whatever each is owed.
const OWED_ENDPOINTS: &str = "
    WITH RECURSIVE owed (no) AS (
        SELECT min(endpoint) FROM delivery INDEXED BY delivery_due WHERE due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(endpoint) FROM delivery INDEXED BY delivery_due
                WHERE due_at IS NOT NULL AND endpoint > owed.no)
        FROM owed WHERE owed.no IS NOT NULL
    )
    SELECT owed.no, endpoint.app, (SELECT min(due_at) FROM delivery INDEXED BY delivery_due
                     WHERE due_at IS NOT NULL AND endpoint = owed.no)
    FROM owed JOIN endpoint ON endpoint.no = owed.no
    WHERE endpoint.deleted_at IS NULL AND endpoint.disabled_at IS NULL AND endpoint.mode = 0";

impl Deliveries for Sqlite {
    fn owed_endpoints(&self) -> BoxFuture<'_, Result<Vec<OwedEndpoint>, Error>> {
        Box::pin(self.read(|conn| {
            collect(conn, OWED_ENDPOINTS, (), |row| {
                Ok(OwedEndpoint {
                    endpoint: EndpointNo(row.get(0)?),
                    app: AppNo(row.get(1)?),
                    due_at: Timestamp::from_millis(row.get(2)?),
                })
            })
        }))
    }

    fn due(
        &self,
        endpoint: EndpointNo,
        order: DueOrder,
        skip: Vec<Seq>,
        limit: usize,
    ) -> BoxFuture<'_, Result<DuePage, Error>> {
        Box::pin(self.read(move |conn| due(conn, endpoint, order, &skip, limit)))
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(
            self.writer.run_bare(move |tx| {
                settlements.iter().try_for_each(|settlement| settle::settle(tx, settlement))
            }),
        )
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

    fn resend(&self, message: MessageKey, endpoint: EndpointNo) -> BoxFuture<'_, Result<bool, Error>> {
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
        Box::pin(self.read(move |conn| attempt(conn, message, id)))
    }

    fn attempts_at(
        &self,
        endpoint: EndpointNo,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<AttemptWithMessage>, Error>> {
        Box::pin(self.read_long(move |conn| attempts_at(conn, endpoint, &filter, &page)))
    }

    fn attempts_for(
        &self,
        message: MessageKey,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<StoredAttempt>, Error>> {
        Box::pin(self.read_long(move |conn| attempts_for(conn, message, &filter, &page)))
    }

    fn expunge_attempt(&self, message: MessageKey, id: AttemptId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.write(move |tx| {
            let Some(found) = attempt(tx.conn, message, id)? else { return Ok(false) };
            let key = settle::key_of(found.delivery.endpoint, id);
            tx.conn.execute("UPDATE attempt SET body = NULL WHERE key = ?1", [key])?;
            Ok(true)
        }))
    }
}

fn due(
    conn: &Connection,
    endpoint: EndpointNo,
    order: DueOrder,
    skip: &[Seq],
    limit: usize,
) -> Result<DuePage, Fault> {
    if is_deleted(conn, endpoint)? {
        return Ok(DuePage::default());
    }
    let skip: HashSet<Seq> = skip.iter().copied().collect();
    let (first, last) = codec::range(endpoint.0);
    let (sql, from) = match order {
        DueOrder::ByTime { until } => (
            "SELECT key, message, state, due_at, trigger, attempts FROM delivery INDEXED BY delivery_due
             WHERE endpoint = ?3 AND due_at <= ?1 AND key <= ?2 ORDER BY due_at, key",
            until.as_millis(),
        ),
        DueOrder::BySeq { from } => (
            "SELECT key, message, state, due_at, trigger, attempts FROM delivery NOT INDEXED
             WHERE key BETWEEN ?1 AND ?2 AND due_at IS NOT NULL AND endpoint = ?3 ORDER BY key",
            codec::delivery_key(DeliveryKey { endpoint, seq: from }).max(first),
        ),
    };
    let mut query = conn.prepare_cached(sql)?;
    let mut found_rows = query.query(params![from, last, endpoint.0])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = found_rows.next()?
    {
        let delivery = rows::delivery_row(row)?;
        if skip.contains(&delivery.key.seq) {
            continue;
        }
        // What has no payload any more is cancelled in the transaction that erases it.
        if let Some(message) = rows::message(conn, codec::message_key(delivery.message))?
            && matches!(message.payload, Payload::Kept(_))
        {
            found.push(DueDelivery { delivery, message: Arc::new(message) });
        }
    }
    let next_due_at = match order {
        DueOrder::ByTime { until } if found.len() < limit => conn
            .prepare_cached(
                "SELECT min(due_at) FROM delivery INDEXED BY delivery_due WHERE endpoint = ?1 AND due_at > ?2",
            )?
            .query_row([i64::from(endpoint.0), until.as_millis()], |row| row.get::<_, Option<i64>>(0))?
            .map(Timestamp::from_millis),
        DueOrder::ByTime { .. } | DueOrder::BySeq { .. } => None,
    };
    Ok(DuePage { items: found, next_due_at })
}

/// Whether an endpoint is gone. What it is owed may still have to be cancelled.
fn is_deleted(conn: &Connection, endpoint: EndpointNo) -> Result<bool, rusqlite::Error> {
    let alive: Option<bool> = conn
        .prepare_cached("SELECT deleted_at IS NULL FROM endpoint WHERE no = ?1")?
        .query_row([endpoint.0], |row| row.get(0))
        .optional()?;
    Ok(alive != Some(true))
}

fn endpoint_deliveries(
    conn: &Connection,
    endpoint: EndpointNo,
    status: Option<DeliveryStatus>,
    filter: &MessageFilter,
    page: &PageQuery<Seq>,
) -> Result<Page<DueDelivery>, Fault> {
    let Some(app) = app_of(conn, endpoint)? else { return Ok(Page { items: Vec::new(), done: true }) };
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
    let mut found = Vec::new();
    while found.len() <= page.limit
        && let Some(row) = found_rows.next()?
    {
        let delivery = rows::delivery_row(row)?;
        if status.is_some_and(|status| status != DeliveryStatus::of(&delivery)) {
            continue;
        }
        if let Some(message) = rows::message(conn, codec::message_key(delivery.message))?
            && filter.matches(&message)
        {
            found.push(DueDelivery { delivery, message: Arc::new(message) });
        }
    }
    Ok(cut(found, page))
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
    let mut counts = DeliveryCounts::default();
    let Some(app) = app_of(conn, endpoint)? else { return Ok(counts) };
    let (first_message, end_message) = rows::span(conn, app, since, until)?;
    let (first, last) = codec::range(endpoint.0);
    let mut query = conn.prepare_cached(
        "SELECT state, attempts > 0, count(*) FROM delivery NOT INDEXED
         WHERE key BETWEEN ?1 AND ?2 AND message >= ?3 AND message < ?4 GROUP BY 1, 2",
    )?;
    let mut found_rows = query.query([first, last, first_message, end_message])?;
    while let Some(row) = found_rows.next()? {
        let count: u64 = row.get(2)?;
        match (row.get::<_, u8>(0)?, row.get::<_, bool>(1)?) {
            (0, false) => counts.pending += count,
            (0, true) => counts.sending += count,
            (1, _) => counts.success += count,
            (2, _) => counts.fail += count,
            _ => counts.cancelled += count,
        }
    }
    Ok(counts)
}

fn resend(tx: &mut Tx<'_>, message: MessageKey, endpoint: EndpointNo) -> Result<bool, Fault> {
    let key = codec::message_key(message);
    let Some(found) = rows::message(tx.conn, key)? else { return Ok(false) };
    let Some(pushed) = is_pushed(tx.conn, message.app, endpoint)? else { return Ok(false) };
    if found.payload == Payload::Expunged {
        return Ok(false);
    }
    let due_at = pushed.then_some(tx.wall);
    let mut fanout = found.fanout;
    if let Some((_, seq)) = fanout.iter().find(|(no, _)| *no == endpoint) {
        reopen(tx, codec::delivery_key(DeliveryKey { endpoint, seq: *seq }), due_at)?;
    } else {
        let seq = insert_delivery(tx, endpoint, message, due_at, Trigger::Manual)?;
        fanout.push((endpoint, seq));
        tx.conn
            .execute("UPDATE message SET fanout = ?2 WHERE key = ?1", params![key, codec::fanout(&fanout)])?;
    }
    tx.news.rescheduled.push(endpoint);
    Ok(true)
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

fn attempt(conn: &Connection, message: MessageKey, id: AttemptId) -> Result<Option<StoredAttempt>, Fault> {
    let Some(found) = rows::message(conn, codec::message_key(message))? else { return Ok(None) };
    for (endpoint, _) in found.fanout {
        if let Some((attempt, _)) = rows::attempt(conn, settle::key_of(endpoint, id))?
            && attempt.id == id
            && attempt.message == message
        {
            return Ok(Some(attempt));
        }
    }
    Ok(None)
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

fn attempts_at(
    conn: &Connection,
    endpoint: EndpointNo,
    filter: &AttemptFilter,
    page: &PageQuery<AttemptId>,
) -> Result<Page<AttemptWithMessage>, Fault> {
    let (mut first, mut last) = codec::range(endpoint.0);
    let up = upwards(page);
    if let Some(id) = page.beyond {
        let key = settle::key_of(endpoint, id);
        if up { first = key + 1 } else { last = key - 1 }
    }
    let sql = format!(
        "SELECT {} FROM attempt JOIN url ON url.no = attempt.url WHERE key BETWEEN ?1 AND ?2 ORDER BY key {}",
        rows::ATTEMPT,
        if up { "ASC" } else { "DESC" }
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut found_rows = query.query([first, last])?;
    let mut found: Vec<(StoredAttempt, Arc<Message>)> = Vec::new();
    while found.len() <= page.limit
        && let Some(row) = found_rows.next()?
    {
        let attempt = rows::attempt_row(row)?;
        if is_shown(&attempt, filter)
            && let Some(message) = rows::message(conn, codec::message_key(attempt.message))?
            && filter.message.matches(&message)
        {
            found.push((attempt, Arc::new(message)));
        }
    }
    Ok(cut(found, page))
}

fn attempts_for(
    conn: &Connection,
    message: MessageKey,
    filter: &AttemptFilter,
    page: &PageQuery<AttemptId>,
) -> Result<Page<StoredAttempt>, Fault> {
    let mut found = Vec::new();
    let message = rows::message(conn, codec::message_key(message))?.filter(|m| filter.message.matches(m));
    for (endpoint, seq) in message.iter().flat_map(|message| &message.fanout) {
        let key = codec::delivery_key(DeliveryKey { endpoint: *endpoint, seq: *seq });
        let mut next: Option<i64> = conn
            .prepare_cached("SELECT last_attempt FROM delivery WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?
            .flatten();
        while let Some((attempt, previous)) = next.map_or(Ok(None), |key| rows::attempt(conn, key))? {
            next = previous;
            if is_shown(&attempt, filter) {
                found.push(attempt);
            }
        }
    }
    let up = upwards(page);
    found.sort_by_key(|attempt| attempt.id);
    if !up {
        found.reverse();
    }
    if let Some(beyond) = page.beyond {
        found.retain(|attempt| if up { attempt.id > beyond } else { attempt.id < beyond });
    }
    found.truncate(page.limit + 1);
    Ok(cut(found, page))
}
