//! What came of attempts, written in batches: one round trip for each.

mod round;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use pushpull_domain::EndpointNo;
use pushpull_store::{Error, Settlement, codec};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::types::ToSql;

use self::round::{Fence, Round};
use crate::{
    Db,
    fault::Fault,
    pool::{Conn, Lent},
    shards::{SHARDS, shard_of},
    tx::unsure,
};

/// How often a batch is tried again that met another transaction.
const TRIES_MAX: usize = 5;

/// Writes attempts, and the states they lead to, of deliveries that joined their queues on one day.
///
/// Only a success undoes what has ended otherwise: a cancellation, or the outcome of another node that brought it while
/// this one was paused. If the endpoint left push meanwhile there is no next attempt, and no last one:
/// whoever moves along it now has it before them; one that keeps order was held because of its very first, which must
/// not be first again. A delivery that is gone took its attempts with it.
pub(crate) const SETTLE: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::smallint[], $4::bigint[], $5::smallint[], $6::integer[],
        $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[], $11::text[], $12::smallint[], $13::smallint[],
        $14::text[], $15::bytea[], $16::bytea[])
        AS i (key, endpoint, state, due_at, trigger, attempts, attempt, salt, started_at, attempt_trigger, url, status,
              class, detail, timings, body)
), held AS MATERIALIZED (
    SELECT no FROM shard WHERE (no, epoch) IN (SELECT * FROM unnest($17::smallint[], $18::bigint[]))
), old AS MATERIALIZED (
    SELECT i.*, d.message, d.message_day, d.last_attempt, d.last_attempt_day,
        CASE WHEN e.mode <> 0 THEN NOT e.fifo OR i.state = 0 END AS left_push
    FROM input i JOIN delivery_{day} d ON d.key = i.key JOIN held ON held.no = (d.message >> 40) % {shards}
        LEFT JOIN endpoint e ON e.no = i.endpoint
), today AS MATERIALIZED (
    SELECT max(day) AS day FROM open_day
), new_attempt AS (
    INSERT INTO attempt (day, key, salt, message, message_day, seq, previous, previous_day, started_at, trigger, url,
        status, class, detail, timings, body)
    SELECT today.day, attempt, salt, message, message_day, key & ((1::bigint << 40) - 1), last_attempt,
        last_attempt_day, started_at, attempt_trigger, url, status, class, detail, timings, body
    FROM old, today WHERE attempt IS NOT NULL
)
UPDATE delivery_{day} d SET
    state = CASE WHEN d.state <> 0 AND o.state <> 1 THEN d.state WHEN o.state = 2 AND o.left_push THEN 0
                 ELSE o.state END,
    due_at = CASE WHEN d.state <> 0 OR o.left_push IS NOT NULL THEN NULL ELSE o.due_at END,
    trigger = CASE WHEN d.state <> 0 OR o.state <> 0 THEN 0 ELSE o.trigger END,
    attempts = CASE WHEN d.state <> 0 AND o.state <> 1 THEN d.attempts ELSE o.attempts END,
    last_attempt = coalesce(o.attempt, d.last_attempt),
    last_attempt_day = CASE WHEN o.attempt IS NULL THEN d.last_attempt_day ELSE today.day END
FROM old o, today WHERE d.key = o.key";

/// Keeps this node's shards its own until the transaction ends: whoever takes one waits.
pub(crate) const HOLD: &str = "
    SELECT no FROM shard WHERE (no, epoch) IN (SELECT * FROM unnest($1::smallint[], $2::bigint[])) FOR SHARE";

/// The newest attempts of endpoints.
const LAST_ATTEMPTS: &str = "
    SELECT e.no, greatest(e.trimmed_attempt, coalesce((SELECT a.key & ((1::bigint << 40) - 1) FROM attempt a
        WHERE a.key BETWEEN e.no::bigint << 40 AND ((e.no::bigint + 1) << 40) - 1 ORDER BY a.key DESC LIMIT 1), 0))
    FROM endpoint e WHERE e.no = ANY($1)";

/// The way to the one who settles.
pub(crate) struct Outcomes {
    batches: mpsc::Sender<Batch>,
}

/// What is to be written together, and who waits for it.
type Batch = (Vec<Settlement>, oneshot::Sender<Result<(), Error>>);

/// Batches that wait. The dispatcher hands in one after the other.
const BATCHES_MAX: usize = 16;

impl Outcomes {
    /// Starts the work, which ends when the store is closed.
    pub(crate) fn start(db: &Arc<Db>) -> Self {
        let (batches, mut waiting) = mpsc::channel::<Batch>(BATCHES_MAX);
        let work = Arc::clone(db);
        db.tasks.spawn(async move {
            let mut settler = Settler::default();
            loop {
                let (settlements, reply) = tokio::select! {
                    biased;
                    batch = waiting.recv() => match batch {
                        Some(batch) => batch,
                        None => return,
                    },
                    // What waits already is written still.
                    () = work.closing.cancelled(), if !waiting.is_closed() => {
                        waiting.close();
                        continue;
                    }
                };
                let settled = settler.settle_all(&work, &settlements).await;
                // Who asked may have gone away; what was written stays written.
                drop(reply.send(settled.map_err(Error::from)));
            }
        });
        Self { batches }
    }

    /// Writes attempts and the states they lead to, in one transaction.
    pub(crate) async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.batches.send((settlements, reply)).await.map_err(|_| Error::Closing)?;
        answer.await.map_err(|_| Error::Closing)?
    }
}

/// What the one who settles remembers between batches.
#[derive(Default)]
struct Settler {
    conn: Option<Lent>,
    /// The number of each endpoint's newest attempt. Nobody else writes them, as long as this node brings what the
    /// endpoint is owed.
    last_attempt: HashMap<EndpointNo, i64>,
    /// The shards that this was true of, and their epochs.
    fence: Fence,
}

/// Endpoints whose newest attempt is remembered.
const REMEMBERED_MAX: usize = 100_000;

impl Settler {
    /// Writes a batch. An outcome whose values the server refuses keeps no other from being written, and its state is
    /// written without its attempt.
    async fn settle_all(&mut self, db: &Arc<Db>, settlements: &[Settlement]) -> Result<(), Fault> {
        match self.settle(db, settlements).await {
            Err(fault) if fault.blames_a_value() => {}
            result => return result,
        }
        for settlement in settlements {
            match self.settle(db, std::slice::from_ref(settlement)).await {
                Err(fault) if fault.blames_a_value() => {
                    let error = Error::from(fault);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "an attempt could not be recorded"
                    );
                    let bare = Settlement { attempt: None, ..settlement.clone() };
                    self.settle(db, &[bare]).await?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    async fn settle(&mut self, db: &Arc<Db>, settlements: &[Settlement]) -> Result<(), Fault> {
        for _ in 0..TRIES_MAX {
            match self.settle_once(db, settlements).await {
                Err(fault) if fault.lacks_a_table() => {
                    // Another node has removed a day.
                    db.days.forget();
                    self.conn = None;
                }
                Err(fault) if fault.is_collision() || fault.is_taken().is_some() => {
                    // Numbers that are taken were given by a node that this one knew nothing of.
                    self.last_attempt.clear();
                    self.conn = None;
                }
                result => return result,
            }
        }
        Err(Error::Busy.into())
    }

    async fn settle_once(&mut self, db: &Arc<Db>, settlements: &[Settlement]) -> Result<(), Fault> {
        let conn = match self.conn.take() {
            Some(conn) if !conn.client().is_closed() => conn,
            _ => db.hot.lend().await?,
        };
        let fence = db.shards.fence();
        if self.fence != fence {
            self.last_attempt.clear();
            self.fence = fence;
        }
        // No attempt is written down on an earlier day than it was made: lists rely on it.
        db.open_day(db.clock.now()).await?;
        let days = db.days.of(&conn, settlements).await?;
        self.learn_attempts(&conn, settlements).await?;
        let rounds = self.rounds(db, settlements, &days);
        let written = write(&conn, &rounds, &touched(&self.fence, settlements)).await;
        for (endpoint, day) in rounds.iter().flat_map(|(day, round)| round.due_again().map(|no| (no, *day))) {
            db.due_from.due_again(endpoint, day);
        }
        match written {
            Ok(()) => {
                self.conn = Some(conn);
                Ok(())
            }
            Err(fault) => {
                conn.discard();
                Err(fault)
            }
        }
    }

    async fn learn_attempts(&mut self, conn: &Conn, settlements: &[Settlement]) -> Result<(), Fault> {
        let unknown: HashSet<i32> = settlements
            .iter()
            .filter(|s| s.attempt.is_some() && !self.last_attempt.contains_key(&s.delivery.key.endpoint))
            .map(|s| s.delivery.key.endpoint.0.cast_signed())
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if self.last_attempt.len() > REMEMBERED_MAX {
            self.last_attempt.clear();
            return Box::pin(self.learn_attempts(conn, settlements)).await;
        }
        let unknown: Vec<i32> = unknown.into_iter().collect();
        for row in conn.query(LAST_ATTEMPTS, &[&unknown]).await? {
            self.last_attempt.insert(EndpointNo(row.get::<_, i32>(0).cast_unsigned()), row.get(1));
        }
        Ok(())
    }

    /// The settlements by day, and within a day so that each statement has a delivery once.
    fn rounds<'s>(
        &mut self,
        db: &Db,
        settlements: &'s [Settlement],
        days: &HashMap<i64, i32>,
    ) -> Vec<(i32, Round<'s>)> {
        let mut by_day: BTreeMap<(usize, i32), Vec<(i64, &Settlement)>> = BTreeMap::new();
        let mut seen: HashMap<i64, usize> = HashMap::new();
        for settlement in settlements {
            let key = codec::delivery_key(settlement.delivery.key);
            // What is in no partition is gone.
            let Some(day) = days.get(&key) else { continue };
            let nth = seen.entry(key).or_default();
            by_day.entry((*nth, *day)).or_default().push((key, settlement));
            *nth += 1;
        }
        by_day
            .into_iter()
            .map(|((_, day), mut settlements)| {
                // In the order of keys, so that of two who lock the same rows neither waits for the other.
                settlements.sort_unstable_by_key(|(key, _)| *key);
                let mut round = Round::default();
                for (key, settlement) in settlements {
                    let number =
                        settlement.attempt.is_some().then(|| self.number(settlement.delivery.key.endpoint));
                    round.push(db, key, settlement, number.flatten());
                }
                (day, round)
            })
            .collect()
    }

    /// The number of an endpoint's next attempt; `None`: the endpoint is gone.
    fn number(&mut self, endpoint: EndpointNo) -> Option<i64> {
        let last = self.last_attempt.get_mut(&endpoint)?;
        *last += 1;
        Some(*last)
    }
}

/// The part of the fence that these settlements are behind.
fn touched((shards, epochs): &Fence, settlements: &[Settlement]) -> Fence {
    let touched: HashSet<usize> = settlements.iter().map(|s| shard_of(s.delivery.message.app)).collect();
    let held = shards.iter().zip(epochs).filter(|(shard, _)| touched.contains(&(**shard as usize)));
    held.map(|(shard, epoch)| (*shard, *epoch)).unzip()
}

fn settle_on(day: i32) -> String {
    SETTLE.replace("{day}", &day.to_string()).replace("{shards}", &SHARDS.to_string())
}

/// One transaction, sent whole.
async fn write(conn: &Conn, rounds: &[(i32, Round<'_>)], fence: &Fence) -> Result<(), Fault> {
    let hold = conn.prepare(HOLD).await?;
    let mut statements = Vec::with_capacity(rounds.len());
    for (day, _) in rounds {
        statements.push(conn.prepare(&settle_on(*day)).await?);
    }
    let client = conn.client();
    let warnings = conn.warnings();
    let written = async {
        let params: Vec<_> = rounds.iter().map(|(_, round)| round.params(fence)).collect();
        // Polled in their order, they are sent in it.
        let executed =
            statements.iter().zip(&params).map(|(statement, params)| client.execute(statement, params));
        futures_util::future::join_all(executed).await.into_iter().collect::<Result<Vec<_>, _>>()
    };
    let held: [&(dyn ToSql + Sync); 2] = [&fence.0, &fence.1];
    let (begun, held, written, committed) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        client.query(&hold, &held),
        written,
        client.batch_execute("COMMIT"),
    );
    begun?;
    held?;
    written?;
    committed?;
    if conn.warnings() != warnings {
        return Err(unsure().into());
    }
    Ok(())
}
