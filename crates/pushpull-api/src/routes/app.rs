//! Applications.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use pushpull_domain::{App, AppId, EnvironmentNo, Metadata, Uid};
use pushpull_store::{AppListFilter, NewApp, Order, Ref, WriteError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    EDIT_TRIES,
    auth::Caller,
    extract::{Json, Patch, Query, given},
    models::{
        endpoint_in::{check_rate, check_uid, either, invalid},
        json, schema,
    },
    paging::{self, Ordering},
    path::{AppRef, InApp},
    problem::Problem,
    state::Api,
};

/// Longest name of an application, in characters.
const NAME_MAX: usize = 512;

/// A new application, or what is to replace one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationIn {
    /// For people.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// The user's own name for it, unique in the environment.
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Option<Uid>,
    /// Most deliveries a second to all its endpoints together; `null`: no limit.
    #[schemars(range(min = 1))]
    pub throttle_rate: Option<u16>,
    /// The older name of `throttleRate`.
    #[schemars(range(min = 1))]
    pub rate_limit: Option<u16>,
    /// Free pairs of text.
    pub metadata: Option<Metadata>,
}

/// What is to change of an application: what is absent stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct ApplicationPatch {
    /// For people.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "String")]
    pub name: Option<String>,
    /// The user's own name for it; `null` takes it away.
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Patch<Uid>,
    /// Most deliveries a second; `null`: no limit.
    #[schemars(with = "Option<u16>", range(min = 1))]
    pub throttle_rate: Patch<u16>,
    /// The older name of `throttleRate`.
    #[schemars(with = "Option<u16>", range(min = 1))]
    pub rate_limit: Patch<u16>,
    /// Free pairs of text, in place of those it has.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Metadata")]
    pub metadata: Option<Metadata>,
}

/// An application.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationOut {
    /// The application's id.
    #[schemars(with = "String", regex(pattern = "^app_[A-Za-z0-9]{27}$"))]
    pub id: AppId,
    /// The user's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Option<Uid>,
    /// For people.
    pub name: String,
    /// Most deliveries a second; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle_rate: Option<u16>,
    /// The same under its older name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u16>,
    /// Free pairs of text.
    pub metadata: Metadata,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// When it was last changed.
    #[schemars(extend("format" = "date-time"))]
    pub updated_at: String,
}

impl From<&App> for ApplicationOut {
    fn from(app: &App) -> Self {
        Self {
            id: app.id,
            uid: app.uid.clone(),
            name: app.name.clone(),
            throttle_rate: app.rate_limit,
            rate_limit: app.rate_limit,
            metadata: app.metadata.clone(),
            created_at: app.created_at.to_string(),
            updated_at: app.updated_at.to_string(),
        }
    }
}

impl ApplicationIn {
    /// Checks everything.
    pub(crate) fn check(self, environment: EnvironmentNo) -> Result<NewApp, Problem> {
        let rate_limit = either(("throttleRate", self.throttle_rate), ("rateLimit", self.rate_limit))?;
        Ok(NewApp {
            environment,
            uid: self.uid.map(check_uid::<AppId>).transpose()?,
            name: check_name(self.name)?,
            rate_limit: check_rate(rate_limit)?,
            metadata: self.metadata.unwrap_or_default(),
        })
    }
}

impl ApplicationPatch {
    fn apply(&self, app: &mut App) -> Result<(), Problem> {
        if let Some(name) = &self.name {
            app.name = check_name(name.clone())?;
        }
        if let Some(uid) = self.uid.given() {
            app.uid = uid.cloned().map(check_uid::<AppId>).transpose()?;
        }
        let rate =
            either(("throttleRate", self.throttle_rate.given()), ("rateLimit", self.rate_limit.given()))?;
        if let Some(rate) = rate {
            app.rate_limit = check_rate(rate.copied())?;
        }
        if let Some(metadata) = &self.metadata {
            app.metadata.clone_from(metadata);
        }
        Ok(())
    }
}

fn check_name(name: String) -> Result<String, Problem> {
    if (1..=NAME_MAX).contains(&name.chars().count()) {
        Ok(name)
    } else {
        Err(invalid("name", format!("must have 1 to {NAME_MAX} characters")))
    }
}

/// What a list of applications shows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    iterator: Option<String>,
    /// Which way the list goes.
    #[schemars(with = "Option<schema::Ordering>")]
    order: Option<Ordering>,
    /// Leave out applications without an endpoint.
    #[serde(default)]
    exclude_apps_with_no_endpoints: bool,
    /// Leave out applications that have only disabled endpoints.
    #[serde(default)]
    exclude_apps_with_disabled_endpoints: bool,
    /// Not supported: there are no such endpoints here.
    #[serde(default)]
    exclude_apps_with_svix_play_endpoints: bool,
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    if query.exclude_apps_with_svix_play_endpoints {
        return Err(Problem::invalid(
            &["query", "exclude_apps_with_svix_play_endpoints"],
            "is not supported",
        ));
    }
    let order = query.order.map_or(Order::Ascending, Order::from);
    let page = paging::query::<AppId>(query.limit, query.iterator.as_deref(), order)?;
    let filter = AppListFilter {
        without_endpoints: query.exclude_apps_with_no_endpoints,
        with_disabled_endpoints_only: query.exclude_apps_with_disabled_endpoints,
    };
    let found = api.store().apps(caller.environment, filter, page).await?;
    Ok(paging::answer(
        &found,
        query.iterator.as_deref(),
        |app| app.id,
        found.items.len() * 256,
        |out, app| {
            json::write(out, &ApplicationOut::from(app));
        },
    ))
}

/// How an application is made.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CreateQuery {
    /// Gives the application that has the uid, if there is one.
    #[serde(default)]
    get_if_exists: bool,
}

pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<CreateQuery>,
    Json(given): Json<ApplicationIn>,
) -> Result<Response, Problem> {
    let new = given.check(caller.environment)?;
    if query.get_if_exists
        && let Some(uid) = &new.uid
        && let Some(found) = api.log.app(caller.environment, &Ref::Uid(uid.clone())).await?
    {
        return Ok(shown(StatusCode::OK, &found.app));
    }
    match api.store().create_app(new.clone()).await {
        Ok(app) => Ok(shown(StatusCode::CREATED, &app)),
        // Somebody made it between the look and this.
        Err(WriteError::Taken(_)) if query.get_if_exists => match new.uid {
            Some(uid) => {
                let found = api.log.app(caller.environment, &Ref::Uid(uid)).await?;
                found.map(|found| shown(StatusCode::OK, &found.app)).ok_or(Problem::NotFound("application"))
            }
            None => Err(Problem::NotFound("application")),
        },
        Err(error) => Err(Problem::refused("application", error)),
    }
}

pub(crate) async fn get(InApp(app): InApp) -> Response {
    shown(StatusCode::OK, &app.app)
}

pub(crate) async fn upsert(
    State(api): State<Api>,
    caller: Caller,
    AppRef(name): AppRef,
    Json(given): Json<ApplicationIn>,
) -> Result<Response, Problem> {
    let mut new = given.check(caller.environment)?;
    for _ in 0..EDIT_TRIES {
        let written = match (api.log.app(caller.environment, &name).await?, &name) {
            (Some(found), _) => {
                let NewApp { uid, name, rate_limit, metadata, .. } = new.clone();
                let uid = uid.or_else(|| found.app.uid.clone());
                let app = App { uid, name, rate_limit, metadata, ..found.app.clone() };
                api.store().update_app(app).await.map(|app| shown(StatusCode::OK, &app))
            }
            (None, Ref::Id(_)) => return Err(Problem::NotFound("application")),
            (None, Ref::Uid(uid)) => {
                new.uid.get_or_insert_with(|| uid.clone());
                api.store().create_app(new.clone()).await.map(|app| shown(StatusCode::CREATED, &app))
            }
        };
        match written {
            Err(WriteError::Stale) => {}
            other => return other.map_err(|error| Problem::refused("application", error)),
        }
    }
    Err(Problem::refused("application", WriteError::Stale))
}

pub(crate) async fn patch(
    State(api): State<Api>,
    InApp(found): InApp,
    Json(change): Json<ApplicationPatch>,
) -> Result<Response, Problem> {
    let mut snapshot = found;
    for _ in 0..EDIT_TRIES {
        let mut app = snapshot.app.clone();
        change.apply(&mut app)?;
        match api.store().update_app(app).await {
            Ok(app) => return Ok(shown(StatusCode::OK, &app)),
            Err(WriteError::Stale) => {}
            Err(error) => return Err(Problem::refused("application", error)),
        }
        let newer = api.log.app_by_no(snapshot.app.no).await?;
        snapshot = newer.ok_or(Problem::NotFound("application"))?;
    }
    Err(Problem::refused("application", WriteError::Stale))
}

pub(crate) async fn delete(State(api): State<Api>, InApp(found): InApp) -> Result<StatusCode, Problem> {
    let deleted = api.store().delete_app(found.app.no).await;
    deleted.map_err(|error| Problem::refused("application", error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The application in a path, made as a request says if it is not there (with a message, or for a portal).
pub(crate) async fn get_or_create(
    api: &Api,
    environment: EnvironmentNo,
    name: &Ref<AppId>,
    given: ApplicationIn,
) -> Result<Arc<pushpull_domain::AppSnapshot>, Problem> {
    if let Some(found) = api.log.app(environment, name).await? {
        return Ok(found);
    }
    let Ref::Uid(uid) = name else { return Err(Problem::NotFound("application")) };
    let mut new = given.check(environment)?;
    if new.uid.get_or_insert_with(|| uid.clone()) != uid {
        return Err(Problem::invalid(&["body", "application", "uid"], "must be the uid in the path"));
    }
    match api.store().create_app(new).await {
        Ok(_) | Err(WriteError::Taken(_)) => {}
        Err(error) => return Err(Problem::refused("application", error)),
    }
    api.log.app(environment, name).await?.ok_or(Problem::NotFound("application"))
}

fn shown(status: StatusCode, app: &App) -> Response {
    (status, Answer(ApplicationOut::from(app))).into_response()
}
