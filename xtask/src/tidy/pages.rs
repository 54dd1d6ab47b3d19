//! The pages that name crates: ARCHITECTURE.md's codemap and DESIGN.md's table of dependencies.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde::Deserialize;

use crate::graph::{Graph, Member};

/// Folder = crate name, each crate says what it is, and the codemap has a row for each and for no other.
pub(crate) fn crates(members: &[Member], architecture: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let rows = rows(architecture, "## Codemap");
    for Member { name, folder, description, .. } in members {
        let wanted = if name.starts_with("pushpull") { format!("crates/{name}") } else { name.clone() };
        if *folder != wanted {
            findings.push(format!("{name}: is in {folder}, not in {wanted}: a folder has its crate's name"));
        }
        if description.as_deref().unwrap_or_default().is_empty() {
            findings.push(format!("{name}: its manifest has no description"));
        }
        if !rows.contains(name.as_str()) {
            findings.push(format!("{name}: has no row in ARCHITECTURE.md, \"Codemap\""));
        }
    }
    for row in rows.iter().filter(|row| members.iter().all(|member| member.name != **row)) {
        findings.push(format!("ARCHITECTURE.md, \"Codemap\": there is no crate {row}"));
    }
    findings
}

#[derive(Deserialize)]
struct Manifest {
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    dependencies: BTreeMap<String, toml::Value>,
}

/// Each dependency on others has a row that says why and a crate that uses it, and each row a dependency.
pub(crate) fn dependencies(manifest: &str, design: &str, graph: &Graph) -> anyhow::Result<Vec<String>> {
    let manifest: Manifest = toml::from_str(manifest).context("parse Cargo.toml")?;
    let is_ours = |value: &toml::Value| value.get("path").is_some();
    let named: BTreeSet<&str> = manifest
        .workspace
        .dependencies
        .iter()
        .filter(|(_, value)| !is_ours(value))
        .map(|(name, _)| name.as_str())
        .collect();
    let rows = rows(design, "## Dependencies");
    let without_row =
        named.difference(&rows).map(|name| format!("{name}: has no row in DESIGN.md, \"Dependencies\""));
    let without_dependency =
        rows.difference(&named).map(|name| format!("DESIGN.md, \"Dependencies\": nothing needs {name}"));
    let without_use = named
        .iter()
        .filter(|name| !graph.members.iter().any(|member| graph.uses(&member.name, name)))
        .map(|name| format!("{name}: stands in [workspace.dependencies], and no crate uses it"));
    Ok(without_row.chain(without_dependency).chain(without_use).collect())
}

/// The names that a section's tables have in their first column, as `code`.
fn rows<'a>(page: &'a str, heading: &str) -> BTreeSet<&'a str> {
    let level = heading.split(' ').next().unwrap_or_default();
    page.lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| line.split(' ').next() != Some(level))
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Package;

    const PAGE: &str = "# Page\n\n| `before` | x |\n\n## Codemap\n\n| crate | what |\n|---|---|\n\
                        | `pushpull-net` | the way out |\n### More\n| `xtask` | checks |\n\n## Next\n| `after` | x |\n";

    fn member(name: &str, folder: &str) -> Member {
        Member { name: name.into(), folder: folder.into(), description: Some("It.".into()), imports: vec![] }
    }

    #[test]
    fn a_tidy_crate_is_in_its_folder_described_and_on_the_map() {
        let members = [member("pushpull-net", "crates/pushpull-net"), member("xtask", "xtask")];
        assert_eq!(crates(&members, PAGE), [""; 0]);
    }

    #[test]
    fn a_crate_that_is_misplaced_unnamed_or_off_the_map_is_told() {
        let mut stray = member("pushpull-new", "crates/new");
        stray.description = None;
        let members = [stray, member("pushpull-net", "crates/pushpull-net"), member("xtask", "xtask")];
        assert_eq!(
            crates(&members, PAGE),
            [
                "pushpull-new: is in crates/new, not in crates/pushpull-new: a folder has its crate's name",
                "pushpull-new: its manifest has no description",
                "pushpull-new: has no row in ARCHITECTURE.md, \"Codemap\"",
            ]
        );
    }

    #[test]
    fn a_row_of_a_crate_that_is_gone_is_told() {
        assert_eq!(
            crates(&[member("xtask", "xtask")], PAGE),
            ["ARCHITECTURE.md, \"Codemap\": there is no crate pushpull-net"]
        );
    }

    #[test]
    fn dependencies_and_their_rows_are_compared_both_ways() {
        let manifest =
            "[workspace.dependencies]\nours = { path = \"crates/ours\" }\nbytes = \"1\"\nurl = \"2\"\n";
        let used = |name: &str| Package {
            name: name.into(),
            used_by: ["pushpull-net".to_owned()].into(),
            ..Package::default()
        };
        let graph = Graph {
            members: vec![member("pushpull-net", "crates/pushpull-net")],
            packages: vec![used("bytes"), used("url")],
            ..Graph::default()
        };
        let design = "## Dependencies\n\n| `bytes` | payloads |\n| `time` | once |\n";
        assert_eq!(
            dependencies(manifest, design, &graph).unwrap(),
            [
                "url: has no row in DESIGN.md, \"Dependencies\"",
                "DESIGN.md, \"Dependencies\": nothing needs time",
            ]
        );
    }

    #[test]
    fn a_dependency_that_no_crate_uses_is_told() {
        let manifest = "[workspace.dependencies]\nurl = \"2\"\n";
        let design = "## Dependencies\n\n| `url` | addresses |\n";
        assert_eq!(
            dependencies(manifest, design, &Graph::default()).unwrap(),
            ["url: stands in [workspace.dependencies], and no crate uses it"]
        );
    }
}
