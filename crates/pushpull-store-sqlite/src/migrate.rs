//! Versioned migrations: forward only, each in one transaction, so that a kill at any instruction leaves the
//! version before or the version after.

use aws_lc_rs::digest;
use pushpull_store::Error;
use rusqlite::{Connection, OptionalExtension, params};

use crate::fault::Fault;

/// Every migration, in order. Never changed once released: the next one is added.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_feed.sql"),
    include_str!("../migrations/0003_poller_token.sql"),
    include_str!("../migrations/0004_batches.sql"),
    include_str!("../migrations/0005_recoveries.sql"),
];

/// Brings a store to the newest version.
pub(crate) fn run(conn: &mut Connection) -> Result<(), Fault> {
    run_all(conn, MIGRATIONS)
}

fn run_all(conn: &mut Connection, migrations: &[&str]) -> Result<(), Fault> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (
             version INTEGER PRIMARY KEY, checksum BLOB NOT NULL
         ) STRICT",
    )?;
    for (version, sql) in (1_i64..).zip(migrations) {
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
    if newest > migrations.len() as i64 {
        return Err(refused(format!("it was written by a newer program (version {newest})")));
    }
    Ok(())
}

fn refused(what: String) -> Fault {
    Error::Foreign(what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(conn: &Connection, sql: &str) -> Vec<String> {
        let mut query = conn.prepare(sql).unwrap();
        query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// All there is, as it would be written again.
    fn dump(conn: &Connection) -> Vec<String> {
        let mut all = texts(conn, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
        all.extend(texts(conn, "SELECT version || hex(checksum) FROM schema_version"));
        all
    }

    #[test]
    fn a_migration_that_fails_half_way_leaves_the_version_before() {
        let mut conn = Connection::open_in_memory().unwrap();
        run_all(&mut conn, MIGRATIONS).unwrap();
        let before = dump(&conn);
        let broken =
            [MIGRATIONS, &["CREATE TABLE half (x); INSERT INTO half VALUES (1); SELECT no_such_thing"]];
        for _ in 0..2 {
            assert!(run_all(&mut conn, &broken.concat()).is_err());
            assert!(conn.is_autocommit());
            assert_eq!(dump(&conn), before);
        }
        let mended = [MIGRATIONS, &["CREATE TABLE whole (x)"]].concat();
        for _ in 0..2 {
            run_all(&mut conn, &mended).unwrap();
            assert_eq!(dump(&conn).len(), before.len() + 2, "once, however often it is run");
        }
    }

    #[test]
    fn a_store_of_a_newer_or_another_program_is_refused_by_name() {
        let mut conn = Connection::open_in_memory().unwrap();
        run_all(&mut conn, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
        let before = dump(&conn);
        let refused = |result: Result<(), Fault>| Error::from(result.unwrap_err()).to_string();
        assert_eq!(
            refused(run_all(&mut conn, &["CREATE TABLE a (x)"])),
            "the store is not one of this program: it was written by a newer program (version 2)"
        );
        assert_eq!(
            refused(run_all(&mut conn, &["CREATE TABLE other (x)", "CREATE TABLE b (x)"])),
            "the store is not one of this program: migration 1 is another one than this program's"
        );
        assert_eq!(dump(&conn), before);
    }
}
