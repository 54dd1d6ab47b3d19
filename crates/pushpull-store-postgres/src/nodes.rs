//! Which processes work on a store, and how each is doing.

use std::time::Duration;

use pushpull_domain::Timestamp;
use pushpull_store::Error;

use crate::{Postgres, shards::SHARDS};

/// A process that works on the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number, given when it joined; 0: nobody, who has the shards that nobody holds.
    pub no: u32,
    /// The name of its machine.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it joined.
    pub started_at: Timestamp,
    /// How long its lease still lasts; `None`: it has run out.
    pub lease: Option<Duration>,
    /// The shards it holds, each from 0 to 63: an application's is its number modulo 64.
    pub shards: Vec<u8>,
    /// Endpoints of its applications that are owed something, due now or later.
    pub owed_endpoints: u64,
    /// For how long the first of that has been due.
    pub lag: Duration,
}

/// Nodes by number, whether alive or not; then, if there are shards that nobody holds, nobody.
const NODES: &str = "
    SELECT n.no, n.name, n.version, (extract(epoch FROM n.started_at) * 1000)::bigint,
        (extract(epoch FROM n.leased_until - clock_timestamp()) * 1000)::bigint,
        coalesce((SELECT array_agg(s.no ORDER BY s.no) FROM shard s WHERE s.node = n.no), '{}')
    FROM node n ORDER BY n.no";
const NOBODYS: &str = "
    SELECT coalesce(array_agg(s.no ORDER BY s.no), '{}') FROM shard s
    WHERE NOT EXISTS (SELECT FROM node n WHERE n.no = s.node)";

impl Postgres {
    /// The processes that work on the store.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        Ok(self.nodes_or_fault().await?)
    }

    async fn nodes_or_fault(&self) -> Result<Vec<Node>, crate::fault::Fault> {
        let conn = self.db.reads.lend().await?;
        let shards = |numbers: Vec<i16>| numbers.into_iter().map(|no| no as u8).collect();
        let mut nodes: Vec<Node> = conn
            .query(NODES, &[])
            .await?
            .iter()
            .map(|row| Node {
                no: row.get::<_, i32>(0).cast_unsigned(),
                name: row.get(1),
                version: row.get(2),
                started_at: Timestamp::from_millis(row.get(3)),
                lease: u64::try_from(row.get::<_, i64>(4)).ok().map(Duration::from_millis),
                shards: shards(row.get(5)),
                owed_endpoints: 0,
                lag: Duration::ZERO,
            })
            .collect();
        let nobodys: Vec<u8> = shards(conn.query_one(NOBODYS, &[]).await?.get(0));
        if !nobodys.is_empty() {
            nodes.push(Node {
                no: 0,
                name: String::new(),
                version: String::new(),
                started_at: Timestamp::default(),
                lease: None,
                shards: nobodys,
                owed_endpoints: 0,
                lag: Duration::ZERO,
            });
        }
        drop(conn);
        let now = self.db.clock.now();
        for owed in crate::due::owed_endpoints_of_all(&self.db).await? {
            let shard = (owed.app.0 as usize % SHARDS) as u8;
            if let Some(node) = nodes.iter_mut().find(|node| node.shards.contains(&shard)) {
                node.owed_endpoints += 1;
                node.lag = node.lag.max(now.since(owed.due_at));
            }
        }
        Ok(nodes)
    }
}
