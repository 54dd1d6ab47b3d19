//! The hot path: messages and their deliveries, many of them in one transaction and one round trip.
//!
//! The statements of a batch are sent together: begin; lock the applications; match, number and write; commit. What
//! locks is a statement of its own, so that the one that numbers sees all that was committed before it got the lock.
//! The numbers are taken from the newest rows, not from counters: a row that is changed with each batch would leave a
//! dead version each time.

mod input;

use std::sync::Arc;

use pushpull_domain::{DeliveryKey, Message, MessageId, MessageKey, Payload, Position, Seq, Timestamp};
use pushpull_store::{Append, Appended, Error, codec};
use tokio_postgres::{Row, types::ToSql};

use self::input::Input;
use crate::{
    Db,
    fault::Fault,
    pool::{Conn, Lent},
    rows,
    tx::unsure,
};

/// How long an idempotency key is kept: 12 h, as the Svix API has it.
pub(crate) const IDEMPOTENCY_KEPT_MS: i64 = 12 * 3_600_000;
/// How often a batch is tried again that met another transaction, or the turn of a day.
const TRIES_MAX: usize = 5;

pub(crate) const LOCK: &str = "SELECT no FROM app WHERE no = ANY($1) ORDER BY no FOR UPDATE";

/// Decides what becomes of each message, gives positions and seqs, and writes it all; one row for each message.
///
/// `{day}` is the day that this node takes for the newest. If it is not, nothing is written. No table of all days stands
/// in it: to open the partitions of 90 takes five times as long as all the rest.
pub(crate) const APPEND: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::bigint[], $10::bigint[], $11::bytea[], $12::text[], $13::bytea[]) WITH ORDINALITY
        AS i (app, version, salt, event_type, channels, tags, event_id, content_type, deliver_at, payload_expires_at,
              payload, idempotency_key, request_hash, n)
), head AS MATERIALIZED (
    SELECT a.no, a.version, coalesce(m.created_at, c.created_at, 0) AS last_at,
        greatest(coalesce(m.key, c.key, 0) & ((1::bigint << 40) - 1), a.trimmed_position) AS last_position
    FROM app a
    LEFT JOIN LATERAL (SELECT key, created_at FROM message_{day}
        WHERE key BETWEEN a.no::bigint << 40 AND ((a.no::bigint + 1) << 40) - 1 ORDER BY key DESC LIMIT 1) m ON true
    LEFT JOIN LATERAL last_message(CASE WHEN m.key IS NULL THEN a.no END) c ON true
    WHERE a.no = ANY($14) AND a.deleted_at IS NULL AND (SELECT max(day) FROM open_day) = {day}
), verdict AS MATERIALIZED (
    SELECT i.n, i.app, i.deliver_at, h.last_at, h.last_position, k.message AS known, k.day AS known_day,
        CASE WHEN h.no IS NULL THEN 1
             WHEN h.version <> i.version THEN 2
             WHEN k.request_hash <> i.request_hash THEN 3
             WHEN k.message IS NOT NULL AND message_is_there(k.message, k.day) THEN 4
             WHEN e.event_id IS NOT NULL THEN 5
             ELSE 0 END AS verdict
    FROM input i
    LEFT JOIN head h ON h.no = i.app
    LEFT JOIN idempotency k ON k.app = i.app AND k.key = i.idempotency_key AND k.created_at > $15
    LEFT JOIN event_id e ON e.app = i.app AND e.event_id = i.event_id
), accepted AS MATERIALIZED (
    SELECT n, app::bigint << 40 | (last_position + row_number() OVER (PARTITION BY app ORDER BY n)) AS key,
        greatest($16, last_at) AS created_at, greatest($17, deliver_at) AS due_at
    FROM verdict WHERE verdict = 0
), tail AS MATERIALIZED (
    SELECT e.no, greatest(coalesce(d.key, c.key, 0) & ((1::bigint << 40) - 1), e.trimmed_seq) AS last_seq
    FROM endpoint e
    LEFT JOIN LATERAL (SELECT key FROM delivery_{day}
        WHERE key BETWEEN e.no::bigint << 40 AND ((e.no::bigint + 1) << 40) - 1 ORDER BY key DESC LIMIT 1) d ON true
    LEFT JOIN LATERAL last_delivery(CASE WHEN d.key IS NULL THEN e.no END) c (key) ON true
    WHERE e.no = ANY($18)
), owed AS MATERIALIZED (
    SELECT a.n, t.m, t.endpoint, a.key AS message, CASE WHEN t.pushed THEN a.due_at END AS due_at,
        tail.last_seq + row_number() OVER (PARTITION BY t.endpoint ORDER BY a.n, t.m) AS seq
    FROM unnest($19::bigint[], $20::integer[], $21::boolean[]) WITH ORDINALITY AS t (n, endpoint, pushed, m)
    JOIN accepted a ON a.n = t.n
    JOIN tail ON tail.no = t.endpoint
), fanout AS MATERIALIZED (
    SELECT n, array_agg(endpoint ORDER BY m) AS endpoints, array_agg(seq ORDER BY m) AS seqs FROM owed GROUP BY n
), new_delivery AS (
    INSERT INTO delivery_{day} (day, key, endpoint, message, message_day, state, due_at, trigger, attempts)
    SELECT {day}, endpoint::bigint << 40 | seq, endpoint, message, {day}, 0, due_at, 0, 0 FROM owed
), new_message AS (
    INSERT INTO message_{day} (day, key, created_at, salt, event_type, channels, tags, event_id, content_type,
        deliver_at, payload_expires_at, endpoints, seqs, payload)
    SELECT {day}, a.key, a.created_at, i.salt, i.event_type, i.channels, i.tags, i.event_id, i.content_type,
        i.deliver_at, i.payload_expires_at, coalesce(f.endpoints, '{}'), coalesce(f.seqs, '{}'), i.payload
    FROM accepted a JOIN input i ON i.n = a.n LEFT JOIN fanout f ON f.n = a.n
), new_event_id AS (
    INSERT INTO event_id (app, event_id, message, day)
    SELECT i.app, i.event_id, a.key, {day} FROM accepted a JOIN input i ON i.n = a.n WHERE i.event_id IS NOT NULL
), new_idempotency AS (
    INSERT INTO idempotency (app, key, message, day, request_hash, created_at)
    SELECT i.app, i.idempotency_key, a.key, {day}, i.request_hash, a.created_at
    FROM accepted a JOIN input i ON i.n = a.n WHERE i.idempotency_key IS NOT NULL
    ON CONFLICT (app, key) DO UPDATE SET message = excluded.message, day = excluded.day,
        request_hash = excluded.request_hash, created_at = excluded.created_at
), new_news AS (
    INSERT INTO news (node, joined, joined_app, rescheduled, rescheduled_app, configured)
    SELECT $22, array_agg(endpoint), array_agg(app), '{}', '{}', '{}'
    FROM (SELECT DISTINCT endpoint, (message >> 40)::integer AS app FROM owed) AS grown HAVING count(*) > 0
)
SELECT v.verdict, v.known, v.known_day, a.key, a.created_at, f.seqs, (SELECT max(day) FROM open_day)
FROM verdict v LEFT JOIN accepted a ON a.n = v.n LEFT JOIN fanout f ON f.n = v.n ORDER BY v.n";

/// What the database says of a message.
enum Verdict {
    Stored { key: i64, created_at: i64, seqs: Vec<i64> },
    AppGone,
    Stale,
    KeyReused,
    Repeated { key: i64, day: i32 },
    EventIdTaken,
}

impl Verdict {
    fn of(row: &Row) -> Self {
        match row.get::<_, i32>(0) {
            0 => Self::Stored {
                key: row.get(3),
                created_at: row.get(4),
                seqs: row.get::<_, Option<_>>(5).unwrap_or_default(),
            },
            1 => Self::AppGone,
            2 => Self::Stale,
            3 => Self::KeyReused,
            4 => Self::Repeated { key: row.get(1), day: row.get(2) },
            _ => Self::EventIdTaken,
        }
    }
}

/// Appends messages, at most one of each idempotency key and event id of an application; what became of each.
pub(crate) async fn append(
    db: &Arc<Db>,
    conn: &mut Option<Lent>,
    appends: &[Append],
) -> Result<Vec<Result<Appended, Error>>, Fault> {
    let salts: Vec<u64> = appends.iter().map(|_| db.chance.word()).collect();
    for _ in 0..TRIES_MAX {
        let (now, wall) = db.moment();
        let day = db.open_day(now).await?;
        let lent = match conn.take() {
            Some(lent) if !lent.client().is_closed() => lent,
            _ => db.hot.lend().await?,
        };
        let written = write(&lent, db, appends, &salts, (now, wall), day).await;
        match written {
            Ok(Written { newest_day, .. }) if newest_day != day => {
                *conn = Some(lent);
                if newest_day < day {
                    // The database is not the one it was: this day was opened, and is lost.
                    db.open_day_now(day).await?;
                } else {
                    db.newest_day.learn(newest_day);
                }
            }
            Ok(Written { verdicts, .. }) => {
                let answers = db.answer(&lent, appends, &salts, verdicts, day).await;
                *conn = Some(lent);
                return Ok(answers);
            }
            Err(fault) if fault.is_collision() => *conn = Some(lent),
            Err(fault) if fault.lacks_a_table() => db.open_day_now(day).await?,
            Err(fault) => {
                // In what state the connection is nobody knows, nor perhaps whether the messages are stored.
                lent.discard();
                db.hints.doubt();
                return Err(fault);
            }
        }
    }
    Err(Error::Busy.into())
}

impl Db {
    /// What is said of each message. What was stored is told of first, whatever becomes of the others.
    async fn answer(
        &self,
        conn: &Conn,
        appends: &[Append],
        salts: &[u64],
        verdicts: Vec<Verdict>,
        day: i32,
    ) -> Vec<Result<Appended, Error>> {
        let mut answers = Vec::with_capacity(appends.len());
        let (mut stored, mut repeated) = (Vec::new(), Vec::new());
        for (n, ((append, salt), verdict)) in appends.iter().zip(salts).zip(verdicts).enumerate() {
            answers.push(Ok(match verdict {
                Verdict::Stored { key, created_at, seqs } => {
                    let message = Arc::new(build(append, *salt, key, created_at, &seqs));
                    stored.push(Arc::clone(&message));
                    Appended::Stored(message)
                }
                Verdict::AppGone => Appended::AppGone,
                Verdict::Stale => Appended::Stale,
                Verdict::KeyReused => Appended::KeyReused,
                Verdict::EventIdTaken => Appended::EventIdTaken,
                Verdict::Repeated { key, day } => {
                    repeated.push((n, key, day));
                    // If retention has removed it since: asked again, the request counts as new.
                    Appended::Stale
                }
            }));
        }
        self.appended(&stored, day);
        for (n, key, day) in repeated {
            match rows::message_at(conn, key, day).await {
                Ok(Some(message)) => answers[n] = Ok(Appended::Repeated(Arc::new(message))),
                Ok(None) => {}
                Err(fault) => answers[n] = Err(fault.into()),
            }
        }
        answers
    }

    /// These messages were appended here, on this day.
    fn appended(&self, messages: &[Arc<Message>], day: i32) {
        if messages.is_empty() {
            return;
        }
        for (endpoint, seq) in messages.iter().flat_map(|message| &message.fanout) {
            self.days.learn(codec::delivery_key(DeliveryKey { endpoint: *endpoint, seq: *seq }), day);
        }
        self.tell_appended(messages);
        self.hints.send();
    }
}

struct Written {
    verdicts: Vec<Verdict>,
    newest_day: i32,
}

/// One transaction, sent whole.
async fn write(
    conn: &Conn,
    db: &Db,
    appends: &[Append],
    salts: &[u64],
    (now, wall): (Timestamp, Timestamp),
    day: i32,
) -> Result<Written, Fault> {
    let input = Input::of(appends, salts);
    let (lock, append) =
        (conn.prepare(LOCK).await?, conn.prepare(&APPEND.replace("{day}", &day.to_string())).await?);
    let idempotent_since = now.as_millis() - IDEMPOTENCY_KEPT_MS;
    let (now, wall, node) = (now.as_millis(), wall.as_millis(), db.shards.node());
    let params = input.params([&idempotent_since, &now, &wall, &node]);
    let locked: [&(dyn ToSql + Sync); 1] = [&input.apps];
    let client = conn.client();
    let warnings = conn.warnings();
    // Polled in this order, they are sent in this order, without waiting for each other's answers.
    let (begun, locked, rows, committed) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        client.query(&lock, &locked),
        client.query(&append, &params),
        client.batch_execute("COMMIT"),
    );
    // An error in between makes the commit a rollback, which succeeds.
    begun?;
    locked?;
    let rows = rows?;
    committed?;
    if conn.warnings() != warnings {
        // It is committed here, but perhaps not where it has to be: a wait for the standby was cut off.
        return Err(unsure().into());
    }
    let newest_day = rows.first().map_or(day, |row| row.get(6));
    Ok(Written { verdicts: rows.iter().map(Verdict::of).collect(), newest_day })
}

fn build(append: &Append, salt: u64, key: i64, created_at: i64, seqs: &[i64]) -> Message {
    let (new, created_at) = (append.message.clone(), Timestamp::from_millis(created_at));
    let position = Position(codec::place(key));
    Message {
        key: MessageKey { app: append.app, position },
        id: MessageId::of(created_at, position.0, salt),
        created_at,
        event_type: new.event_type,
        payload: Payload::Kept(new.payload),
        content_type: new.content_type,
        channels: new.channels,
        tags: new.tags,
        event_id: new.event_id,
        deliver_at: new.deliver_at,
        payload_expires_at: new.payload_expires_at,
        fanout: append
            .targets
            .iter()
            .map(|target| target.endpoint)
            .zip(seqs.iter().map(|seq| Seq(seq.cast_unsigned())))
            .collect(),
    }
}
