//! Versioned migrations: forward only, each in one transaction, one node at a time.
//!
//! A migration only adds what the version before it can do without, so that nodes of that version go on working while
//! the first of the new one starts.

use aws_lc_rs::digest;
use pushpull_store::Error;

use crate::{fault::Fault, pool::Conn};

/// Every migration, in order. Never changed once released: the next one is added.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_first.sql")];

/// Held while migrating, so that of nodes that start at once one migrates and the others wait: an arbitrary number.
pub(crate) const LOCK: i64 = 0x7075_7368_7075_6c6c;

/// Brings a store to the newest version.
pub(crate) async fn run(conn: &Conn) -> Result<(), Fault> {
    run_all(conn, MIGRATIONS).await
}

async fn run_all(conn: &Conn, migrations: &[&str]) -> Result<(), Fault> {
    conn.batch("SET lock_timeout = 0").await?;
    conn.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    let migrated = migrate(conn, migrations).await;
    if migrated.is_ok() {
        conn.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    }
    migrated
}

async fn migrate(conn: &Conn, migrations: &[&str]) -> Result<(), Fault> {
    conn.batch(
        "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, checksum bytea NOT NULL)",
    )
    .await?;
    for (version, sql) in (1_i32..).zip(migrations) {
        let checksum = digest::digest(&digest::SHA256, sql.as_bytes());
        let known =
            conn.query_opt("SELECT checksum FROM schema_version WHERE version = $1", &[&version]).await?;
        match known.map(|row| row.get::<_, Vec<u8>>(0)) {
            Some(known) if known == checksum.as_ref() => {}
            Some(_) => {
                return Err(refused(format!("migration {version} is another one than this program's")));
            }
            None => {
                conn.batch("BEGIN").await?;
                conn.batch(sql).await?;
                conn.execute(
                    "INSERT INTO schema_version (version, checksum) VALUES ($1, $2)",
                    &[&version, &checksum.as_ref()],
                )
                .await?;
                conn.batch("COMMIT").await?;
                tracing::info!(version, "migrated the store");
            }
        }
    }
    let newest: i32 = conn.query_one("SELECT max(version) FROM schema_version", &[]).await?.get(0);
    if newest as usize > migrations.len() {
        return Err(refused(format!("it was written by a newer program (version {newest})")));
    }
    Ok(())
}

fn refused(what: String) -> Fault {
    Error::Inconsistent { table: "schema_version", row: "-".into(), what }.into()
}
