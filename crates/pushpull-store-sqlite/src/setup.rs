//! How connections are set up.

use std::time::Duration;

use rusqlite::{Connection, limits::Limit};

/// Bytes of a page: 8 KiB save 14 % of space against 4 KiB at no cost to commits; 16 KiB commit slower.
pub(crate) const PAGE_SIZE: i64 = 8_192;
/// Prepared statements kept for each connection: more than there are.
const STATEMENTS: usize = 128;
/// Page cache of the writer, in KiB.
const WRITER_CACHE_KIB: i64 = 16_384;
/// Page cache of each reader, in KiB.
const READER_CACHE_KIB: i64 = 4_096;
/// How long a connection waits for another process (backup, key commands) that holds the lock.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Bytes that the write-ahead log is cut to when it begins anew: as long as it is under load.
const LOG_BYTES_KEPT: i64 = 64 * 1024 * 1024;
/// Largest row, in bytes: far over the largest payload that is taken.
const ROW_BYTES_MAX: i32 = 64 * 1024 * 1024;

fn common(conn: &Connection, cache_kib: i64) -> Result<(), rusqlite::Error> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.busy_timeout(BUSY_WAIT)?;
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX)?;
    Ok(())
}

/// The writer: every commit is on stable storage before it returns (`synchronous=FULL`; NORMAL would
/// acknowledge before the fsync).
pub(crate) fn writer(conn: &Connection) -> Result<(), rusqlite::Error> {
    // The first two only take hold while the file is empty.
    conn.pragma_update(None, "page_size", PAGE_SIZE)?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    common(conn, WRITER_CACHE_KIB)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Checkpoints have a thread of their own: in the commit path they are the p99.
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    Ok(())
}

/// A reader: cannot write.
pub(crate) fn reader(conn: &Connection) -> Result<(), rusqlite::Error> {
    common(conn, READER_CACHE_KIB)?;
    conn.pragma_update(None, "query_only", true)
}

/// The checkpointer.
pub(crate) fn checkpointer(conn: &Connection) -> Result<(), rusqlite::Error> {
    common(conn, 256)?;
    conn.pragma_update(None, "synchronous", "FULL")
}
