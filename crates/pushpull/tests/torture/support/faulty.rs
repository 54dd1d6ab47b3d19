//! The same program, built to be faulty: the control of a check, or late commits.

use std::{path::PathBuf, process::Stdio};

use tokio::{process::Command, time::Instant};

use super::{say, variable};

/// Without it, and a fault to commit, such a build refuses to start.
pub(crate) const VARIABLE: &str = "FAULTY_PUSHPULL";
/// The fault that loses what it acknowledged.
pub(crate) const ACKNOWLEDGE_EARLY: &str = "acknowledge-before-commit";
/// The fault that loses nothing: commits come late, and who waits is told of them late.
pub(crate) const DELAY_COMMITS: &str = "delay-commits";

/// Names a fault that a test is to be run with: then it must fail.
const WANTED: &str = "PUSHPULL_TORTURE_FAULT";

/// The fault that a test is to be run with.
pub(crate) fn wanted() -> Option<String> {
    variable(WANTED)
}

/// Builds it beside the real one, from the same sources. All but the two crates with the fault, and what stands
/// on them, is shared with the other build.
pub(crate) async fn build() -> PathBuf {
    let started = Instant::now();
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked", "--package", "pushpull", "--features", "faults"])
        .arg("--target-dir")
        .arg(target.join("faulty"))
        .env("CARGO_BUILD_BUILD_DIR", &target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    let built = cargo.output().await.unwrap();
    assert!(built.status.success(), "no faulty build: {}", String::from_utf8_lossy(&built.stderr));
    say(format!("the faulty program was built in {:?}", started.elapsed()));
    target.join("faulty/debug/pushpull")
}
