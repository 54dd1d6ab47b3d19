//! Taking a partition away from its table, and dropping it, without holding anybody up.

use super::day::WAIT;
use crate::{connect::PATIENCE, fault::Fault, pool::Conn};

/// Detaches a day's partition of a table and drops it. Safe to repeat, wherever it was cut off.
///
/// Detaching waits for everyone who uses the table, and lets others use it meanwhile. If that takes too long it is left
/// half done, and finished the next time.
pub(super) async fn detach(conn: &Conn, table: &str, day: i32) -> Result<(), Fault> {
    conn.batch(&format!("SET lock_timeout = '{WAIT}'")).await?;
    let detached = detach_now(conn, table, day).await;
    conn.batch(PATIENCE).await?;
    detached
}

async fn detach_now(conn: &Conn, table: &str, day: i32) -> Result<(), Fault> {
    let pending = "SELECT inhdetachpending FROM pg_inherits
                   WHERE inhrelid = to_regclass($1) AND inhparent = to_regclass($2)";
    let pending = conn.query_opt(pending, &[&format!("{table}_{day}"), &table]).await?;
    if let Some(pending) = pending {
        let how = if pending.get(0) { "FINALIZE" } else { "CONCURRENTLY" };
        conn.batch(&format!("ALTER TABLE {table} DETACH PARTITION {table}_{day} {how}")).await?;
    }
    conn.batch(&format!("DROP TABLE IF EXISTS {table}_{day}")).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connect::{Connector, Purpose},
        pool::Pool,
    };

    async fn lock_timeout(conn: &Conn) -> String {
        conn.query_one("SHOW lock_timeout", &[]).await.unwrap().get(0)
    }

    /// The connection goes back to those who write, and who wait for others as long as they did before.
    #[tokio::test]
    async fn the_connection_is_left_as_it_was() {
        let url = pushpull_testkit::new_database();
        let writes = Pool::new(Connector::new(&url, Purpose::Writing).unwrap(), 1);
        let conn = writes.lend().await.unwrap();
        conn.batch("CREATE TABLE t (day integer) PARTITION BY LIST (day)").await.unwrap();
        conn.batch("CREATE TABLE t_7 PARTITION OF t FOR VALUES IN (7)").await.unwrap();
        let before = lock_timeout(&conn).await;
        assert_ne!(before, "0");
        detach(&conn, "t", 7).await.unwrap();
        assert_eq!(lock_timeout(&conn).await, before);
    }
}
