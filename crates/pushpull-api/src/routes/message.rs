//! Messages: the way in, and the log read by people.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use pushpull_domain::{Channel, EventTypeName, Message, MessageId, Tag, Timestamp};
use pushpull_store::{Idempotency, MessageFilter, Order, PageQuery, Published};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    auth::{Caller, Need},
    extract::{Query, comma_list, read_body, read_json, read_query},
    idempotency,
    models::{message_in::MessageIn, message_out, schema},
    paging,
    path::{AppRef, InApp, OfMessage},
    problem::{Conflict, Problem},
    routes::{app, endpoint_send::query_moment},
    state::Api,
};

/// Bytes of a request's body beside its payload: names, tags, a new application.
const BESIDES_MAX: usize = 64 * 1024;
/// A payload given as text (`rawPayload`) may take twice its length when it is escaped.
const ESCAPED: usize = 2;

/// How a message is shown.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ShowQuery {
    /// Whether the payload is shown.
    #[serde(default = "yes")]
    with_content: bool,
}

pub(crate) fn yes() -> bool {
    true
}

/// The hot path: the body is read once, matched in memory, and answered when it is on stable storage.
pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    AppRef(name): AppRef,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let ShowQuery { with_content } = read_query(parts.uri.query().unwrap_or_default())?;
    let key = idempotency::key(&parts.headers)?;
    let body = read_body(body, &parts, api.payload_max * ESCAPED + BESIDES_MAX).await?;
    let given = MessageIn::read(&body)?;
    let found = api.log.known_app(caller.environment, &name).await?;
    let app = match (found, given.application) {
        (Some(found), _) => found,
        (None, None) => return Err(Problem::NotFound("application")),
        (None, Some(_)) if caller.scope != pushpull_domain::key::Scope::Admin => {
            return Err(Problem::Forbidden(Need::Admin.scopes()));
        }
        (None, Some(application)) => {
            let application = read_json(application.get().as_bytes()).map_err(in_application)?;
            app::get_or_create(&api, caller.environment, &name, application).await?
        }
    };
    let message = given.check(api.now(), api.payload_max, key.is_some())?;
    let idempotency = key.map(|key| Idempotency { key: key.into(), request_hash: idempotency::hash(&body) });
    accepted(api.log.publish(&app, message, idempotency).await?, with_content)
}

/// The place of a fault in a part of the body, as seen from the whole.
fn in_application(problem: Problem) -> Problem {
    match problem {
        Problem::Invalid { mut place, message, kind } => {
            place.insert(1, "application".into());
            Problem::Invalid { place, message, kind }
        }
        other => other,
    }
}

/// The answer to a message that was handed in.
pub(crate) fn accepted(published: Published, with_content: bool) -> Result<Response, Problem> {
    match published {
        Published::Stored(message) | Published::Repeated(message) => {
            let mut response = shown(&message, with_content);
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
        Published::KeyReused => Err(idempotency::key_reused()),
        Published::EventIdTaken => Err(Problem::Conflict(Conflict::EventIdTaken)),
        Published::AppGone => Err(Problem::NotFound("application")),
    }
}

fn shown(message: &Message, with_content: bool) -> Response {
    let mut out = Vec::with_capacity(message_out::size_hint(message, with_content));
    message_out::write(&mut out, message, with_content);
    paging::json(out)
}

pub(crate) async fn get(OfMessage { message, .. }: OfMessage, Query(query): Query<ShowQuery>) -> Response {
    shown(&message, query.with_content)
}

/// What a list of messages shows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    iterator: Option<String>,
    /// Only those in this channel.
    #[schemars(with = "Option<schema::Channel>")]
    channel: Option<Channel>,
    /// Only those with this tag.
    #[schemars(with = "Option<schema::Tag>")]
    tag: Option<Tag>,
    /// Only those of these event types.
    #[serde(default, deserialize_with = "comma_list")]
    #[schemars(with = "Vec<schema::Name>", extend("uniqueItems" = true))]
    event_types: Vec<EventTypeName>,
    /// Only those made before this moment.
    #[schemars(extend("format" = "date-time"))]
    before: Option<String>,
    /// Only those made after this moment.
    #[schemars(extend("format" = "date-time"))]
    after: Option<String>,
    /// Whether payloads are shown.
    #[serde(default = "yes")]
    with_content: bool,
}

pub(crate) async fn list(
    State(api): State<Api>,
    InApp(app): InApp,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let asked = query.iterator.as_deref();
    let page = paging::query::<MessageId>(query.limit, asked, Order::Descending)?;
    let page = PageQuery {
        beyond: page.beyond.map(|id| pushpull_domain::Position(id.number())),
        backwards: page.backwards,
        order: page.order,
        limit: page.limit,
    };
    let filter = MessageFilter {
        event_types: query.event_types.into_iter().collect(),
        channel: query.channel,
        tag: query.tag,
        before: query.before.map(|text| query_moment("before", &text)).transpose()?,
        after: query.after.map(|text| query_moment("after", &text)).transpose()?,
    };
    let backwards = page.backwards;
    let read = |page| api.store().messages(app.app.no, filter.clone(), page);
    let found = paging::read(page, read, pushpull_domain::Position).await?;
    let reached = found.reached.map(|n| paging::beyond(backwards, MessageId::of(Timestamp::default(), n, 0)));
    let asked = reached.as_deref().or(asked);
    let size = found.items.iter().map(|message| message_out::size_hint(message, query.with_content)).sum();
    Ok(paging::answer(
        &found,
        asked,
        |message: &Arc<Message>| message.id,
        size,
        |out, message| {
            message_out::write(out, message, query.with_content);
        },
    ))
}

pub(crate) async fn expunge(
    State(api): State<Api>,
    OfMessage { message, .. }: OfMessage,
) -> Result<StatusCode, Problem> {
    api.store().expunge_message(message.key).await?;
    Ok(StatusCode::NO_CONTENT)
}
