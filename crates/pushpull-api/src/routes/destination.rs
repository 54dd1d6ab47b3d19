//! Destinations: endpoints that are read, or pushed in order, as the SDKs make them.

use std::sync::Arc;

use axum::{
    Json as Answer, RequestPartsExt,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use pushpull_domain::{AppSnapshot, DeliveryState, Endpoint, EndpointId, Seq};
use pushpull_store::{AttemptFilter, Order, PageQuery, Ref};

use crate::{
    extract::{Json, Query},
    models::{
        destination_in::{DestinationIn, DestinationKind, DestinationPatch, check_kind},
        destination_out::{DestinationOut, Retry},
        json,
    },
    paging,
    path::{self, AtEndpoint, InApp, param, reference},
    problem::Problem,
    routes::{
        endpoint::{self, ListQuery, edit, refused_new},
        endpoint_secret::{self, EndpointSecretOut, EndpointSecretRotateIn},
    },
    state::Api,
};

const NO_DESTINATION: Problem = Problem::NotFound("destination");

/// What the path calls the destination, whether or not there is one.
pub(crate) struct DestinationRef(Ref<EndpointId>);

impl FromRequestParts<Api> for DestinationRef {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let text = param(parts, "destination_id").await.ok_or(NO_DESTINATION)?;
        reference(&text).map(Self).ok_or(NO_DESTINATION)
    }
}

/// The destination in the path.
pub(crate) struct AtDestination {
    app: Arc<AppSnapshot>,
    endpoint: Arc<Endpoint>,
    kind: DestinationKind,
}

impl FromRequestParts<Api> for AtDestination {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let InApp(app) = parts.extract_with_state(api).await?;
        let DestinationRef(name) = parts.extract_with_state(api).await?;
        let (endpoint, kind) = find(&app, &name)?;
        Ok(Self { app, endpoint, kind })
    }
}

fn find(app: &AppSnapshot, name: &Ref<EndpointId>) -> Result<(Arc<Endpoint>, DestinationKind), Problem> {
    let endpoint = path::endpoint(app, name).map_err(|_| NO_DESTINATION)?;
    let kind = DestinationKind::of(endpoint).ok_or(NO_DESTINATION)?;
    Ok((Arc::clone(endpoint), kind))
}

pub(crate) async fn list(
    State(api): State<Api>,
    InApp(app): InApp,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let mut destinations = (*app).clone();
    destinations.endpoints.retain(|endpoint| DestinationKind::of(endpoint).is_some());
    let found = endpoint::cut(&destinations, &query.page()?);
    let mut shown = Vec::with_capacity(found.items.len());
    for endpoint in &found.items {
        shown.extend(show(&api, endpoint).await?);
    }
    let found = pushpull_store::Page { items: shown, done: found.done, reached: None };
    Ok(paging::answer(&found, query.iterator.as_deref(), |out| out.id, found.items.len() * 512, json::write))
}

pub(crate) async fn create(
    State(api): State<Api>,
    InApp(app): InApp,
    Json(given): Json<DestinationIn>,
) -> Result<Response, Problem> {
    let settings = given.check(&api.policy)?;
    let new = settings.create(app.app.no, api.now(), api.signature_type, &*api.chance)?;
    let made = api.store().create_endpoint(new).await.map_err(refused_new)?;
    shown(&api, StatusCode::CREATED, &made).await
}

pub(crate) async fn get(State(api): State<Api>, at: AtDestination) -> Result<Response, Problem> {
    shown(&api, StatusCode::OK, &at.endpoint).await
}

pub(crate) async fn upsert(
    State(api): State<Api>,
    InApp(app): InApp,
    DestinationRef(name): DestinationRef,
    Json(given): Json<DestinationIn>,
) -> Result<Response, Problem> {
    let settings = given.check(&api.policy)?;
    match find(&app, &name) {
        Ok((found, kind)) => {
            check_kind(settings.kind, kind)?;
            let settings = settings.or_uid(found.uid.clone());
            let now = api.now();
            let written = edit(&api, app.app.no, found.id, |endpoint| settings.replace(endpoint, now));
            shown(&api, StatusCode::OK, &*written.await?).await
        }
        Err(missing) => {
            let Ref::Uid(uid) = name else { return Err(missing) };
            let settings = settings.or_uid(Some(uid));
            let new = settings.create(app.app.no, api.now(), api.signature_type, &*api.chance)?;
            let made = api.store().create_endpoint(new).await.map_err(refused_new)?;
            shown(&api, StatusCode::CREATED, &made).await
        }
    }
}

pub(crate) async fn patch(
    State(api): State<Api>,
    at: AtDestination,
    Json(change): Json<DestinationPatch>,
) -> Result<Response, Problem> {
    let change = change.check()?;
    let now = api.now();
    let written = edit(&api, at.app.app.no, at.endpoint.id, |endpoint| {
        change.apply(at.kind, endpoint, &api.policy, now)
    });
    shown(&api, StatusCode::OK, &*written.await?).await
}

pub(crate) async fn delete(State(api): State<Api>, at: AtDestination) -> Result<StatusCode, Problem> {
    let AtDestination { app, endpoint, .. } = at;
    endpoint::delete(State(api), AtEndpoint { app, endpoint }).await
}

pub(crate) async fn rotate_secret(
    State(api): State<Api>,
    at: AtDestination,
    given: Json<EndpointSecretRotateIn>,
) -> Result<Answer<EndpointSecretOut>, Problem> {
    let AtDestination { app, endpoint, .. } = at;
    endpoint_secret::rotate(State(api), AtEndpoint { app, endpoint }, given).await
}

async fn shown(api: &Api, status: StatusCode, endpoint: &Endpoint) -> Result<Response, Problem> {
    let out = show(api, endpoint).await?.ok_or(NO_DESTINATION)?;
    Ok((status, Answer(out)).into_response())
}

/// An endpoint as a destination; `None`: it is none.
async fn show(api: &Api, endpoint: &Endpoint) -> Result<Option<DestinationOut>, Problem> {
    let Some(kind) = DestinationKind::of(endpoint) else { return Ok(None) };
    let pushed = match kind {
        DestinationKind::Fifo => last_attempted(api, endpoint).await?,
        DestinationKind::Polling => None,
    };
    let (place, retry) = match pushed {
        Some(last) => last,
        None => (api.feed.ends(endpoint.no).await?.trimmed, None),
    };
    // What readers had done when it was last pushed is done.
    let iterator = api.feed.iterators().make(endpoint.no, place.max(endpoint.read_seq));
    Ok(Some(DestinationOut::new(endpoint, kind, iterator, retry.as_ref())))
}

/// Up to where an endpoint that is pushed in order is done, and what it is about to try again: its last attempt
/// tells, since everything before that is done with.
async fn last_attempted(api: &Api, endpoint: &Endpoint) -> Result<Option<(Seq, Option<Retry>)>, Problem> {
    let page = PageQuery { beyond: None, backwards: false, order: Order::Descending, limit: 1 };
    let newest = api.store().attempts_at(endpoint.no, AttemptFilter::default(), page).await?;
    let Some((last, _)) = newest.items.into_iter().next() else { return Ok(None) };
    let all = api.store().deliveries_of(last.message).await?;
    let Some(delivery) = all.into_iter().find(|delivery| delivery.key == last.delivery) else {
        return Ok(None);
    };
    Ok(Some(match delivery.state {
        DeliveryState::Owed { due_at, .. } => {
            let retry = due_at.filter(|_| delivery.attempts > 0);
            let before = Seq(delivery.key.seq.0.saturating_sub(1));
            (before, retry.map(|due_at| Retry { due_at, outcome: last.attempt.outcome }))
        }
        DeliveryState::Delivered | DeliveryState::Exhausted | DeliveryState::Cancelled(_) => {
            (delivery.key.seq, None)
        }
    }))
}
