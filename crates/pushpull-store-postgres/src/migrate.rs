//! Versioned migrations: forward only, each in one transaction, one node at a time.
//!
//! A migration only adds what the version before it can do without, so that nodes of that version go on working while
//! the first of the new one starts.

use aws_lc_rs::digest;
use pushpull_store::Error;

use crate::{fault::Fault, pool::Conn};

/// Every migration, in order. Never changed once released: the next one is added.
const MIGRATIONS: &[&str] =
    &[include_str!("../migrations/0001_first.sql"), include_str!("../migrations/0002_open_fewer_days.sql")];

/// Held while migrating, so that of nodes that start at once one migrates and the others wait: an arbitrary number.
pub(crate) const LOCK: i64 = 0x7075_7368_7075_6c6c;

/// So often a migration begins that others are in the way of.
const TRIES_MAX: u32 = 10;

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
                add(conn, version, sql, checksum.as_ref()).await?;
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

/// Takes one step. Nodes of the version before are at work: where their locks and ours cross, it begins anew.
async fn add(conn: &Conn, version: i32, sql: &str, checksum: &[u8]) -> Result<(), Fault> {
    let mut tries = 1;
    loop {
        match try_to_add(conn, version, sql, checksum).await {
            Err(fault) if fault.is_collision() && tries < TRIES_MAX => {
                conn.batch("ROLLBACK").await?;
                tries += 1;
            }
            added => return added,
        }
    }
}

async fn try_to_add(conn: &Conn, version: i32, sql: &str, checksum: &[u8]) -> Result<(), Fault> {
    conn.batch("BEGIN").await?;
    conn.batch(sql).await?;
    let added = "INSERT INTO schema_version (version, checksum) VALUES ($1, $2)";
    conn.execute(added, &[&version, &checksum]).await?;
    conn.batch("COMMIT").await
}

fn refused(what: String) -> Fault {
    Error::Foreign(what).into()
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio_postgres::{Client, NoTls};

    use super::*;
    use crate::connect::{Connector, Purpose};

    const FIRST: &str = "CREATE TABLE one (a integer); CREATE TABLE two (a integer)";
    const SECOND: &str = "ALTER TABLE one ADD COLUMN b integer; ALTER TABLE two ADD COLUMN b integer";

    async fn migrated() -> (Conn, String) {
        let url = pushpull_testkit::new_database();
        let conn = Conn::open(&Connector::new(&url, Purpose::Writing).unwrap()).await.unwrap();
        run_all(&conn, &[FIRST]).await.unwrap();
        (conn, url)
    }

    async fn columns(conn: &Conn) -> i64 {
        let sql = "SELECT count(*) FROM information_schema.columns WHERE table_name IN ('one', 'two')";
        conn.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn connect(url: &str, tasks: &mut JoinSet<Result<(), tokio_postgres::Error>>) -> Client {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tasks.spawn(connection);
        client
    }

    /// Until somebody waits for a lock of this kind.
    async fn until_waiting(client: &Client, kind: &str) {
        let sql = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE datname = current_database() AND locktype = $1 AND NOT granted)";
        while !client.query_one(sql, &[&kind]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_nothing_of_itself() {
        let (conn, url) = migrated().await;
        assert!(
            run_all(&conn, &[FIRST, "ALTER TABLE one ADD COLUMN b integer; SELECT 1 / 0"]).await.is_err()
        );
        drop(conn);
        let conn = Conn::open(&Connector::new(&url, Purpose::Writing).unwrap()).await.unwrap();
        assert_eq!(columns(&conn).await, 2);
        run_all(&conn, &[FIRST, SECOND]).await.unwrap();
        assert_eq!(columns(&conn).await, 4);
        run_all(&conn, &[FIRST, SECOND]).await.unwrap();
        assert!(run_all(&conn, &[FIRST]).await.is_err(), "it is of a newer program");
        assert!(run_all(&conn, &[SECOND, FIRST]).await.is_err(), "it is of another program");
    }

    /// Of those who wait for each other one gives up who looks for that, once, after it has begun to wait: here the
    /// step, which is the last to begin.
    #[tokio::test]
    async fn a_step_that_meets_those_at_work_begins_anew() {
        const SECOND: &str = "ALTER TABLE one ADD COLUMN b integer; SELECT pg_advisory_xact_lock(42);
                              ALTER TABLE two ADD COLUMN b integer";
        let (conn, url) = migrated().await;
        let mut tasks = JoinSet::new();
        let (mut other, gate) = (connect(&url, &mut tasks).await, connect(&url, &mut tasks).await);
        other.batch_execute("SET deadlock_timeout = '10min'").await.unwrap();
        gate.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
        let at_work = async {
            let work = other.transaction().await.unwrap();
            work.batch_execute("INSERT INTO two VALUES (1)").await.unwrap();
            until_waiting(&gate, "advisory").await;
            let open = async {
                until_waiting(&gate, "relation").await;
                gate.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
            };
            let (worked, ()) = tokio::join!(work.batch_execute("INSERT INTO one VALUES (1)"), open);
            worked.unwrap();
            work.commit().await.unwrap();
        };
        let (stepped, ()) = tokio::join!(run_all(&conn, &[FIRST, SECOND]), at_work);
        stepped.unwrap();
        assert_eq!(columns(&conn).await, 4);
    }
}
