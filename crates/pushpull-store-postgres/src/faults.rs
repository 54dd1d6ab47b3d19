//! Faults on demand, for the tests that must see their checks fail. Only in builds with the feature `faults`, which
//! cannot be released; and in this crate's own tests, which see that each still finds what it spoils.

#![cfg_attr(not(feature = "faults"), expect(dead_code, reason = "here for its tests alone"))]

use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(all(feature = "faults", not(debug_assertions)))]
compile_error!("the feature `faults` loses data on purpose: it is for tests, and cannot be released");

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Positions and seqs are taken from sequences before the commit, in no order: as a `bigserial` column has them.
    PositionsBeforeTheLock = 1,
    /// A node keeps its shards whatever the database says, and writes outcomes of whatever it held once.
    NoFencing,
    /// What the server says beside its answers is not heard.
    NoticesIgnored,
    /// Messages are taken in on a list of endpoints that may be old.
    StaleEndpoints,
}

static COMMITTED: AtomicU8 = AtomicU8::new(0);

/// From now on, commits this.
pub fn commit(fault: Fault) {
    COMMITTED.store(fault as u8, Ordering::Relaxed);
}

pub(crate) fn is_committed(fault: Fault) -> bool {
    COMMITTED.load(Ordering::Relaxed) == fault as u8
}

/// Numbers from a sequence, which is made at its first use.
pub(crate) const NEXT: &str = "
    CREATE OR REPLACE FUNCTION faulty_next(name text) RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
        RETURN nextval(name::regclass);
    EXCEPTION WHEN undefined_table THEN
        EXECUTE format('CREATE SEQUENCE IF NOT EXISTS %I', name);
        RETURN nextval(name::regclass);
    END $$";

/// The statement as the fault that was committed has it.
pub(crate) fn spoil(sql: &str) -> String {
    let faults = [Fault::PositionsBeforeTheLock, Fault::NoFencing, Fault::StaleEndpoints];
    let committed = faults.into_iter().filter(|fault| is_committed(*fault)).flat_map(replaced);
    committed.fold(sql.to_owned(), |sql, (sound, faulty)| sql.replace(sound, faulty))
}

/// What a fault writes in the place of what.
fn replaced(fault: Fault) -> &'static [(&'static str, &'static str)] {
    match fault {
        Fault::PositionsBeforeTheLock => &[
            ("FROM app WHERE no = ANY($1) ORDER BY no FOR UPDATE", "FROM app WHERE no = ANY($1)"),
            (
                "(last_position + row_number() OVER (PARTITION BY app ORDER BY n))",
                "faulty_next(format('faulty_position_%s', app))",
            ),
            (
                "tail.last_seq + row_number() OVER (PARTITION BY t.endpoint ORDER BY a.n, t.m)",
                "faulty_next(format('faulty_seq_%s', t.endpoint))",
            ),
            // Those who are late with their commits are overtaken.
            (
                "f.seqs, (SELECT max(day) FROM open_day)",
                "f.seqs, (SELECT max(day) FROM open_day, pg_sleep(random() * 0.03))",
            ),
            // In the order of the batch.
            ("FROM verdict WHERE verdict = 0", "FROM verdict WHERE verdict = 0 ORDER BY n"),
            ("JOIN tail ON tail.no = t.endpoint", "JOIN tail ON tail.no = t.endpoint ORDER BY a.n, t.m"),
        ],
        Fault::NoFencing => &[
            (
                "(no, epoch) IN (SELECT * FROM unnest($17::smallint[], $18::bigint[]))",
                "no IN (SELECT f.no FROM unnest($17::smallint[], $18::bigint[]) AS f (no, epoch))",
            ),
            (
                "(no, epoch) IN (SELECT * FROM unnest($1::smallint[], $2::bigint[]))",
                "no IN (SELECT f.no FROM unnest($1::smallint[], $2::bigint[]) AS f (no, epoch))",
            ),
        ],
        Fault::StaleEndpoints => &[("WHEN h.version <> i.version THEN 2", "")],
        Fault::NoticesIgnored => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{append, settle};

    /// A statement that was changed since would be as sound as ever, and its control fail to fail.
    #[test]
    fn each_text_that_a_fault_replaces_is_there_once() {
        for fault in [Fault::PositionsBeforeTheLock, Fault::NoFencing, Fault::StaleEndpoints] {
            let mut statements =
                [append::LOCK, append::APPEND, settle::SETTLE, settle::HOLD].map(str::to_owned);
            for (sound, faulty) in replaced(fault) {
                let found: usize = statements.iter().map(|sql| sql.matches(sound).count()).sum();
                assert_eq!(found, 1, "{fault:?}: {sound}");
                statements = statements.map(|sql| sql.replace(sound, faulty));
            }
        }
    }
}
