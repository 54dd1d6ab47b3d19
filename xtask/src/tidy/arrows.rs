//! The arrows: which crate may import which. ARCHITECTURE.md draws them, this table is checked.

use crate::graph::Member;

/// What a crate may import of ours, and the rule that keeps the rest away.
struct Row {
    name: &'static str,
    may: &'static [&'static str],
    rule: &'static str,
}

const ROWS: &[Row] = &[
    Row { name: "pushpull-domain", may: &[], rule: "the vocabulary imports nothing of ours" },
    Row {
        name: "pushpull-store",
        may: &["pushpull-domain"],
        rule: "a port knows the vocabulary alone, no driver and no other port",
    },
    Row {
        name: "pushpull-store-sqlite",
        may: &["pushpull-domain", "pushpull-store"],
        rule: "a backend knows the port it fills, and nothing that stands on it",
    },
    Row {
        name: "pushpull-store-postgres",
        may: &["pushpull-domain", "pushpull-store"],
        rule: "a backend knows the port it fills, and nothing that stands on it",
    },
    Row {
        name: "pushpull-net",
        may: &["pushpull-domain"],
        rule: "a port knows the vocabulary alone, no driver and no other port",
    },
    Row {
        name: "pushpull-send",
        may: &["pushpull-domain", "pushpull-store", "pushpull-net"],
        rule: "a quadrant knows the ports, no backend, no face and no other quadrant",
    },
    Row {
        name: "pushpull-feed",
        may: &["pushpull-domain", "pushpull-store"],
        rule: "a quadrant knows the ports, no backend, no face and no other quadrant; reading calls nobody",
    },
    Row {
        name: "pushpull-api",
        may: &["pushpull-domain", "pushpull-store", "pushpull-net", "pushpull-send", "pushpull-feed"],
        rule: "a face knows the ports and the quadrants, no backend and no other face",
    },
    Row {
        name: "pushpull",
        may: &[
            "pushpull-domain",
            "pushpull-store",
            "pushpull-store-sqlite",
            "pushpull-store-postgres",
            "pushpull-net",
            "pushpull-send",
            "pushpull-feed",
            "pushpull-api",
        ],
        rule: "the binary wires everything that is shipped, and nothing that is not",
    },
    Row {
        name: "pushpull-testkit",
        may: &[
            "pushpull-domain",
            "pushpull-store",
            "pushpull-store-sqlite",
            "pushpull-store-postgres",
            "pushpull-net",
        ],
        rule: "the test kit serves the quadrants and faces, so it stands below them",
    },
    Row { name: "xtask", may: &[], rule: "a tool looks at the tree and is no part of it" },
];

/// What tests may import besides.
const FOR_TESTS: &[&str] = &["pushpull-testkit", "pushpull-store-sqlite"];

pub(crate) fn check(members: &[Member]) -> Vec<String> {
    let mut findings = Vec::new();
    for member in members {
        let Some(row) = ROWS.iter().find(|row| row.name == member.name) else {
            findings.push(format!(
                "{}: has no row in the table of arrows (xtask/src/tidy/arrows.rs)",
                member.name
            ));
            continue;
        };
        for import in &member.imports {
            let name = import.name.as_str();
            let allowed = row.may.contains(&name) || (import.dev && FOR_TESTS.contains(&name));
            if !allowed {
                let kind = if import.dev { "for its tests " } else { "" };
                findings.push(format!("{} {kind}imports {name}: {}", row.name, row.rule));
            }
        }
    }
    for row in ROWS.iter().filter(|row| members.iter().all(|member| member.name != row.name)) {
        findings.push(format!("{}: is in the table of arrows, but not in the workspace", row.name));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Import;

    fn workspace() -> Vec<Member> {
        ROWS.iter().map(|row| Member { name: row.name.into(), ..Member::default() }).collect()
    }

    /// What is said when a crate imports another.
    fn said(name: &str, import: &str, dev: bool) -> Vec<String> {
        let mut members = workspace();
        let member = members.iter_mut().find(|member| member.name == name).unwrap();
        member.imports.push(Import { name: import.into(), dev });
        check(&members)
    }

    #[test]
    fn a_backend_is_named_by_the_binary_and_by_tests_alone() {
        assert_eq!(said("pushpull", "pushpull-store-sqlite", false), [""; 0]);
        assert_eq!(said("pushpull-send", "pushpull-store-sqlite", true), [""; 0]);
        assert_eq!(
            said("pushpull-send", "pushpull-store-sqlite", false),
            ["pushpull-send imports pushpull-store-sqlite: \
              a quadrant knows the ports, no backend, no face and no other quadrant"]
        );
    }

    #[test]
    fn an_arrow_that_points_up_is_refused_even_in_tests() {
        assert_eq!(
            said("pushpull-net", "pushpull-send", true),
            ["pushpull-net for its tests imports pushpull-send: \
              a port knows the vocabulary alone, no driver and no other port"]
        );
        assert_eq!(said("pushpull", "pushpull-testkit", false).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_told() {
        let mut members = workspace();
        members[0].name = "pushpull-new".into();
        let findings = check(&members);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("pushpull-new: has no row"));
        assert!(findings[1].starts_with("pushpull-domain: is in the table of arrows, but not"));
    }
}
