//! The lease of this node, renewed; and its share of the shards, taken and given back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use pushpull_domain::Timestamp;
use tokio::time::Instant;

use crate::{
    Db,
    fault::Fault,
    pool::Conn,
    shards::{LEASE, SHARDS, shard_of},
};

/// How often it is renewed.
const BEAT: Duration = Duration::from_millis(500);

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

/// Takes at most so many shards that nobody holds. A lease that has run out is locked, so that its node does not renew it
/// while its shards are taken.
const TAKE: &str = "
    WITH dead AS MATERIALIZED (
        SELECT no FROM node WHERE leased_until <= clock_timestamp() FOR UPDATE SKIP LOCKED
    )
    UPDATE shard SET node = $1, epoch = epoch + 1 WHERE no IN (
        SELECT s.no FROM shard s
        WHERE s.node IN (SELECT no FROM dead) OR NOT EXISTS (SELECT FROM node n WHERE n.no = s.node)
        ORDER BY s.no LIMIT $2 FOR UPDATE SKIP LOCKED)";

const GIVE_BACK: &str = "UPDATE shard SET node = NULL, epoch = epoch + 1 WHERE node = $1 AND no = ANY ($2)";
const HOLDS: &str = "SELECT no, epoch FROM shard WHERE node = $1";
/// Nodes that are gone, and hold nothing.
const FORGET: &str = "
    DELETE FROM node n WHERE leased_until < clock_timestamp() - interval '1 minute'
        AND NOT EXISTS (SELECT FROM shard s WHERE s.node = n.no)";
/// What everybody has seen. A change is seen when it is committed, which may wait for the standby for long.
const FORGET_NEWS: &str = "DELETE FROM news WHERE at < clock_timestamp() - interval '5 minutes'";

/// Joins the nodes of the store and takes what is free.
pub(crate) async fn join(db: &Arc<Db>) -> Result<(), Fault> {
    while beat(db).await?.is_none() {}
    Ok(())
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
            Ok(beaten) => {
                if beaten == Some(true) {
                    // Others have brought what is this node's now.
                    db.due_from.forget();
                    db.tell_moved();
                }
                if let Err(fault) = forget(&db).await {
                    complain(fault, "what is over was not removed");
                }
            }
            Err(fault) => complain(fault, "the node's lease was not renewed"),
        }
    }
}

fn complain(fault: Fault, what: &str) {
    let error = pushpull_store::Error::from(fault);
    tracing::warn!(error = &error as &dyn std::error::Error, "{what}");
}

/// Gives everything back.
pub(crate) async fn leave(db: &Db) -> Result<(), Fault> {
    let node = db.shards.node();
    if node == 0 {
        return Ok(());
    }
    let conn = db.leases.lend().await?;
    db.shards.held.store(0, Ordering::Release);
    conn.execute("UPDATE shard SET node = NULL, epoch = epoch + 1 WHERE node = $1", &[&node]).await?;
    conn.execute("DELETE FROM node WHERE no = $1", &[&node]).await?;
    Ok(())
}

/// One renewal; whether what this node holds has changed. `None`: it took so long that the lease may have run out again.
async fn beat(db: &Arc<Db>) -> Result<Option<bool>, Fault> {
    let shards = &db.shards;
    let conn = db.leases.lend().await?;
    let asked_at = Instant::now();
    let lease = LEASE.as_millis() as f64;
    if let Some(renewed) = conn.query_opt(RENEW, &[&shards.node(), &lease]).await? {
        shards.compare_clocks(db.clock.now(), Timestamp::from_millis(renewed.get(0)));
    } else {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let row = conn.query_one(REGISTER, &[&name.trim(), &env!("CARGO_PKG_VERSION"), &lease]).await?;
        shards.node.store(row.get(0), Ordering::SeqCst);
    }
    if asked_at.elapsed() > BEAT {
        // It waited, as for a standby; so may all others have, whose leases then look as if they had run out.
        return Ok(None);
    }
    let node = shards.node();
    let gone = shards.handed_over(|shard| db.is_busy(&|app| shard_of(app) == shard));
    if !gone.is_empty() {
        conn.execute(GIVE_BACK, &[&node, &gone]).await?;
        shards.given_back(&gone);
    }
    let look = conn.query_one(LOOK, &[&node]).await?;
    let (nodes, before, free): (i64, i64, i64) = (look.get(0), look.get(1), look.get(2));
    shards.set_alone(nodes == 1);
    let share = share(nodes.max(1) as usize, before as usize);
    let mut holds = holds(&conn, node).await?;
    if free > 0 && holds.len() < share {
        conn.execute(TAKE, &[&node, &((share - holds.len()) as i64)]).await?;
        holds = self::holds(&conn, node).await?;
    }
    let kept = shards.keep(share, holds.len());
    // Attempts were not begun meanwhile, as somebody else might have had them.
    let lapsed = !shards.lease_holds();
    shards.renewed(asked_at);
    Ok(Some(shards.learn(&holds) || kept || lapsed))
}

/// Removes what is over.
async fn forget(db: &Db) -> Result<(), Fault> {
    let conn = db.leases.lend().await?;
    conn.execute(FORGET, &[]).await?;
    conn.execute(FORGET_NEWS, &[]).await?;
    Ok(())
}

/// How many shards are a node's of so many, so many of which came before it: they differ by one at most.
fn share(nodes: usize, before: usize) -> usize {
    SHARDS / nodes + usize::from(before < SHARDS % nodes)
}

async fn holds(conn: &Conn, node: i32) -> Result<Vec<(i16, i64)>, Fault> {
    Ok(conn.query(HOLDS, &[&node]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_shared_evenly_and_all_of_them() {
        for nodes in 1..=100 {
            let shares: Vec<usize> = (0..nodes).map(|before| share(nodes, before)).collect();
            assert_eq!(shares.iter().sum::<usize>(), SHARDS);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
