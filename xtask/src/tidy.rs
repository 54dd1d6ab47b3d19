//! What a machine can check of the house rules. Each check says what is wrong, where, and which rule it breaks.

mod arrows;
mod deny;
mod pages;
mod sources;

use std::{fs, path::Path};

use anyhow::Context;

use crate::graph::Graph;

/// Runs every check; empty: all is well.
pub(crate) fn run() -> anyhow::Result<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("read {name}"));
    let rules = deny::Rules::parse(&read("deny.toml")?)?;
    let graph = Graph::load(rules.targets())?;

    let mut findings = arrows::check(&graph.members);
    findings.extend(pages::crates(&graph.members, &read("ARCHITECTURE.md")?));
    findings.extend(pages::dependencies(&read("Cargo.toml")?, &read("DESIGN.md")?, &graph)?);
    findings.extend(rules.bans(&graph.packages));
    findings.extend(rules.licences(&graph.packages)?);
    findings.extend(sources::check(&graph.root, &graph.members)?);
    Ok(findings)
}
