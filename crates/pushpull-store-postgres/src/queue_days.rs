//! On which days the deliveries of a queue lie.

use std::{collections::HashMap, sync::Arc};

use pushpull_domain::EndpointNo;
use pushpull_store::{Settlement, codec};

use crate::{fault::Fault, pool::Conn};

/// The days on which deliveries joined their queues.
const DAYS: &str = "SELECT d.key, d.day FROM delivery d WHERE d.key = ANY($1)";

/// On which day the deliveries of each endpoint joined its queue, as far as this node has seen them.
///
/// The days of a queue never go back, so what lies between two seqs of a day is of that day.
pub(crate) struct Days {
    seen: moka::sync::Cache<EndpointNo, Arc<[Span]>>,
}

#[derive(Clone, Copy)]
struct Span {
    day: i32,
    first: i64,
    last: i64,
}

/// Endpoints that are remembered.
const REMEMBERED_MAX: u64 = 100_000;
/// Days of each.
const SPANS_MAX: usize = 8;

impl Default for Days {
    fn default() -> Self {
        Self { seen: moka::sync::Cache::new(REMEMBERED_MAX) }
    }
}

impl Days {
    /// A delivery joined its queue on this day.
    pub(crate) fn learn(&self, key: i64, day: i32) {
        let endpoint = EndpointNo(codec::no(key));
        let known = self.seen.get(&endpoint);
        if find(known.as_deref(), key).is_some() {
            return;
        }
        let mut spans: Vec<Span> = known.as_deref().map(<[_]>::to_vec).unwrap_or_default();
        match spans.iter_mut().find(|span| span.day == day) {
            Some(span) => (span.first, span.last) = (span.first.min(key), span.last.max(key)),
            None => spans.push(Span { day, first: key, last: key }),
        }
        if spans.len() > SPANS_MAX {
            spans.remove(0);
        }
        self.seen.insert(endpoint, spans.into());
    }

    /// A day is gone: which, everybody finds out anew.
    pub(crate) fn forget(&self) {
        self.seen.invalidate_all();
    }

    /// The latest day that is known to lie not behind a delivery with this key, which there may not be yet.
    pub(crate) fn not_before(&self, key: i64) -> i32 {
        let known = self.seen.get(&EndpointNo(codec::no(key)));
        let spans = known.iter().flat_map(|spans| spans.iter());
        spans.filter(|span| span.first <= key).map(|span| span.day).max().unwrap_or(i32::MIN)
    }

    /// The days of what is settled, by key. What is gone has none.
    pub(crate) async fn of(
        &self,
        conn: &Conn,
        settlements: &[Settlement],
    ) -> Result<HashMap<i64, i32>, Fault> {
        let mut days = HashMap::with_capacity(settlements.len());
        let mut unknown = Vec::new();
        for settlement in settlements {
            let key = codec::delivery_key(settlement.delivery.key);
            let known = self.seen.get(&settlement.delivery.key.endpoint);
            match find(known.as_deref(), key) {
                Some(day) => drop(days.insert(key, day)),
                None => unknown.push(key),
            }
        }
        if !unknown.is_empty() {
            for row in conn.query(DAYS, &[&unknown]).await? {
                let (key, day) = (row.get(0), row.get(1));
                self.learn(key, day);
                days.insert(key, day);
            }
        }
        Ok(days)
    }
}

fn find(spans: Option<&[Span]>, key: i64) -> Option<i32> {
    spans?.iter().find(|span| (span.first..=span.last).contains(&key)).map(|span| span.day)
}
