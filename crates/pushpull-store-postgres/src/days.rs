//! Days and their partitions.

use std::sync::atomic::{AtomicI32, Ordering};

use pushpull_domain::Timestamp;

use crate::{Db, fault::Fault, migrate, pool::Conn, tx::unsure};

pub(crate) const DAY_MILLIS: i64 = 24 * 3_600_000;
/// The tables that lie in partitions.
pub(crate) const PARTITIONED: [&str; 3] = ["message", "delivery", "attempt"];

/// The day of a moment, counted from the Unix epoch.
pub(crate) fn day_of(at: Timestamp) -> i32 {
    at.as_millis().div_euclid(DAY_MILLIS) as i32
}

/// The days on which what was made at a moment may have been written, first the likely ones: never an earlier day, and
/// a much later one only where clocks differ or somebody wrote late.
pub(crate) fn days_of(at: Timestamp) -> [(i32, i32); 2] {
    let day = day_of(at);
    [(day, day.saturating_add(1)), (day.saturating_add(2), i32::MAX)]
}

/// The newest day that this node knows of.
#[derive(Default)]
pub(crate) struct Newest(AtomicI32);

impl Newest {
    /// It may be newer by now.
    pub(crate) fn get(&self) -> i32 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn learn(&self, day: i32) {
        self.0.fetch_max(day, Ordering::SeqCst);
    }
}

impl Db {
    /// The day to write to at a moment, opened if it is not yet; a newer one if another node was ahead.
    pub(crate) async fn open_day(&self, at: Timestamp) -> Result<i32, Fault> {
        let day = day_of(at);
        if day > self.newest_day.get() {
            self.open_day_now(day).await?;
        }
        Ok(self.newest_day.get())
    }

    /// Asks which day is the newest, and opens one if that is older.
    pub(crate) async fn open_day_now(&self, day: i32) -> Result<(), Fault> {
        let conn = self.writes.lend().await?;
        let newest = async || {
            let row = conn.query_one("SELECT max(day) FROM open_day", &[]).await?;
            Ok::<_, Fault>(row.get::<_, Option<i32>>(0).unwrap_or(0))
        };
        if newest().await? < day {
            conn.batch("BEGIN").await?;
            let opened = async {
                conn.execute("SELECT pg_advisory_xact_lock($1)", &[&migrate::LOCK]).await?;
                if newest().await? < day {
                    make(&conn, day).await?;
                    conn.execute("INSERT INTO open_day (day) VALUES ($1)", &[&day]).await?;
                }
                conn.batch("COMMIT").await
            };
            let warnings = conn.warnings();
            let opened = opened.await;
            if opened.is_err() || conn.warnings() != warnings {
                conn.discard();
                return opened.and(Err(unsure().into()));
            }
        }
        self.newest_day.learn(newest().await?);
        Ok(())
    }

    /// Makes a day's partitions ahead of time, so that who writes first on it does not wait for them.
    pub(crate) async fn make_day(&self, day: i32) -> Result<(), Fault> {
        if day <= self.made_day.get() {
            return Ok(());
        }
        let conn = self.writes.lend().await?;
        conn.batch("BEGIN").await?;
        let made = async {
            conn.execute("SELECT pg_advisory_xact_lock($1)", &[&migrate::LOCK]).await?;
            make(&conn, day).await?;
            conn.batch("COMMIT").await
        };
        if let Err(fault) = made.await {
            conn.discard();
            return Err(fault);
        }
        self.made_day.learn(day);
        Ok(())
    }
}

/// Makes a day's partitions if they are not there yet; who asks holds the lock for it.
pub(crate) async fn make(conn: &Conn, day: i32) -> Result<(), Fault> {
    if conn.query_opt("SELECT FROM made_day WHERE day = $1", &[&day]).await?.is_none() {
        conn.batch(&partitions(day)).await?;
    }
    Ok(())
}

/// Makes a day's partitions. Attached, not made in place: that would have to wait for everyone who reads the table.
fn partitions(day: i32) -> String {
    let tables = PARTITIONED.map(|table| {
        format!(
            "CREATE TABLE {table}_{day} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE, CHECK (day = {day}));
             ALTER TABLE {table} ATTACH PARTITION {table}_{day} FOR VALUES IN ({day});
             ALTER TABLE {table}_{day} DROP CONSTRAINT {table}_{day}_day_check;\n"
        )
    });
    tables.concat() + &format!("INSERT INTO made_day (day) VALUES ({day});")
}
