//! Lists of deliveries.

use std::sync::Arc;

use pushpull_domain::{Delivery, DeliveryKey, EndpointNo, MessageKey, Seq, Timestamp};
use pushpull_store::{
    DeliveryCounts, DeliveryStatus, DueDelivery, MessageFilter, Page, PageQuery, codec,
    gather::{Wanted, cut, direction},
};

use tokio_postgres::{Row, types::ToSql};

use super::app_of;
use crate::{
    Db,
    days::day_of,
    fault::Fault,
    list::{self, LOOKED_AT, fill, gather, shown, within},
    messages::OF_MESSAGE,
    rows, span,
};

/// The deliveries of a message.
pub(super) async fn of_message(db: &Arc<Db>, message: MessageKey) -> Result<Vec<Delivery>, Fault> {
    let sql = format!("SELECT {} FROM message m {OF_MESSAGE} WHERE m.key = $1 ORDER BY f.n", rows::DELIVERY);
    let conn = db.reads.lend().await?;
    let found = conn.query(&sql, &[&codec::message_key(message)]).await?;
    found.iter().map(|row| rows::delivery(row, 0)).collect()
}

/// One page of an endpoint's deliveries.
pub(super) async fn of_endpoint(
    db: &Arc<Db>,
    endpoint: EndpointNo,
    status: Option<DeliveryStatus>,
    filter: &MessageFilter,
    page: &PageQuery<Seq>,
) -> Result<Page<DueDelivery>, Fault> {
    let conn = db.reads.lend().await?;
    let Some(app) = app_of(&conn, endpoint).await? else { return Ok(cut(Vec::new(), page)) };
    let (first_message, last_message) = span::bounds(&conn, app, filter).await?;
    // Nothing joins a queue on an earlier day than its message was made.
    let first_day = filter.after.map_or(0, day_of);
    let beyond = page.beyond.map(|seq| codec::delivery_key(DeliveryKey { endpoint, seq }));
    let order = direction(page);
    let sql = format!(
        "SELECT {}, d.message_day, {LOOKED_AT}
         FROM (SELECT * FROM delivery WHERE key BETWEEN $1 AND $2 AND message BETWEEN $4 AND $5 AND day >= $6
               ORDER BY key {order} LIMIT $3) d
         LEFT JOIN LATERAL (SELECT event_type, channels, tags, payload FROM message
               WHERE message.key = d.message AND message.day = d.message_day LIMIT 1) m ON true
         ORDER BY d.key {order}",
        rows::DELIVERY
    );
    let wanted = Wanted::new(filter);
    let range = within(codec::range(endpoint.0), page, beyond);
    let look = |row: &Row| {
        let (delivery, message_day): (_, i32) = (rows::delivery(row, 0)?, row.get(6));
        let bytes = shown(&wanted, row, 7)
            .filter(|_| status.is_none_or(|status| status == DeliveryStatus::of(&delivery)));
        Ok(bytes.map(|bytes| ((delivery, message_day), bytes)))
    };
    let params: [&(dyn ToSql + Sync); 3] = [&first_message, &last_message, &first_day];
    let found = gather(&conn, &sql, range, &params, page, look).await?;
    let key = |delivery: &Delivery| codec::message_key(delivery.message);
    let messages = list::messages(&conn, found.items.iter().map(|(d, day)| (key(d), *day))).await?;
    let fill_in = |(delivery, _): (Delivery, i32)| {
        messages.get(&key(&delivery)).map(|m| DueDelivery { delivery, message: Arc::clone(m) })
    };
    Ok(fill(found, page, |(delivery, _)| delivery.key.seq.0, fill_in))
}

const COUNTS: &str = "
    SELECT count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 0 AND attempts = 0),
        count(*) FILTER (WHERE state = 0 AND attempts > 0), count(*) FILTER (WHERE state = 2),
        count(*) FILTER (WHERE state >= 3)
    FROM delivery WHERE key BETWEEN $1 AND $2 AND message >= $3 AND message < $4 AND day >= $5";

/// How many of an endpoint's deliveries stand how.
pub(super) async fn counts(
    db: &Arc<Db>,
    endpoint: EndpointNo,
    since: Timestamp,
    until: Timestamp,
) -> Result<DeliveryCounts, Fault> {
    let conn = db.reads.lend().await?;
    let Some(app) = app_of(&conn, endpoint).await? else { return Ok(DeliveryCounts::default()) };
    let (first_message, end_message) = span::span(&conn, app, since, until).await?;
    let (first, last) = codec::range(endpoint.0);
    let row = conn.query_one(COUNTS, &[&first, &last, &first_message, &end_message, &day_of(since)]).await?;
    let count = |column| row.get::<_, i64>(column).cast_unsigned();
    Ok(DeliveryCounts {
        success: count(0),
        pending: count(1),
        sending: count(2),
        fail: count(3),
        cancelled: count(4),
    })
}
