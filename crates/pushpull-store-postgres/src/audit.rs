//! Adding up what became of an endpoint's queue.

use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use pushpull_domain::{EndpointNo, Seq};
use pushpull_store::{Audit, AuditPage, Audits, Error, audit::AUDIT_ROWS};

use crate::{
    Db, Postgres,
    fault::{Fault, inconsistent},
    feed::{self, ENDS},
    pool::Params,
};

impl Audits for Postgres {
    fn audit(
        &self,
        endpoint: EndpointNo,
        after: Option<Seq>,
        upto: Option<Seq>,
    ) -> BoxFuture<'_, Result<AuditPage, Error>> {
        self.read(move |db| async move { audit(&db, endpoint, after, upto).await })
    }
}

/// Which part of the queue it is (after `$4`, up to `$5`), and the sums over it. Readers are done up to `read`, and
/// retention got to `removed`.
static SUMS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT part.after, part.upto, part.last, part.removed, sums.*
         FROM (SELECT *, greatest(after, least(coalesce($5, last), last)) AS upto
               FROM (SELECT *, least(coalesce($4, trimmed), last) AS after FROM ({ENDS}) AS queue) AS queue) AS part
             CROSS JOIN (SELECT greatest(0,
                 (SELECT read_seq FROM endpoint WHERE no = $1),
                 (SELECT max(committed) FROM consumer WHERE endpoint = $1)) AS read) AS readers
             CROSS JOIN LATERAL (
                 SELECT count(*), max(key) - $2, count(*) FILTER (WHERE key - $2 <= part.removed),
                     count(*) FILTER (WHERE state = 1),
                     count(*) FILTER (WHERE state IN (0, 2) AND key - $2 <= readers.read),
                     count(*) FILTER (WHERE state = 0 AND key - $2 > readers.read),
                     count(*) FILTER (WHERE state = 2 AND key - $2 > readers.read),
                     count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state = 4),
                     count(*) FILTER (WHERE state = 5)
                 FROM (SELECT key, state FROM delivery WHERE key BETWEEN $2 + part.after + 1 AND $2 + part.upto
                       ORDER BY key LIMIT {AUDIT_ROWS}) AS looked) AS sums"
    )
});

async fn audit(
    db: &Arc<Db>,
    endpoint: EndpointNo,
    after: Option<Seq>,
    upto: Option<Seq>,
) -> Result<AuditPage, Fault> {
    // A place may be any number that somebody sent.
    let place = |seq: Seq| i64::try_from(seq.0).unwrap_or(i64::MAX);
    let (no, before, day) = feed::asks(db, endpoint);
    let params: Params<'_> = &[&no, &before, &day, &after.map(place), &upto.map(place)];
    let row = db.reads.lend().await?.query_one(&SUMS, params).await?;
    let seq = |column| feed::seq(&row, column);
    let count = |column| row.get::<_, i64>(column).cast_unsigned();
    let (after, end, last, removed_to) = (seq(0), seq(1), seq(2), seq(3));
    let (found, kept_of_removed) = (count(4), count(6));
    let audit = Audit {
        delivered: count(7),
        read: count(8),
        owed: count(9),
        exhausted: count(10),
        cancelled_retention: count(11),
        cancelled_expunged: count(12),
        cancelled_deleted: count(13),
        removed: 0,
        missing: 0,
    };
    if found != audit.found() {
        return Err(inconsistent("delivery", feed::key_of(endpoint, end), "a state that is none"));
    }
    let reached = if found == AUDIT_ROWS { seq(5) } else { end };
    let of_removed = reached.min(removed_to).0.saturating_sub(after.0);
    let beyond = reached.0.saturating_sub(after.max(removed_to).0);
    let audit =
        Audit { removed: of_removed - kept_of_removed, missing: beyond - (found - kept_of_removed), ..audit };
    Ok(AuditPage { audit, after, reached, last, removed_to })
}
