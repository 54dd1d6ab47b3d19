//! Whether everything that was accepted for an endpoint has arrived, or is still to come.

use axum::{Json as Answer, extract::State};
use pushpull_domain::Seq;
use pushpull_feed::Place;
use pushpull_store::AuditPage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::poller::query::{end, place};
use crate::{extract::Query, path::AtEndpoint, problem::Problem, state::Api};

/// Which part of an endpoint's queue is to be audited.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct AuditQuery {
    /// Where to begin: `earliest`, `latest`, a seq (that one and what follows), or a moment (RFC 3339: messages made
    /// then and later). Absent: `earliest`, which is what is kept.
    since: Option<String>,
    /// Where to end: before this seq, or before messages made at this moment or later. Absent: the newest.
    until: Option<String>,
}

/// What became of what joined an endpoint's queue. Each seq from `first` to `last` counts once.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditOut {
    /// The first seq that was looked at; 0: there was nothing to look at.
    pub first: u64,
    /// The last one; 0: there was nothing to look at.
    pub last: u64,
    /// Whether that was all. If not, the next page begins with `since` one after `last`.
    pub done: bool,
    /// The newest seq there is or was.
    pub head: u64,
    /// How many were accepted: as many as there are seqs from `first` to `last`.
    pub accepted: u64,
    /// Answered 2xx.
    pub delivered: u64,
    /// Not answered 2xx, but committed by the consumer that is furthest, or passed by readers before the endpoint was
    /// pushed again.
    pub read: u64,
    /// Still to be pushed, or to be read.
    pub owed: u64,
    /// Every attempt failed, and nobody has read it.
    pub exhausted: u64,
    /// Given up.
    pub canceled: CanceledOut,
    /// Removed by retention: nobody can say any more what became of it.
    pub removed: u64,
    /// Retention has removed something up to this seq; 0: nothing.
    pub removed_up_to: u64,
    /// Not there, and not removed by retention either.
    pub missing: u64,
    /// Whether none is missing.
    pub gap_free: bool,
    /// Whether each one was delivered, was read, or is still to come.
    pub complete: bool,
}

/// Deliveries that were given up, by reason.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CanceledOut {
    /// They, or their payloads, were older than what is kept.
    pub retention: u64,
    /// Their payloads were erased by a call.
    pub expunged: u64,
    /// Their endpoint or application was deleted.
    pub deleted: u64,
}

pub(crate) async fn audit(
    State(api): State<Api>,
    AtEndpoint { endpoint, .. }: AtEndpoint,
    Query(query): Query<AuditQuery>,
) -> Result<Answer<AuditOut>, Problem> {
    let now = api.now();
    let after = match query.since.as_deref().map(|text| place(&["query", "since"], text, now)).transpose()? {
        // What is kept, wherever that begins.
        None | Some(Place::Earliest) => None,
        Some(place) => Some(api.feed.find(endpoint.no, place).await?),
    };
    let upto = match query.until.as_deref().map(|text| end(text, now)).transpose()? {
        None => None,
        Some(place) => Some(api.feed.find(endpoint.no, place).await?),
    };
    let page = api.store().audit(endpoint.no, after, upto).await?;
    Ok(Answer(AuditOut::new(&page, upto)))
}

impl AuditOut {
    fn new(page: &AuditPage, upto: Option<Seq>) -> Self {
        let AuditPage { audit, after, reached, last, removed_to } = page;
        let accepted = reached.0 - after.0;
        let end = upto.map_or(last.0, |upto| upto.0.min(last.0));
        Self {
            first: if accepted == 0 { 0 } else { after.0 + 1 },
            last: if accepted == 0 { 0 } else { reached.0 },
            done: reached.0 >= end,
            head: last.0,
            accepted,
            delivered: audit.delivered,
            read: audit.read,
            owed: audit.owed,
            exhausted: audit.exhausted,
            canceled: CanceledOut {
                retention: audit.cancelled_retention,
                expunged: audit.cancelled_expunged,
                deleted: audit.cancelled_deleted,
            },
            removed: audit.removed,
            removed_up_to: removed_to.0,
            missing: audit.missing,
            gap_free: audit.missing == 0,
            complete: audit.is_complete(),
        }
    }
}
