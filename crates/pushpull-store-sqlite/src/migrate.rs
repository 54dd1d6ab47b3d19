//! Versioned migrations: forward only, each in one transaction, so that a kill at any instruction leaves the
//! version before or the version after.

use aws_lc_rs::digest;
use pushpull_store::Error;
use rusqlite::{Connection, OptionalExtension, params};

use crate::fault::Fault;

/// Every migration, in order. Never changed once released: the next one is added.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_first.sql")];

/// Brings a store to the newest version.
pub(crate) fn run(conn: &mut Connection) -> Result<(), Fault> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (
             version INTEGER PRIMARY KEY, checksum BLOB NOT NULL
         ) STRICT",
    )?;
    for (version, sql) in (1_i64..).zip(MIGRATIONS) {
        let checksum = digest::digest(&digest::SHA256, sql.as_bytes());
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let known: Option<Vec<u8>> = tx
            .query_row("SELECT checksum FROM schema_version WHERE version = ?1", [version], |row| row.get(0))
            .optional()?;
        match known {
            Some(known) if known == checksum.as_ref() => {}
            Some(_) => {
                return Err(refused(format!("migration {version} is another one than this program's")));
            }
            None => {
                tx.execute_batch(sql)?;
                tx.execute(
                    "INSERT INTO schema_version (version, checksum) VALUES (?1, ?2)",
                    params![version, checksum.as_ref()],
                )?;
                tracing::info!(version, "migrated the store");
            }
        }
        tx.commit()?;
    }
    let newest: i64 = conn.query_row("SELECT max(version) FROM schema_version", [], |row| row.get(0))?;
    if newest > MIGRATIONS.len() as i64 {
        return Err(refused(format!("it was written by a newer program (version {newest})")));
    }
    Ok(())
}

fn refused(what: String) -> Fault {
    Error::Inconsistent { table: "schema_version", row: "-".into(), what }.into()
}
