//! Debian's Chromium, without a window.

use std::{io::ErrorKind, process::Stdio};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::eventually;

/// What keeps it to the one page: no sandbox, since tests may be run by root; nothing of the user's; no calls of its
/// own to anybody.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
];

/// The browser. Killed when it is dropped; its other processes end with the first.
pub(super) struct Chromium {
    child: Child,
    home: TempDir,
}

impl Chromium {
    /// Starts it with a page.
    pub(super) fn open(url: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let said = std::fs::File::create(home.path().join("said")).unwrap();
        let mut command = Command::new("chromium");
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", home.path().join("profile").display()))
            .arg(url)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs([("HOME", home.path()), ("TMPDIR", home.path())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .kill_on_drop(true);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("this test needs Chromium: ./scripts/test installs it, or `apt-get install chromium`")
            }
            Err(error) => panic!("Chromium does not start: {error}"),
        };
        Self { child, home }
    }

    /// Fails, with what it said, if it has ended.
    pub(super) fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            let said = std::fs::read_to_string(self.home.path().join("said")).unwrap();
            panic!("Chromium ended ({status}): {said}");
        }
    }

    /// Ends it, and removes what it wrote.
    pub(super) async fn end(mut self) {
        self.child.kill().await.unwrap();
        // Its other processes may still be at it.
        let home = self.home.keep();
        eventually("what the browser wrote is gone", async || std::fs::remove_dir_all(&home).ok()).await;
    }
}
