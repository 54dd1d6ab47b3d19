//! What other nodes changed: told within milliseconds by a hint, found within half a second without one.
//!
//! Each transaction that changes something for others writes a row of `news` with it. The hint (`NOTIFY`) only says
//! that there are some: it is sent from a connection of its own after the commit and no more often than each
//! [`THROTTLE`], since PostgreSQL takes a lock of the whole server for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pushpull_domain::{AppNo, EndpointNo};
use tokio::{sync::Notify, time::Instant};
use tokio_postgres::Row;

use crate::{
    Db,
    fault::Fault,
    pool::{Conn, Heard},
    tx::News,
};

/// The channel of hints.
const CHANNEL: &str = "pushpull";
/// Least time between two hints of a node, and between two looks.
const THROTTLE: Duration = Duration::from_millis(3);
/// How often news are looked for without a hint.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long to wait before connecting again.
const CONNECT_WAIT: Duration = Duration::from_millis(250);

/// The other nodes' news that were committed since a snapshot, and the snapshot that they are read in.
const LOOK: &str = "
    SELECT pg_current_snapshot()::text, n.* FROM (SELECT) one LEFT JOIN (
        SELECT joined, joined_app, rescheduled, rescheduled_app, configured FROM news
        WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
            AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot) AND node <> $2
        ORDER BY xid) n ON true";

/// What is to be told to others.
#[derive(Default)]
pub(crate) struct Hints {
    wanted: Notify,
    doubts: AtomicBool,
}

/// So long after a commit of this node's own that may have happened or not, its own news are told too.
const DOUBT: Duration = Duration::from_mins(5);

impl Hints {
    /// There are news for others.
    pub(crate) fn send(&self) {
        self.wanted.notify_one();
    }

    /// Something that was to be committed may be, at once or when the standby has it: if so, it is found as others find it.
    pub(crate) fn doubt(&self) {
        self.doubts.store(true, Ordering::SeqCst);
    }
}

/// Sends hints and takes them in, until the store is closed.
pub(crate) async fn run(db: Arc<Db>) {
    while !db.closing.is_cancelled() {
        match connected(&db).await {
            Ok(()) => return,
            Err(fault) => {
                let error = pushpull_store::Error::from(fault);
                tracing::warn!(error = &error as &dyn std::error::Error, "no news of other nodes");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(CONNECT_WAIT) => {}
            () = db.closing.cancelled() => {}
        }
    }
}

/// As long as one connection lasts.
async fn connected(db: &Arc<Db>) -> Result<(), Fault> {
    let conn = Conn::open(&db.listening).await?;
    conn.ignore_own_hints().await?;
    conn.batch(&format!("LISTEN {CHANNEL}")).await?;
    let mut snapshot: String = conn.query_one("SELECT pg_current_snapshot()::text", &[]).await?.get(0);
    // What was told meanwhile nobody can say: there was no connection, or the database is not the one it was.
    db.days.forget();
    db.due_from.forget();
    db.tell_moved();
    let mut own_until = Instant::now();
    let mut next_look = Instant::now() + LOOK_INTERVAL;
    let mut earliest = Instant::now();
    let mut may_send = Instant::now();
    let mut to_send = false;
    loop {
        tokio::select! {
            heard = conn.heard() => match heard {
                Heard::Hint => next_look = next_look.min(earliest.max(Instant::now())),
                Heard::Closed => return Err(pushpull_store::Error::Unavailable(Arc::new(
                    std::io::Error::other("the connection for hints was closed"))).into()),
            },
            () = db.hints.wanted.notified() => to_send = !db.shards.is_alone(),
            () = tokio::time::sleep_until(may_send), if to_send => {
                to_send = false;
                may_send = Instant::now() + THROTTLE;
                conn.batch(&format!("NOTIFY {CHANNEL}")).await?;
            }
            () = tokio::time::sleep_until(next_look) => {
                let began = Instant::now();
                if db.hints.doubts.swap(false, Ordering::SeqCst) {
                    own_until = began + DOUBT;
                }
                let but = if began < own_until { 0 } else { db.shards.node() };
                snapshot = look(db, &conn, &snapshot, but).await?;
                // Somebody's long transaction makes each look dearer: then there are fewer.
                earliest = Instant::now() + THROTTLE.max(began.elapsed() * 10);
                next_look = Instant::now() + LOOK_INTERVAL;
            }
            () = db.closing.cancelled() => return Ok(()),
        }
    }
}

/// Tells of what all nodes but one committed since a snapshot; the snapshot up to which that is.
async fn look(db: &Arc<Db>, conn: &Conn, since: &str, but: i32) -> Result<String, Fault> {
    let rows = conn.query(LOOK, &[&since, &but]).await?;
    let numbers = |row: &Row, column| row.get::<_, Option<Vec<i32>>>(column).unwrap_or_default();
    let app = |no: i32| AppNo(no.cast_unsigned());
    let mut news = News::default();
    for row in &rows {
        news.configured.extend(numbers(row, 5).into_iter().map(app));
        let endpoints = |endpoints, apps| {
            let endpoints = numbers(row, endpoints).into_iter().map(|no| EndpointNo(no.cast_unsigned()));
            numbers(row, apps).into_iter().map(app).zip(endpoints)
        };
        news.joined.extend(endpoints(1, 2));
        news.rescheduled.extend(endpoints(3, 4));
    }
    // Of what came in several transactions one is told.
    news.each_once();
    db.tell(&news);
    Ok(rows.first().map_or_else(|| since.to_owned(), |row| row.get(0)))
}
