//! Endpoints.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use pushpull_domain::{AppNo, AppSnapshot, Endpoint, EndpointId, PushFrom};
use pushpull_store::{Order, Page, PageQuery, Ref, WriteError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    EDIT_TRIES,
    extract::{Json, Query},
    models::{
        endpoint_in::EndpointIn, endpoint_out::EndpointOut, endpoint_patch::EndpointPatch, json, schema,
    },
    paging::{self, Ordering},
    path::{self, AtEndpoint, EndpointRef, InApp},
    problem::{Conflict, Problem},
    state::Api,
};

/// What a list of endpoints shows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    pub(super) iterator: Option<String>,
    /// Which way the list goes.
    #[schemars(with = "Option<schema::Ordering>")]
    order: Option<Ordering>,
}

impl ListQuery {
    /// Which part of the list is wanted.
    pub(super) fn page(&self) -> Result<PageQuery<EndpointId>, Problem> {
        let order = self.order.map_or(Order::Ascending, Order::from);
        paging::query(self.limit, self.iterator.as_deref(), order)
    }
}

pub(crate) async fn list(InApp(app): InApp, Query(query): Query<ListQuery>) -> Result<Response, Problem> {
    let found = cut(&app, &query.page()?);
    Ok(paging::answer(
        &found,
        query.iterator.as_deref(),
        |e| e.id,
        found.items.len() * 512,
        |out, endpoint| {
            json::write(out, &EndpointOut::from(&**endpoint));
        },
    ))
}

/// A page of an application's endpoints, by id: they are all in memory.
pub(crate) fn cut(app: &AppSnapshot, page: &PageQuery<EndpointId>) -> Page<Arc<Endpoint>> {
    let upwards = (page.order == Order::Ascending) != page.backwards;
    let mut items: Vec<_> = app.endpoints.iter().map(Arc::clone).collect();
    items.sort_unstable_by_key(|endpoint| endpoint.id);
    if !upwards {
        items.reverse();
    }
    if let Some(beyond) = page.beyond {
        items.retain(|endpoint| if upwards { endpoint.id > beyond } else { endpoint.id < beyond });
    }
    let done = items.len() <= page.limit;
    items.truncate(page.limit);
    if page.backwards {
        items.reverse();
    }
    Page { items, done, reached: None }
}

pub(crate) async fn create(
    State(api): State<Api>,
    InApp(app): InApp,
    Json(given): Json<EndpointIn>,
) -> Result<Response, Problem> {
    let settings = given.check(&api.policy)?;
    let new = settings.create(app.app.no, api.now(), api.signature_type, &*api.chance)?;
    let made = api.store().create_endpoint(new).await.map_err(refused_new)?;
    Ok(shown(StatusCode::CREATED, &made))
}

pub(super) fn refused_new(error: WriteError) -> Problem {
    match error {
        WriteError::Stale => Problem::Conflict(Conflict::TooManyEndpoints),
        other => Problem::refused("endpoint", other),
    }
}

pub(crate) async fn get(AtEndpoint { endpoint, .. }: AtEndpoint) -> Response {
    shown(StatusCode::OK, &endpoint)
}

pub(crate) async fn upsert(
    State(api): State<Api>,
    InApp(app): InApp,
    EndpointRef(name): EndpointRef,
    Json(given): Json<EndpointIn>,
) -> Result<Response, Problem> {
    let uid = if let Ref::Uid(uid) = &name { Some(uid.clone()) } else { None };
    let settings = given.check(&api.policy)?;
    match path::endpoint(&app, &name) {
        Ok(found) => {
            let settings = settings.or_uid(found.uid.clone());
            let now = api.now();
            let id = found.id;
            let written =
                edit_from(&api, app.app.no, id, settings.from(), |endpoint| settings.replace(endpoint, now))
                    .await?;
            Ok(shown(StatusCode::OK, &written))
        }
        Err(missing) if uid.is_none() => Err(missing),
        Err(_) => {
            let new = settings.or_uid(uid).create(app.app.no, api.now(), api.signature_type, &*api.chance)?;
            let made = api.store().create_endpoint(new).await.map_err(refused_new)?;
            Ok(shown(StatusCode::CREATED, &made))
        }
    }
}

pub(crate) async fn patch(
    State(api): State<Api>,
    AtEndpoint { app, endpoint }: AtEndpoint,
    Json(change): Json<EndpointPatch>,
) -> Result<Response, Problem> {
    let (now, from) = (api.now(), change.from()?);
    let written =
        edit_from(&api, app.app.no, endpoint.id, &from, |endpoint| change.apply(endpoint, &api.policy, now))
            .await?;
    Ok(shown(StatusCode::OK, &written))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    AtEndpoint { endpoint, .. }: AtEndpoint,
) -> Result<StatusCode, Problem> {
    let deleted = api.store().delete_endpoint(endpoint.no).await;
    deleted.map_err(|error| Problem::refused("endpoint", error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes an endpoint as it is now; again if somebody else changed it at the same time.
pub(crate) async fn edit(
    api: &Api,
    app: AppNo,
    id: EndpointId,
    change: impl Fn(&mut Endpoint) -> Result<(), Problem>,
) -> Result<Arc<Endpoint>, Problem> {
    edit_from(api, app, id, &PushFrom::Readers, change).await
}

/// The same; `from` says where to go on if it is pushed again by that.
pub(crate) async fn edit_from(
    api: &Api,
    app: AppNo,
    id: EndpointId,
    from: &PushFrom,
    change: impl Fn(&mut Endpoint) -> Result<(), Problem>,
) -> Result<Arc<Endpoint>, Problem> {
    for _ in 0..EDIT_TRIES {
        let snapshot = api.log.app_by_no(app).await?.ok_or(Problem::NotFound("application"))?;
        let mut endpoint = (**path::endpoint(&snapshot, &Ref::Id(id))?).clone();
        change(&mut endpoint)?;
        match api.store().update_endpoint_from(endpoint, from.clone()).await {
            Err(WriteError::Stale) => {}
            other => return other.map_err(|error| Problem::refused("endpoint", error)),
        }
    }
    Err(Problem::refused("endpoint", WriteError::Stale))
}

fn shown(status: StatusCode, endpoint: &Endpoint) -> Response {
    (status, Answer(EndpointOut::from(endpoint))).into_response()
}
