//! Faults on demand. A build that has them does nothing unless it is told which.

use anyhow::{Result, bail};
use pushpull_store_sqlite::faults;

/// Not one of `PUSHPULL_*`: it is no setting.
const VARIABLE: &str = "FAULTY_PUSHPULL";

/// Commits the fault that the environment names.
#[expect(clippy::disallowed_methods, reason = "no setting: an ordinary build knows nothing of it")]
#[expect(clippy::print_stderr, reason = "whoever starts such a build must see what it is")]
pub(crate) fn commit() -> Result<()> {
    let told = match std::env::var(VARIABLE).as_deref() {
        Ok("acknowledge-before-commit") => {
            faults::acknowledge_early();
            "this server acknowledges before it commits: what it says cannot be relied on"
        }
        Ok("delay-commits") => {
            faults::delay_commits(std::process::id().into());
            "this server commits late on purpose"
        }
        _ => bail!(
            "this build is faulty on purpose (feature `faults`), and does nothing unless {VARIABLE} names how"
        ),
    };
    eprintln!("{told}");
    Ok(())
}
