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
    pool::Params,
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
         FROM (SELECT * FROM delivery WHERE key BETWEEN $1 AND $2 AND day >= $6 ORDER BY key {order} LIMIT $3) d
         LEFT JOIN LATERAL (SELECT event_type, channels, tags, payload FROM message
               WHERE message.key = d.message AND message.day = d.message_day AND d.message BETWEEN $4 AND $5
               LIMIT 1) m ON true
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

/// The days on which the messages `$1` to `$2` of one application lie.
const MESSAGE_DAYS: &str = "
    SELECT first.day, last.day
    FROM (SELECT day FROM message WHERE key BETWEEN $1 AND $2 ORDER BY key LIMIT 1) AS first,
        (SELECT day FROM message WHERE key BETWEEN $1 AND $2 ORDER BY key DESC LIMIT 1) AS last";

/// Those of some messages that joined the queue on their messages' days, from `$5` to `$6`, and by the index of these
/// those that joined it later.
const COUNTS: &str = "
    SELECT count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 0 AND attempts = 0),
        count(*) FILTER (WHERE state = 0 AND attempts > 0), count(*) FILTER (WHERE state = 2),
        count(*) FILTER (WHERE state >= 3)
    FROM (
        SELECT state, attempts FROM delivery
        WHERE key BETWEEN $1 AND $2 AND message BETWEEN $3 AND $4 AND day BETWEEN $5 AND $6
        UNION ALL
        SELECT state, attempts FROM delivery
        WHERE endpoint = $7 AND message BETWEEN $3 AND $4 AND message_day BETWEEN $5 AND $6
            AND day <> message_day AND day > $6) AS d";

/// How many of an endpoint's deliveries stand how: as many are looked at as joined its queue on the days of that time,
/// however many there are besides. (They change until they go, so nothing can be summed up beforehand.)
pub(super) async fn counts(
    db: &Arc<Db>,
    endpoint: EndpointNo,
    since: Timestamp,
    until: Timestamp,
) -> Result<DeliveryCounts, Fault> {
    let conn = db.reads.lend().await?;
    let Some(app) = app_of(&conn, endpoint).await? else { return Ok(DeliveryCounts::default()) };
    let (first_message, end_message) = span::span(&conn, app, since, until).await?;
    let last_message = end_message - 1;
    let Some(days) = conn.query_opt(MESSAGE_DAYS, &[&first_message, &last_message]).await? else {
        return Ok(DeliveryCounts::default());
    };
    let (first_day, last_day): (i32, i32) = (days.get(0), days.get(1));
    let ((first, last), no) = (codec::range(endpoint.0), endpoint.0.cast_signed());
    let params: Params<'_> = &[&first, &last, &first_message, &last_message, &first_day, &last_day, &no];
    let row = conn.query_one(COUNTS, params).await?;
    let count = |column| row.get::<_, i64>(column).cast_unsigned();
    Ok(DeliveryCounts {
        success: count(0),
        pending: count(1),
        sending: count(2),
        fail: count(3),
        cancelled: count(4),
    })
}
