//! The bans and licences of `deny.toml`: one file is the truth, for cargo-deny and for this check.
//!
//! cargo-deny knows more (advisories, sources); this knows what must never wait for it to be installed.

use std::collections::BTreeSet;

use anyhow::Context;
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::graph::Package;

/// What is read of `deny.toml`.
#[derive(Debug, Deserialize)]
pub(crate) struct Rules {
    graph: Platforms,
    bans: Bans,
    licenses: Licences,
}

#[derive(Debug, Deserialize)]
struct Platforms {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

/// A crate that nobody may use, or only its wrappers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    wrappers: Vec<String>,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// Licences that one crate may have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

impl Rules {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).context("parse deny.toml")
    }

    /// The platforms that pushpull is built for.
    pub(crate) fn targets(&self) -> &[String] {
        &self.graph.targets
    }

    /// Who uses what is banned, and which wrapper has no part in it any more.
    pub(crate) fn bans(&self, packages: &[Package]) -> Vec<String> {
        let mut findings = Vec::new();
        for Ban { name, wrappers, reason } in &self.bans.deny {
            let used_by: BTreeSet<&String> = packages
                .iter()
                .filter(|package| package.name == *name)
                .flat_map(|package| &package.used_by)
                .collect();
            for user in &used_by {
                if !wrappers.contains(user) {
                    findings.push(format!("{user} uses {name}: {reason} (deny.toml)"));
                }
            }
            for wrapper in wrappers.iter().filter(|wrapper| !used_by.contains(wrapper)) {
                findings.push(format!("deny.toml: {wrapper} may use {name}, but does not"));
            }
        }
        findings
    }

    /// Whose licence is not allowed, and which allowance nobody needs.
    pub(crate) fn licences(&self, packages: &[Package]) -> anyhow::Result<Vec<String>> {
        let mut findings = Vec::new();
        let mut named = BTreeSet::new();
        for package in packages {
            let Package { name, version, license, .. } = package;
            let Some(license) = license else {
                findings.push(format!("{name} {version}: states no licence"));
                continue;
            };
            let expression = Expression::parse_mode(license, ParseMode::LAX)
                .with_context(|| format!("parse the licence of {name} {version}, `{license}`"))?;
            named.extend(expression.requirements().map(|part| part.req.to_string()));
            if !expression.evaluate(|part| self.allows(name, &part.to_string())) {
                findings.push(format!(
                    "{name} {version}: its licence `{license}` is not among those in deny.toml"
                ));
            }
        }
        for idle in self.licenses.allow.iter().filter(|licence| !named.contains(*licence)) {
            findings.push(format!("deny.toml: {idle} is allowed, but no crate has it"));
        }
        for Exception { name, .. } in &self.licenses.exceptions {
            if packages.iter().all(|package| package.name != *name) {
                findings.push(format!("deny.toml: {name} has licences of its own, but is not used"));
            }
        }
        Ok(findings)
    }

    fn allows(&self, package: &str, licence: &str) -> bool {
        let own = self.licenses.exceptions.iter().filter(|exception| exception.name == package);
        let own = own.flat_map(|exception| &exception.allow);
        self.licenses.allow.iter().chain(own).any(|allowed| allowed == licence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [graph]
        targets = ["x86_64-unknown-linux-gnu"]
        [bans]
        multiple-versions = "warn"
        deny = [
            { crate = "ring", reason = "one crypto provider" },
            { crate = "axum", wrappers = ["pushpull-api"], reason = "a web framework is a face's" },
        ]
        [licenses]
        allow = ["MIT", "ISC"]
        exceptions = [{ crate = "roots", allow = ["CDLA-Permissive-2.0"] }]
    "#;

    fn package(name: &str, license: &str, used_by: &[&str]) -> Package {
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: Some(license.into()),
            used_by: used_by.iter().map(|&user| user.to_owned()).collect(),
        }
    }

    #[test]
    fn a_banned_crate_is_told_with_its_user_and_the_reason() {
        let rules = Rules::parse(RULES).unwrap();
        let packages = [
            package("ring", "MIT", &["hickory-proto"]),
            package("axum", "MIT", &["pushpull-api", "pushpull-send"]),
        ];
        assert_eq!(
            rules.bans(&packages),
            [
                "hickory-proto uses ring: one crypto provider (deny.toml)",
                "pushpull-send uses axum: a web framework is a face's (deny.toml)",
            ]
        );
    }

    #[test]
    fn a_wrapper_that_wraps_nothing_is_told() {
        let rules = Rules::parse(RULES).unwrap();
        assert_eq!(rules.bans(&[]), ["deny.toml: pushpull-api may use axum, but does not"]);
    }

    #[test]
    fn a_ban_without_a_reason_is_refused() {
        let without = RULES.replace(r#", reason = "one crypto provider""#, "");
        let error = Rules::parse(&without).unwrap_err();
        assert!(format!("{error:#}").contains("missing field `reason`"), "{error:#}");
    }

    #[test]
    fn a_licence_must_be_allowed_whole_or_by_one_of_its_choices() {
        let rules = Rules::parse(RULES).unwrap();
        let packages = [
            package("either", "GPL-3.0-only OR MIT", &[]),
            package("old-style", "ISC/Apache-2.0", &[]),
            package("both", "MIT AND Zlib", &[]),
            package("roots", "CDLA-Permissive-2.0", &[]),
            package("other-roots", "CDLA-Permissive-2.0", &[]),
        ];
        assert_eq!(
            rules.licences(&packages).unwrap(),
            [
                "both 1.0.0: its licence `MIT AND Zlib` is not among those in deny.toml",
                "other-roots 1.0.0: its licence `CDLA-Permissive-2.0` is not among those in deny.toml",
            ]
        );
    }

    #[test]
    fn a_missing_licence_and_an_idle_allowance_are_told() {
        let rules = Rules::parse(RULES).unwrap();
        let mut nameless = package("nameless", "", &[]);
        nameless.license = None;
        assert_eq!(
            rules.licences(&[nameless, package("mine", "MIT", &[])]).unwrap(),
            [
                "nameless 1.0.0: states no licence",
                "deny.toml: ISC is allowed, but no crate has it",
                "deny.toml: roots has licences of its own, but is not used",
            ]
        );
    }
}
