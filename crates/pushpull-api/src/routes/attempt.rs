//! Attempts, and how messages stand with endpoints.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use pushpull_domain::{
    AppSnapshot, AttemptId, Channel, Endpoint, EndpointId, EndpointNo, EventTypeName, MessageId, Seq, Tag,
    Timestamp,
};
use pushpull_store::{
    AttemptFilter, DeliveryStatus, DueDelivery, MessageFilter, Order, Page, PageQuery, Resent, StoredAttempt,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    extract::{Query, comma_list},
    models::{
        attempt_out::{AttemptOut, Shown},
        endpoint_message_out,
        endpoint_out::MessageEndpointOut,
        json, message_out, schema,
        status::{MessageStatus, StatusCodeClass},
    },
    paging,
    path::{self, AtEndpoint, OfMessage, param},
    problem::{Conflict, Impossible, Problem},
    routes::{
        endpoint::cut,
        endpoint_send::{EmptyResponse, query_moment},
        message::yes,
    },
    state::Api,
};

/// What a list of attempts shows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    iterator: Option<String>,
    /// Only attempts that ended so.
    status: Option<MessageStatus>,
    /// Only attempts with such an answer.
    status_code_class: Option<StatusCodeClass>,
    /// Only of messages in this channel.
    #[schemars(with = "Option<schema::Channel>")]
    channel: Option<Channel>,
    /// Only of messages with this tag.
    #[schemars(with = "Option<schema::Tag>")]
    tag: Option<Tag>,
    /// Only of messages of these event types.
    #[serde(default, deserialize_with = "comma_list")]
    #[schemars(with = "Vec<schema::Name>", extend("uniqueItems" = true))]
    event_types: Vec<EventTypeName>,
    /// Only attempts at this endpoint, by its id or uid (in a list of a message's attempts).
    endpoint_id: Option<String>,
    /// Only attempts that started before this moment.
    #[schemars(extend("format" = "date-time"))]
    before: Option<String>,
    /// Only attempts that started after this moment.
    #[schemars(extend("format" = "date-time"))]
    after: Option<String>,
    /// Whether what was answered is shown.
    #[serde(default = "yes")]
    with_content: bool,
    /// Whether the message is shown too, without its payload.
    #[serde(default)]
    with_msg: bool,
    /// Whether `Canceled` (4) is shown as such. No attempt is.
    #[serde(default)]
    #[expect(dead_code, reason = "taken, and no attempt is ever canceled")]
    expanded_statuses: bool,
}

impl ListQuery {
    /// `None`: nothing can match.
    fn filter(&self, app: &AppSnapshot) -> Result<Option<AttemptFilter>, Problem> {
        let delivered = match self.status {
            None => None,
            Some(MessageStatus::Success) => Some(true),
            Some(MessageStatus::Fail) => Some(false),
            Some(MessageStatus::Pending | MessageStatus::Sending | MessageStatus::Canceled) => {
                return Ok(None);
            }
        };
        let endpoint = match self.endpoint_id.as_deref().map(path::reference) {
            None => None,
            Some(name) => match name.and_then(|name| path::endpoint(app, &name).ok()) {
                Some(endpoint) => Some(endpoint.no),
                None => return Ok(None),
            },
        };
        let at = |field: &'static str, text: Option<&str>| text.map(|t| query_moment(field, t)).transpose();
        Ok(Some(AttemptFilter {
            message: MessageFilter {
                event_types: self.event_types.iter().cloned().collect(),
                channel: self.channel.clone(),
                tag: self.tag.clone(),
                before: at("before", self.before.as_deref())?,
                after: at("after", self.after.as_deref())?,
            },
            delivered,
            status_class: self.status_code_class.map(StatusCodeClass::hundreds),
            endpoint,
        }))
    }

    fn page(&self) -> Result<PageQuery<AttemptId>, Problem> {
        paging::query(self.limit, self.iterator.as_deref(), Order::Descending)
    }

    /// A page of attempts, each with what it belongs to.
    fn answer<T>(
        &self,
        found: &Page<T>,
        id: impl Fn(&T) -> AttemptId,
        show: impl Fn(&T) -> AttemptOut,
    ) -> Response {
        let size = found.items.len() * 512;
        let backwards = self.iterator.as_deref().is_some_and(|text| text.starts_with('-'));
        let reached = found.reached.map(|n| paging::beyond(backwards, number_of_attempt(n)));
        let asked = reached.as_deref().or(self.iterator.as_deref());
        paging::answer(found, asked, id, size, |out, item| json::write(out, &show(item)))
    }
}

pub(crate) async fn list_by_endpoint(
    State(api): State<Api>,
    AtEndpoint { app, endpoint }: AtEndpoint,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let found = match query.filter(&app)? {
        Some(filter) => {
            let read = |page| api.store().attempts_at(endpoint.no, filter.clone(), page);
            paging::read(page, read, number_of_attempt).await?
        }
        None => Page { items: Vec::new(), done: true, reached: None },
    };
    Ok(query.answer(
        &found,
        |(attempt, _)| attempt.id,
        |(attempt, message)| {
            let ListQuery { with_content, with_msg: with_message, .. } = query;
            AttemptOut::new(attempt, Shown { endpoint: endpoint.id, message, with_content, with_message })
        },
    ))
}

pub(crate) async fn list_by_message(
    State(api): State<Api>,
    OfMessage { app, message }: OfMessage,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let found = match query.filter(&app)? {
        Some(filter) => {
            let read = |page| api.store().attempts_for(message.key, filter.clone(), page);
            paging::visible(page, read, |attempt| attempt.id, |attempt| at_known_endpoint(&app, attempt))
                .await?
        }
        None => Page { items: Vec::new(), done: true, reached: None },
    };
    Ok(query.answer(
        &found,
        |(attempt, _)| attempt.id,
        |(attempt, endpoint)| {
            let ListQuery { with_content, with_msg: with_message, .. } = query;
            AttemptOut::new(
                attempt,
                Shown { endpoint: *endpoint, message: &message, with_content, with_message },
            )
        },
    ))
}

/// The place of an attempt in its endpoint's list, whatever else its id says.
fn number_of_attempt(number: u64) -> AttemptId {
    AttemptId::of(Timestamp::default(), number, 0)
}

/// The older path that names both.
pub(crate) async fn list_by_both(
    state: State<Api>,
    of: OfMessage,
    AtEndpoint { endpoint, .. }: AtEndpoint,
    Query(mut query): Query<ListQuery>,
) -> Result<Response, Problem> {
    query.endpoint_id = Some(endpoint.id.to_string());
    list_by_message(state, of, Query(query)).await
}

/// Attempts at endpoints that are deleted are not shown.
fn at_known_endpoint(app: &AppSnapshot, attempt: StoredAttempt) -> Option<(StoredAttempt, EndpointId)> {
    let id = by_no(app, attempt.delivery.endpoint)?.id;
    Some((attempt, id))
}

fn by_no(app: &AppSnapshot, no: EndpointNo) -> Option<&Arc<Endpoint>> {
    app.endpoints.iter().find(|endpoint| endpoint.no == no)
}

/// What a list of an endpoint's messages shows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct MessagesQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    iterator: Option<String>,
    /// Only messages in this channel.
    #[schemars(with = "Option<schema::Channel>")]
    channel: Option<Channel>,
    /// Only messages with this tag.
    #[schemars(with = "Option<schema::Tag>")]
    tag: Option<Tag>,
    /// Only messages that stand so with the endpoint.
    status: Option<MessageStatus>,
    /// Only messages of these event types.
    #[serde(default, deserialize_with = "comma_list")]
    #[schemars(with = "Vec<schema::Name>", extend("uniqueItems" = true))]
    event_types: Vec<EventTypeName>,
    /// Only messages made before this moment.
    #[schemars(extend("format" = "date-time"))]
    before: Option<String>,
    /// Only messages made after this moment.
    #[schemars(extend("format" = "date-time"))]
    after: Option<String>,
    /// Whether payloads are shown.
    #[serde(default = "yes")]
    with_content: bool,
    /// Whether `Canceled` (4) is shown as such, not as `Success` (0).
    #[serde(default)]
    expanded_statuses: bool,
}

pub(crate) async fn list_messages(
    State(api): State<Api>,
    AtEndpoint { app, endpoint }: AtEndpoint,
    Query(query): Query<MessagesQuery>,
) -> Result<Response, Problem> {
    let asked = query.iterator.as_deref();
    let page = paging::query::<MessageId>(query.limit, asked, Order::Descending)?;
    let beyond = match page.beyond {
        None => None,
        Some(id) => {
            let message = api.store().message(app.app.no, id).await?;
            let place =
                message.and_then(|m| m.fanout.iter().find(|(no, _)| *no == endpoint.no).map(|(_, seq)| *seq));
            let message = "is not an iterator of this list, or its message is not kept any more";
            Some(place.ok_or_else(|| Problem::invalid(&["query", "iterator"], message))?)
        }
    };
    let page = PageQuery { beyond, backwards: page.backwards, order: page.order, limit: page.limit };
    let at = |field: &'static str, text: Option<&str>| text.map(|t| query_moment(field, t)).transpose();
    let filter = MessageFilter {
        before: at("before", query.before.as_deref())?,
        after: at("after", query.after.as_deref())?,
        event_types: query.event_types.into_iter().collect(),
        channel: query.channel,
        tag: query.tag,
    };
    let status = query.status.map(MessageStatus::of_deliveries);
    let backwards = page.backwards;
    let read = |page| api.store().endpoint_deliveries(endpoint.no, status, filter.clone(), page);
    let found = paging::read(page, read, Seq).await?;
    let reached = match found.reached.filter(|_| found.items.is_empty()) {
        Some(seq) => message_at(&api, endpoint.no, Seq(seq)).await?.map(|id| paging::beyond(backwards, id)),
        None => None,
    };
    let asked = reached.as_deref().or(asked);
    let size = found.items.iter().map(|d| message_out::size_hint(&d.message, query.with_content)).sum();
    Ok(paging::answer(
        &found,
        asked,
        |owed: &DueDelivery| owed.message.id,
        size,
        |out, owed| {
            endpoint_message_out::write(out, owed, query.with_content, query.expanded_statuses);
        },
    ))
}

/// The message of an endpoint's delivery.
async fn message_at(api: &Api, endpoint: EndpointNo, seq: Seq) -> Result<Option<MessageId>, Problem> {
    let beyond = Some(Seq(seq.0.saturating_sub(1)));
    let page = PageQuery { beyond, backwards: false, order: Order::Ascending, limit: 1 };
    let found = api.store().endpoint_deliveries(endpoint, None, MessageFilter::default(), page).await?;
    Ok(found.items.first().map(|owed| owed.message.id))
}

/// What a list of a message's endpoints shows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct DestinationsQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    iterator: Option<String>,
}

pub(crate) async fn list_destinations(
    State(api): State<Api>,
    OfMessage { app, message }: OfMessage,
    Query(query): Query<DestinationsQuery>,
) -> Result<Response, Problem> {
    let asked = query.iterator.as_deref();
    let page = paging::query::<EndpointId>(query.limit, asked, Order::Ascending)?;
    let deliveries = api.store().deliveries_of(message.key).await?;
    let mut addressed = (*app).clone();
    addressed.endpoints.retain(|endpoint| deliveries.iter().any(|d| d.key.endpoint == endpoint.no));
    let found = cut(&addressed, &page);
    Ok(paging::answer(
        &found,
        asked,
        |endpoint| endpoint.id,
        found.items.len() * 512,
        |out, endpoint| {
            if let Some(delivery) = deliveries.iter().find(|d| d.key.endpoint == endpoint.no) {
                let due_at = match delivery.state {
                    pushpull_domain::DeliveryState::Owed { due_at, .. } => due_at,
                    _ => None,
                };
                json::write(out, &MessageEndpointOut::new(endpoint, DeliveryStatus::of(delivery), due_at));
            }
        },
    ))
}

/// The attempt in the path, with the endpoint it was made at.
pub(crate) struct TheAttempt {
    of: OfMessage,
    attempt: StoredAttempt,
    endpoint: EndpointId,
}

impl FromRequestParts<Api> for TheAttempt {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        const NO_ATTEMPT: Problem = Problem::NotFound("attempt");
        let of = OfMessage::from_request_parts(parts, api).await?;
        let text = param(parts, "attempt_id").await.ok_or(NO_ATTEMPT)?;
        let id = text.parse::<AttemptId>().map_err(|_| NO_ATTEMPT)?;
        let attempt = api.store().attempt(of.message.key, id).await?.ok_or(NO_ATTEMPT)?;
        let endpoint = by_no(&of.app, attempt.delivery.endpoint).ok_or(NO_ATTEMPT)?.id;
        Ok(Self { of, attempt, endpoint })
    }
}

/// How an attempt is shown.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ShowQuery {
    /// Whether `Canceled` (4) is shown as such. No attempt is.
    #[serde(default)]
    #[expect(dead_code, reason = "taken, and no attempt is ever canceled")]
    expanded_statuses: bool,
}

pub(crate) async fn get(found: TheAttempt, Query(_): Query<ShowQuery>) -> Answer<AttemptOut> {
    let message = &found.of.message;
    let shown = Shown { endpoint: found.endpoint, message, with_content: true, with_message: false };
    Answer(AttemptOut::new(&found.attempt, shown))
}

pub(crate) async fn expunge(State(api): State<Api>, found: TheAttempt) -> Result<StatusCode, Problem> {
    api.store().expunge_attempt(found.of.message.key, found.attempt.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn resend(
    State(api): State<Api>,
    OfMessage { message, .. }: OfMessage,
    AtEndpoint { endpoint, .. }: AtEndpoint,
) -> Result<Response, Problem> {
    if !endpoint.is_enabled() {
        return Err(Problem::Impossible(Impossible::EndpointDisabled));
    }
    match api.store().resend(message.key, endpoint.no).await? {
        Resent::Owed => Ok((StatusCode::ACCEPTED, Answer(EmptyResponse {})).into_response()),
        Resent::Queued => Err(Problem::Conflict(Conflict::NotPushed)),
        Resent::Gone => Err(Problem::Impossible(Impossible::PayloadExpired)),
    }
}
