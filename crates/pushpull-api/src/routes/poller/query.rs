//! What a reader asks for, checked.

use std::time::Duration;

use pushpull_domain::{Channel, EndpointNo, EventTypeName, Seq, Timestamp};
use pushpull_feed::{Patience, Place};
use pushpull_store::MessageFilter;
use schemars::JsonSchema;
use serde::Deserialize;

use super::read_iterator;
use crate::{
    extract::comma_list, models::schema, paging, problem::Problem, routes::endpoint_send::query_moment,
    state::Api,
};

/// Longest wait, in seconds: within what proxies and clients leave a request (RFC 6202 s. 5.5).
pub(crate) const WAIT_MAX: u64 = 60;

/// Which part of an endpoint's queue is wanted, and how.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PollQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where to go on: the `iterator` of the page before, or an event's id.
    #[schemars(extend("nullable" = true))]
    pub(super) iterator: Option<String>,
    /// Only these event types.
    #[serde(default, deserialize_with = "comma_list")]
    #[schemars(with = "Vec<schema::Name>", extend("uniqueItems" = true))]
    event_type: Vec<EventTypeName>,
    /// Only those in this channel.
    #[schemars(with = "Option<schema::Channel>")]
    channel: Option<Channel>,
    /// Only messages made after this moment.
    #[schemars(extend("format" = "date-time"))]
    after: Option<String>,
    /// Where to begin without an iterator: `earliest`, `latest`, a seq (that one and what follows), or a moment (RFC
    /// 3339: messages made then and later). Absent: `earliest`.
    from: Option<String>,
    /// Where to end: before this seq, or before messages made at this moment or later.
    until: Option<String>,
    /// Longest wait for news, in seconds, if there is nothing: 0 to 60.
    #[schemars(range(min = 0, max = 60))]
    wait: Option<u64>,
    /// With `wait`: fewest items that end it.
    #[schemars(range(min = 1, max = 250))]
    min: Option<usize>,
    /// `false`: not what a push to this endpoint was answered 2xx for.
    pub(super) delivered: Option<bool>,
}

impl PollQuery {
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        paging::limit(self.limit)
    }

    pub(super) fn patience(&self, limit: usize) -> Result<Patience, Problem> {
        patience(self.wait, self.min, limit)
    }

    pub(super) fn filter(&self) -> Result<MessageFilter, Problem> {
        let after = self.after.as_deref().map(|text| query_moment("after", text)).transpose()?;
        Ok(MessageFilter {
            event_types: self.event_type.iter().cloned().collect(),
            channel: self.channel.clone(),
            after,
            ..MessageFilter::default()
        })
    }

    /// After which seq to begin, and before which to end.
    pub(super) async fn place(
        &self,
        api: &Api,
        endpoint: EndpointNo,
        iterator: Option<&str>,
    ) -> Result<(Seq, Option<Seq>), Problem> {
        let now = api.now();
        let from = self.from.as_deref().map(|text| place(&["query", "from"], text, now)).transpose()?;
        let until = self.until.as_deref().map(|text| end(text, now)).transpose()?;
        let after = self.after.as_deref().map(|text| query_moment("after", text)).transpose()?;
        if after.is_some_and(|after| after > now) {
            return Err(future(&["query", "after"]));
        }
        let begin = if let Some(text) = iterator.filter(|text| !text.is_empty()) {
            read_iterator(api, endpoint, text)?
        } else {
            // A filter by time alone would pass over everything before it.
            let begin = from.or(after.map(Place::Since)).unwrap_or(Place::Earliest);
            api.feed.find(endpoint, begin).await?
        };
        let end = match until {
            Some(place) => Some(Seq(api.feed.find(endpoint, place).await?.0 + 1)),
            None => None,
        };
        Ok((begin, end))
    }
}

/// Where a part of a queue ends, as it stands in a query.
pub(crate) fn end(text: &str, now: Timestamp) -> Result<Place, Problem> {
    const AT: &[&str] = &["query", "until"];
    match place(AT, text, now)? {
        Place::Earliest | Place::Latest => {
            Err(Problem::invalid(AT, "must be a seq or an RFC 3339 date and time"))
        }
        place @ (Place::At(_) | Place::Since(_)) => Ok(place),
    }
}

/// How long to wait, and for how much.
pub(crate) fn patience(wait: Option<u64>, min: Option<usize>, limit: usize) -> Result<Patience, Problem> {
    let wait = wait.unwrap_or(0);
    if wait > WAIT_MAX {
        return Err(Problem::invalid(&["query", "wait"], format!("must be 0 to {WAIT_MAX} seconds")));
    }
    let min = min.unwrap_or(1);
    if !(1..=limit).contains(&min) {
        return Err(Problem::invalid(&["query", "min"], format!("must be 1 to the limit, {limit}")));
    }
    Ok(Patience { wait: Duration::from_secs(wait), min })
}

/// A place as it stands in a query, or in a body.
pub(crate) fn place(at: &[&str], text: &str, now: Timestamp) -> Result<Place, Problem> {
    match text {
        "earliest" => return Ok(Place::Earliest),
        "latest" => return Ok(Place::Latest),
        _ => {}
    }
    if let Ok(seq) = text.parse::<Seq>() {
        return Ok(Place::At(seq));
    }
    match Timestamp::parse(text) {
        Some(moment) if moment > now => Err(future(at)),
        Some(moment) => Ok(Place::Since(moment)),
        None => {
            Err(Problem::invalid(at, "must be `earliest`, `latest`, a seq, or an RFC 3339 date and time"))
        }
    }
}

pub(crate) fn future(at: &[&str]) -> Problem {
    Problem::invalid(at, "must not be in the future")
}
