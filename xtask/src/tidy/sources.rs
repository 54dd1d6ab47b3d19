//! The source files: none too long, and no test that sleeps or is skipped.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::graph::Member;

/// Most lines of a file under `src`: past that it holds more than one idea.
const LINES_MAX: usize = 600;

pub(crate) fn check(root: &Path, members: &[Member]) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for member in members {
        for part in ["src", "tests"] {
            let mut files = Vec::new();
            rust_files(&root.join(&member.folder).join(part), &mut files)?;
            files.sort();
            for file in files {
                let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
                let place = file.strip_prefix(root).unwrap_or(&file).display().to_string();
                findings.extend(length(&place, &text).filter(|_| part == "src"));
                findings.extend(in_tests(&place, &text));
            }
        }
    }
    Ok(findings)
}

/// All files of a folder and those below it; none if it does not exist.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn length(place: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX)
        .then(|| format!("{place}: has {lines} lines, more than {LINES_MAX}: is this two ideas?"))
}

/// What tests must not do.
fn in_tests(place: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let start = test_code(place, &lines);
    let mut findings = Vec::new();
    for (n, line) in lines.iter().enumerate().skip(start).filter(|(_, line)| !line.starts_with("//")) {
        let place = format!("{place}:{}", n + 1);
        if line.contains("sleep(") {
            findings.push(format!("{place}: a test must wait for a state, not sleep"));
        }
        if line.starts_with("#[ignore") {
            findings.push(format!("{place}: a test that is skipped proves nothing"));
        }
    }
    findings
}

/// The first line of a file's test code: all of it in `tests.rs` and under `tests/`, else what follows
/// `#[cfg(test)] mod name {`, which by custom comes last.
fn test_code(place: &str, lines: &[&str]) -> usize {
    if place.ends_with("/tests.rs") || place.split('/').any(|folder| folder == "tests") {
        return 0;
    }
    let inline =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(inline).unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Put together here, so that the check does not find them in its own tests.
    const NAP: &str = concat!("thread::", "sleep", "(second);");
    const SKIP: &str = concat!("#[", "ignore = \"slow\"]");

    #[test]
    fn a_test_that_sleeps_is_told_wherever_it_stands() {
        let said = |place, text: &str| in_tests(place, text);
        let text = format!("fn f() {{\n    {NAP}\n}}\n");
        let wanted = |place| [format!("{place}:2: a test must wait for a state, not sleep")];
        assert_eq!(said("crates/a/tests/it/x.rs", &text), wanted("crates/a/tests/it/x.rs"));
        assert_eq!(said("crates/a/src/pool/tests.rs", &text), wanted("crates/a/src/pool/tests.rs"));
        assert_eq!(said("crates/a/src/pool.rs", &text), [""; 0]);
        let inline = format!("fn f() {{ {NAP} }}\n#[cfg(test)]\nmod tests {{\n    {NAP}\n}}\n");
        assert_eq!(
            said("crates/a/src/pool.rs", &inline),
            ["crates/a/src/pool.rs:4: a test must wait for a state, not sleep"]
        );
    }

    #[test]
    fn a_test_that_is_skipped_is_told() {
        let text = format!("#[test]\n{SKIP}\nfn f() {{}}\n// {SKIP}\n");
        assert_eq!(
            in_tests("crates/a/tests/it.rs", &text),
            ["crates/a/tests/it.rs:2: a test that is skipped proves nothing"]
        );
    }

    #[test]
    fn a_file_may_have_six_hundred_lines_and_no_more() {
        assert_eq!(length("a.rs", &"x\n".repeat(600)), None);
        assert!(length("a.rs", &"x\n".repeat(601)).unwrap().starts_with("a.rs: has 601 lines"));
    }
}
