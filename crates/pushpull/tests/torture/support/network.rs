//! A test once more, in a network of its own.

use std::ffi::OsStr;

use tokio::process::Command;

use super::variable;

/// Set for the process inside.
const INSIDE: &str = "PUSHPULL_TORTURE_INSIDE";

/// Whether this is the process inside.
pub(crate) fn is_inside() -> bool {
    variable(INSIDE).is_some()
}

/// Runs one test of this program in a network that has nothing yet, after a script has made what it wants of it and of
/// the mounts, which are its own too. The script is given `word` as `$0` and ends with `exec "$@"`.
pub(crate) async fn run_inside(test: &str, script: &str, word: impl AsRef<OsStr>) {
    let mut network = Command::new("unshare");
    network.args(["--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        network.arg("--map-root-user");
    }
    network.args(["sh", "-c", script]).arg(word).arg(std::env::current_exe().unwrap());
    network.args(["--exact", test, "--nocapture"]).env(INSIDE, "yes").kill_on_drop(true);
    let ended = network.status().await.unwrap();
    assert!(ended.success(), "in a network of its own, which takes root or user namespaces: {ended}");
}
