//! `pushpull nodes`: who works on a store, who owns what, and how far behind.

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use clap::Args;
use pushpull_store_postgres::Node;
use serde_json::json;

use super::Ending;
use crate::{
    config::{Backend, Flags, Place},
    store,
};

/// List the nodes of a PostgreSQL store: who is alive, who owns what, and how far behind each is
#[derive(Debug, Args)]
#[command(after_help = "Example: pushpull nodes --store postgres://pushpull@db.example.com/pushpull

A node whose lease has run out is dead or cut off; others have its shards within 5 s. An application belongs to one of
64 shards. LAG: for how long the first of what a node's applications are owed has been due.")]
pub(crate) struct Nodes {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<false>,
}

impl Nodes {
    pub(super) fn run(self) -> Result<ExitCode> {
        let place = Place::load(&self.flags)?;
        let Backend::Postgres(url) = &place.store else {
            return Err(Ending::usage(
                "the store is a file, which one process serves: nodes are of a PostgreSQL store (--store postgres://...)",
            )
            .into());
        };
        let nodes = super::runtime()?.block_on(async {
            let store = store::open_postgres(&place, url, false).await?.0;
            let nodes = store.nodes().await;
            pushpull_store::Upkeep::close(&*store).await;
            anyhow::Ok(nodes?)
        })?;
        let mut out = std::io::stdout();
        if self.json {
            writeln!(out, "{}", json!(nodes.iter().map(to_json).collect::<Vec<_>>()))?;
        } else {
            let head =
                ["NODE", "NAME", "VERSION", "STATE", "SINCE", "SHARDS", "OWED", "LAG"].map(str::to_owned);
            super::print_table(&mut out, std::iter::once(head).chain(nodes.iter().map(row)))?;
        }
        let is_whole = nodes.iter().all(|node| node.lease.is_some() || node.shards.is_empty());
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn state(node: &Node) -> &'static str {
    match (node.no, node.lease) {
        (0, _) => "nobody",
        (_, Some(_)) => "alive",
        (_, None) => "dead",
    }
}

fn row(node: &Node) -> [String; 8] {
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    [
        node.no.to_string(),
        or_none(&node.name),
        or_none(&node.version),
        state(node).to_owned(),
        if node.no == 0 { "-".to_owned() } else { node.started_at.to_string() },
        node.shards.len().to_string(),
        node.owed_endpoints.to_string(),
        format!("{:.1}s", node.lag.as_secs_f64()),
    ]
}

fn to_json(node: &Node) -> serde_json::Value {
    json!({
        "node": node.no,
        "name": node.name,
        "version": node.version,
        "state": state(node),
        "startedAt": node.started_at.to_string(),
        "leaseMs": node.lease.map(|lease| lease.as_millis() as u64),
        "shards": node.shards,
        "owedEndpoints": node.owed_endpoints,
        "lagMs": node.lag.as_millis() as u64,
    })
}
