//! What cargo resolved, as far as the checks need it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use anyhow::Context;
use cargo_metadata::{Metadata, MetadataCommand, Node, Package as Resolved, PackageId};

/// The workspace and everything that is built for it.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Where the workspace is.
    pub(crate) root: PathBuf,
    /// Its own crates.
    pub(crate) members: Vec<Member>,
    /// All crates, its own too.
    pub(crate) packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Relative to the root.
    pub(crate) folder: String,
    pub(crate) description: Option<String>,
    /// The workspace's crates that its manifest names.
    pub(crate) imports: Vec<Import>,
}

/// A line in a manifest.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) name: String,
    /// Under `[dev-dependencies]`.
    pub(crate) dev: bool,
}

/// A crate that is built.
#[derive(Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The licence expression; `None`: it states none.
    pub(crate) license: Option<String>,
    /// Who names it directly.
    pub(crate) used_by: BTreeSet<String>,
}

impl Graph {
    /// Asks cargo, for the platforms given.
    pub(crate) fn load(targets: &[String]) -> anyhow::Result<Self> {
        let mut options = vec!["--locked".to_owned()];
        options.extend(targets.iter().flat_map(|target| ["--filter-platform".into(), target.clone()]));
        let metadata =
            MetadataCommand::new().other_options(options).exec().context("run `cargo metadata`")?;
        Self::of(&metadata)
    }

    /// Whether a crate names another in its manifest.
    pub(crate) fn uses(&self, user: &str, used: &str) -> bool {
        self.packages.iter().any(|package| package.name == used && package.used_by.contains(user))
    }

    fn of(metadata: &Metadata) -> anyhow::Result<Self> {
        let resolve = metadata.resolve.as_ref().context("`cargo metadata` resolved nothing")?;
        let nodes: HashMap<&PackageId, &Node> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
        let mut used_by: BTreeMap<&PackageId, BTreeSet<String>> = BTreeMap::new();
        let mut waiting: Vec<&PackageId> = metadata.workspace_members.iter().collect();
        for member in &waiting {
            used_by.entry(member).or_default();
        }
        while let Some(id) = waiting.pop() {
            let package = &metadata[id];
            for used in used(package, nodes[id], metadata) {
                if !used_by.contains_key(used) {
                    waiting.push(used);
                }
                used_by.entry(used).or_default().insert(package.name.to_string());
            }
        }
        let packages = used_by.into_iter().map(|(id, used_by)| {
            let Resolved { name, version, license, .. } = &metadata[id];
            Package {
                name: name.to_string(),
                version: version.to_string(),
                license: license.clone(),
                used_by,
            }
        });
        Ok(Self {
            root: metadata.workspace_root.clone().into(),
            members: metadata
                .workspace_packages()
                .into_iter()
                .map(|package| member(package, metadata))
                .collect(),
            packages: packages.collect(),
        })
    }
}

fn member(package: &Resolved, metadata: &Metadata) -> Member {
    let folder = package
        .manifest_path
        .parent()
        .map(|folder| folder.strip_prefix(&metadata.workspace_root).unwrap_or(folder).to_string());
    let ours: BTreeSet<&str> =
        metadata.workspace_packages().into_iter().map(|package| package.name.as_str()).collect();
    let imports =
        package.dependencies.iter().filter(|dependency| ours.contains(dependency.name.as_str())).map(
            |dependency| Import {
                name: dependency.name.clone(),
                dev: dependency.kind == cargo_metadata::DependencyKind::Development,
            },
        );
    Member {
        name: package.name.to_string(),
        folder: folder.unwrap_or_default(),
        description: package.description.clone(),
        imports: imports.collect(),
    }
}

/// What a crate really uses.
///
/// `cargo metadata` also lists optional crates that only a weak feature (`ring?/std`) speaks of, and which
/// are never built. They are left out, as cargo-deny does.
fn used<'a>(
    package: &Resolved,
    node: &'a Node,
    metadata: &'a Metadata,
) -> impl Iterator<Item = &'a PackageId> {
    let active: Vec<&str> = node.features.iter().map(AsRef::as_ref).collect();
    node.deps.iter().map(|dependency| &dependency.pkg).filter(move |id| {
        let name = &metadata[*id].name;
        package.dependencies.iter().filter(|dependency| *name == dependency.name).any(|dependency| {
            let key = dependency.rename.as_deref().unwrap_or(&dependency.name);
            !dependency.optional || switches_on(&package.features, &active, key)
        })
    })
}

/// Whether one of the active features brings an optional dependency in.
fn switches_on(features: &BTreeMap<String, Vec<String>>, active: &[&str], key: &str) -> bool {
    active.iter().any(|name| {
        let parts = features.get(*name).map(Vec::as_slice).unwrap_or_default();
        *name == key
            || parts.iter().any(|part| match part.split_once('/') {
                Some((dependency, _)) => dependency == key,
                None => part.strip_prefix("dep:") == Some(key),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(feature: &str, switches: bool) {
        let features = BTreeMap::from([("tls".to_owned(), vec![feature.to_owned()])]);
        assert_eq!(switches_on(&features, &["tls"], "ring"), switches, "{feature}");
        assert!(!switches_on(&features, &[], "ring"), "{feature}, not active");
    }

    #[test]
    fn a_weak_feature_brings_nothing_in() {
        check("dep:ring", true);
        check("ring/std", true);
        check("ring?/std", false);
        check("dep:ring-core", false);
        check("std", false);
    }

    #[test]
    fn the_graph_has_this_crate_and_who_uses_what() {
        let graph = Graph::load(&["x86_64-unknown-linux-gnu".into()]).unwrap();
        let this = graph.members.iter().find(|member| member.name == "xtask").unwrap();
        assert_eq!((this.folder.as_str(), this.imports.len()), ("xtask", 0));
        let serde = graph.packages.iter().find(|package| package.name == "serde").unwrap();
        assert!(serde.used_by.contains("xtask"));
        assert!(serde.license.is_some());
    }
}
