//! Faults on demand. A build that has them does nothing unless it is told which.

use anyhow::{Result, bail};
use pushpull_store_postgres::faults::{self as postgres, Fault};
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
        Ok("positions-before-the-lock") => {
            postgres::commit(Fault::PositionsBeforeTheLock);
            "this server gives positions before it has the lock: readers miss messages"
        }
        Ok("no-fencing") => {
            postgres::commit(Fault::NoFencing);
            "this server does not ask whose an application is: what it was to bring it brings, whoever has it now"
        }
        Ok("notices-ignored") => {
            postgres::commit(Fault::NoticesIgnored);
            "this server does not hear what PostgreSQL warns of: what it says cannot be relied on"
        }
        Ok("stale-endpoints") => {
            postgres::commit(Fault::StaleEndpoints);
            "this server takes messages in by endpoints as they were: new ones miss some"
        }
        _ => bail!(
            "this build is faulty on purpose (feature `faults`), and does nothing unless {VARIABLE} names how"
        ),
    };
    eprintln!("{told}");
    Ok(())
}
