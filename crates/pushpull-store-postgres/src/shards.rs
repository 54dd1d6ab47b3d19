//! Which applications this node brings what they are owed: shards, held under a lease that others see run out.
//!
//! An application's shard follows from its number. A node holds its shards as long as it renews its lease in time, by
//! the database's clock; whoever finds a lease run out takes the shards with an epoch that is greater by one, and what
//! was decided under the older one is not written any more. So a node that was paused and wakes changes nothing, and
//! as it looks at its own clock before each attempt, it begins nothing either.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
    time::Duration,
};

use pushpull_domain::{AppNo, Timestamp};
use tokio::time::Instant;

use crate::{Db, fault::Fault};

/// How many shards there are. Fixed: the migration made them.
pub(crate) const SHARDS: usize = 64;
/// How long a lease lasts that is not renewed.
const LEASE: Duration = Duration::from_secs(4);
/// So much earlier a node takes its own lease for lost: its clock and the database's need not run alike.
const LEASE_MARGIN: Duration = Duration::from_millis(500);
/// How often it is renewed.
const BEAT: Duration = Duration::from_millis(500);
/// A shard that is handed over is kept at most so long after nothing new is begun, for what is in flight and its
/// outcomes: longer than an attempt may take.
const HANDOVER_MAX: Duration = Duration::from_secs(22);
/// And at least so long, as whoever was about to begin may not have been seen yet.
const HANDOVER_MIN: Duration = Duration::from_millis(250);

/// Clocks that differ by more are told of.
const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// The shard of an application.
pub(crate) fn shard_of(app: AppNo) -> usize {
    app.0 as usize % SHARDS
}

/// The shards that this node holds.
pub(crate) struct Shards {
    node: AtomicI32,
    /// A bit for each shard that attempts may begin for.
    held: AtomicU64,
    /// Until when the lease holds, in milliseconds after `started`.
    until: AtomicU64,
    started: Instant,
    /// Under which epoch each is held. Those that are being handed over are among them.
    epochs: Mutex<[Option<i64>; SHARDS]>,
    handovers: Mutex<Vec<(usize, Instant)>>,
    /// When it was last warned of a clock that is wrong, in minutes after `started`, counted from 1.
    warned: AtomicU64,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            node: AtomicI32::new(0),
            held: AtomicU64::new(0),
            until: AtomicU64::new(0),
            started: Instant::now(),
            epochs: Mutex::new([None; SHARDS]),
            handovers: Mutex::default(),
            warned: AtomicU64::new(0),
        }
    }
}

impl Shards {
    /// Which node this is; 0: none yet.
    pub(crate) fn node(&self) -> i32 {
        self.node.load(Ordering::SeqCst)
    }

    /// Whether attempts may begin for an application, now.
    pub(crate) fn owns(&self, app: AppNo) -> bool {
        let held = self.held.load(Ordering::Acquire) & (1 << shard_of(app)) != 0;
        held && self.lease_holds()
    }

    /// What is due is due by the clock of the node that took it in, and goes out by that of the node that brings it:
    /// where these differ it goes out late. Told of once a minute.
    fn compare_clocks(&self, own: Timestamp, databases: Timestamp) {
        let off = own.since(databases).max(databases.since(own));
        let minute = 1 + self.started.elapsed().as_secs() / 60;
        if off > CLOCKS_DIFFER && self.warned.swap(minute, Ordering::Relaxed) != minute {
            tracing::warn!(
                own = %own, databases = %databases,
                "the clocks of this machine and of the database differ: what one node takes in may go out late from \
                 another"
            );
        }
    }

    fn lease_holds(&self) -> bool {
        #[cfg(feature = "faults")]
        if crate::faults::is_committed(crate::faults::Fault::NoFencing) {
            return true;
        }
        self.started.elapsed() < Duration::from_millis(self.until.load(Ordering::Acquire))
    }

    /// The shards under whose epochs outcomes are written: numbers, and epochs.
    pub(crate) fn fence(&self) -> (Vec<i16>, Vec<i64>) {
        let epochs = self.epochs.lock().expect("nobody panics while holding this lock");
        epochs.iter().enumerate().filter_map(|(no, epoch)| Some((no as i16, (*epoch)?))).unzip()
    }

    fn renewed(&self, asked_at: Instant) {
        let until = (asked_at + LEASE - LEASE_MARGIN).duration_since(self.started);
        self.until.store(until.as_millis() as u64, Ordering::Release);
    }

    /// What the database says this node holds; whether that is something else than before.
    fn learn(&self, holds: &[(i16, i64)]) -> bool {
        let mut now = [None; SHARDS];
        for (no, epoch) in holds {
            now[*no as usize] = Some(*epoch);
        }
        let leaving: u64 = {
            let mut handovers = self.handovers.lock().expect("nobody panics while holding this lock");
            handovers.retain(|(no, _)| now[*no].is_some());
            handovers.iter().map(|(no, _)| 1 << no).sum()
        };
        let mut epochs = self.epochs.lock().expect("nobody panics while holding this lock");
        let changed = *epochs != now;
        *epochs = now;
        let held =
            now.iter().enumerate().filter(|(_, epoch)| epoch.is_some()).map(|(no, _)| 1 << no).sum::<u64>();
        changed | (self.held.swap(held & !leaving, Ordering::AcqRel) != held & !leaving)
    }

    /// Begins to hand so many shards over: nothing new is begun for them.
    fn hand_over(&self, count: usize) {
        let mut handovers = self.handovers.lock().expect("nobody panics while holding this lock");
        let mut held = self.held.load(Ordering::Acquire);
        for no in (0..SHARDS).rev().filter(|no| held & (1 << no) != 0).take(count).collect::<Vec<_>>() {
            held &= !(1 << no);
            handovers.push((no, Instant::now()));
        }
        self.held.store(held, Ordering::Release);
    }

    /// Those whose handover is over: nothing is under way for them any more, or it takes too long.
    fn handed_over(&self, is_busy: impl Fn(usize) -> bool) -> Vec<i16> {
        let handovers = self.handovers.lock().expect("nobody panics while holding this lock").clone();
        let is_over = |(no, since): &(usize, Instant)| match since.elapsed() {
            early if early < HANDOVER_MIN => false,
            late => late >= HANDOVER_MAX || !is_busy(*no),
        };
        handovers.iter().filter(|handover| is_over(handover)).map(|(no, _)| *no as i16).collect()
    }
}

/// Renews the lease and tells the database's time; nothing comes back if it had been taken for lost and removed.
const RENEW: &str = "
    UPDATE node SET leased_until = clock_timestamp() + $2 * interval '1 ms' WHERE no = $1
    RETURNING (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

const REGISTER: &str = "
    INSERT INTO node (name, version, leased_until) VALUES ($1, $2, clock_timestamp() + $3 * interval '1 ms') RETURNING no";

/// How many nodes there are, how many came before this one, and how many shards are held by none of them.
const LOOK: &str = "
    SELECT (SELECT count(*) FROM node WHERE leased_until > clock_timestamp()),
        (SELECT count(*) FROM node WHERE leased_until > clock_timestamp() AND no < $1),
        (SELECT count(*) FROM shard s WHERE NOT EXISTS
            (SELECT FROM node n WHERE n.no = s.node AND n.leased_until > clock_timestamp()))";

/// Takes at most so many shards that nobody holds.
const TAKE: &str = "
    UPDATE shard SET node = $1, epoch = epoch + 1 WHERE no IN (
        SELECT s.no FROM shard s WHERE NOT EXISTS
            (SELECT FROM node n WHERE n.no = s.node AND n.leased_until > clock_timestamp())
        ORDER BY s.no LIMIT $2 FOR UPDATE SKIP LOCKED)";

const GIVE_BACK: &str = "UPDATE shard SET node = NULL, epoch = epoch + 1 WHERE node = $1 AND no = ANY ($2)";
const HOLDS: &str = "SELECT no, epoch FROM shard WHERE node = $1";
/// Nodes that are gone, and hold nothing.
const FORGET: &str = "
    DELETE FROM node n WHERE leased_until < clock_timestamp() - interval '1 minute'
        AND NOT EXISTS (SELECT FROM shard s WHERE s.node = n.no)";
/// What everybody has seen.
const FORGET_NEWS: &str = "DELETE FROM news WHERE at < clock_timestamp() - interval '1 minute'";

/// Joins the nodes of the store and takes what is free.
pub(crate) async fn join(db: &Arc<Db>) -> Result<(), Fault> {
    beat(db).await.map(drop)
}

/// Renews the lease and keeps this node's share, until the store is closed.
pub(crate) async fn run(db: Arc<Db>) {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = db.closing.cancelled() => return,
        }
        match beat(&db).await {
            Ok(true) => db.tell_moved(),
            Ok(false) => {}
            Err(fault) => {
                let error = pushpull_store::Error::from(fault);
                tracing::warn!(error = &error as &dyn std::error::Error, "the node's lease was not renewed");
            }
        }
    }
}

/// Gives everything back.
pub(crate) async fn leave(db: &Db) -> Result<(), Fault> {
    let conn = db.writes.lend().await?;
    db.shards.held.store(0, Ordering::Release);
    let node = db.shards.node();
    conn.execute("UPDATE shard SET node = NULL, epoch = epoch + 1 WHERE node = $1", &[&node]).await?;
    conn.execute("DELETE FROM node WHERE no = $1", &[&node]).await?;
    Ok(())
}

/// One renewal; whether what this node holds has changed.
async fn beat(db: &Arc<Db>) -> Result<bool, Fault> {
    let shards = &db.shards;
    let conn = db.writes.lend().await?;
    let asked_at = Instant::now();
    let lease = LEASE.as_millis() as f64;
    if let Some(renewed) = conn.query_opt(RENEW, &[&shards.node(), &lease]).await? {
        shards.compare_clocks(db.clock.now(), Timestamp::from_millis(renewed.get(0)));
    } else {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let row = conn.query_one(REGISTER, &[&name.trim(), &env!("CARGO_PKG_VERSION"), &lease]).await?;
        shards.node.store(row.get(0), Ordering::SeqCst);
    }
    let node = shards.node();
    let gone = shards.handed_over(|shard| db.is_busy(&|app| shard_of(app) == shard));
    if !gone.is_empty() {
        conn.execute(GIVE_BACK, &[&node, &gone]).await?;
    }
    let look = conn.query_one(LOOK, &[&node]).await?;
    let (nodes, before, free): (i64, i64, i64) = (look.get(0), look.get(1), look.get(2));
    let share = share(nodes.max(1) as usize, before as usize);
    let mut holds = holds(&conn, node).await?;
    if free > 0 && holds.len() < share {
        conn.execute(TAKE, &[&node, &((share - holds.len()) as i64)]).await?;
        holds = self::holds(&conn, node).await?;
    }
    let leaving = shards.handovers.lock().expect("nobody panics while holding this lock").len();
    let surplus = (holds.len() - leaving.min(holds.len())).saturating_sub(share);
    shards.hand_over(surplus);
    // Attempts were not begun meanwhile, as somebody else might have had them.
    let lapsed = !shards.lease_holds();
    shards.renewed(asked_at);
    let changed = shards.learn(&holds) || lapsed || surplus > 0;
    conn.execute(FORGET, &[]).await?;
    conn.execute(FORGET_NEWS, &[]).await?;
    Ok(changed)
}

/// How many shards are a node's of so many, so many of which came before it: they differ by one at most.
fn share(nodes: usize, before: usize) -> usize {
    SHARDS / nodes + usize::from(before < SHARDS % nodes)
}

async fn holds(conn: &crate::pool::Conn, node: i32) -> Result<Vec<(i16, i64)>, Fault> {
    Ok(conn.query(HOLDS, &[&node]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_not_begun_any_more_and_given_back_later() {
        let shards = Shards::default();
        shards.renewed(Instant::now());
        assert!(shards.learn(&[(0, 1), (1, 1), (2, 5)]));
        assert!(!shards.learn(&[(0, 1), (1, 1), (2, 5)]), "nothing new");
        assert!((0..3).all(|no| shards.owns(AppNo(no))) && !shards.owns(AppNo(3)));
        assert!(shards.owns(AppNo(64 + 2)), "an application's number says which shard it is of");
        shards.hand_over(1);
        assert!(!shards.owns(AppNo(2)));
        assert_eq!(shards.fence(), (vec![0, 1, 2], vec![1, 1, 5]), "outcomes are still written");
        assert_eq!(shards.handed_over(|_| false), [] as [i16; 0]);
        assert!(shards.learn(&[(0, 1), (1, 1)]));
        assert_eq!(shards.fence(), (vec![0, 1], vec![1, 1]));
        assert!(shards.learn(&[(0, 1), (1, 1), (2, 7)]), "it may come back");
        assert!(shards.owns(AppNo(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_kept_as_long_as_attempts_are_under_way_for_it() {
        let shards = Shards::default();
        shards.learn(&[(0, 1), (1, 1)]);
        shards.hand_over(2);
        tokio::time::advance(HANDOVER_MIN).await;
        assert_eq!(shards.handed_over(|shard| shard == 1), [0]);
        tokio::time::advance(HANDOVER_MAX).await;
        assert_eq!(shards.handed_over(|_| true), [1, 0], "not for ever");
    }

    #[test]
    fn shards_are_shared_evenly_and_all_of_them() {
        for nodes in 1..=100 {
            let shares: Vec<usize> = (0..nodes).map(|before| share(nodes, before)).collect();
            assert_eq!(shares.iter().sum::<usize>(), SHARDS);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_not_renewed_is_lost_before_others_may_take_it() {
        let shards = Shards::default();
        shards.learn(&[(0, 1)]);
        assert!(!shards.owns(AppNo(0)), "not yet");
        shards.renewed(Instant::now());
        tokio::time::advance(Duration::from_millis(3_499)).await;
        assert!(shards.owns(AppNo(0)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!shards.owns(AppNo(0)));
    }
}
