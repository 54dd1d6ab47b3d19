//! Event types.

use std::{borrow::Cow, collections::BTreeMap};

use axum::{
    Json as Answer,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use pushpull_domain::{EventType, EventTypeName, FeatureFlag, RetrySchedule, Timestamp, key::Scope};
use pushpull_store::{Order, WriteError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    EDIT_TRIES,
    auth::Caller,
    extract::{Json, Patch, Query, given},
    models::{
        endpoint_in::{check_list, either, invalid},
        json, schema,
    },
    paging::{self, Ordering},
    path::param,
    problem::Problem,
    state::Api,
};

/// Most features that an event type is hidden behind.
const FEATURE_FLAGS_MAX: usize = 25;
const NONE: Problem = Problem::NotFound("event type");

/// A new event type.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventTypeIn {
    /// Its name, unique in the environment.
    #[schemars(with = "schema::Name")]
    pub name: EventTypeName,
    // Said once more, not flattened: a fault in a flattened field has no place, and its JSON no bytes.
    /// For people.
    pub description: String,
    /// Hidden from lists.
    #[serde(default)]
    pub archived: bool,
    /// Still sent, but not to be built upon.
    #[serde(default)]
    pub deprecated: bool,
    /// JSON Schemas by version.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub schemas: Option<Box<RawValue>>,
    /// The group it is listed under.
    #[schemars(with = "Option<schema::Name>")]
    pub group_name: Option<String>,
    /// Only portals with one of these features see it; none has one yet.
    #[schemars(with = "Option<Vec<schema::Name>>", length(min = 1), extend("uniqueItems" = true))]
    pub feature_flags: Option<Vec<FeatureFlag>>,
    /// One such feature, as SDKs of 1.x can give it.
    #[schemars(with = "Option<schema::Name>")]
    pub feature_flag: Option<FeatureFlag>,
    /// Its own waits between attempts, in seconds; absent: the server's. A change counts within 5 seconds.
    #[schemars(with = "Option<Vec<f64>>")]
    pub retry_schedule: Option<RetrySchedule>,
}

impl EventTypeIn {
    fn split(self) -> (EventTypeName, EventTypeUpsertIn) {
        let Self {
            name,
            description,
            archived,
            deprecated,
            schemas,
            group_name,
            feature_flags,
            feature_flag,
            retry_schedule,
        } = self;
        let rest = EventTypeUpsertIn {
            description,
            archived,
            deprecated,
            schemas,
            group_name,
            feature_flags,
            feature_flag,
            retry_schedule,
        };
        (name, rest)
    }
}

/// What is said of an event type.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventTypeUpsertIn {
    /// For people.
    pub description: String,
    /// Hidden from lists.
    #[serde(default)]
    pub archived: bool,
    /// Still sent, but not to be built upon.
    #[serde(default)]
    pub deprecated: bool,
    /// JSON Schemas by version.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub schemas: Option<Box<RawValue>>,
    /// The group it is listed under.
    #[schemars(with = "Option<schema::Name>")]
    pub group_name: Option<String>,
    /// Only portals with one of these features see it; none has one yet.
    #[schemars(with = "Option<Vec<schema::Name>>", length(min = 1), extend("uniqueItems" = true))]
    pub feature_flags: Option<Vec<FeatureFlag>>,
    /// One such feature, as SDKs of 1.x can give it.
    #[schemars(with = "Option<schema::Name>")]
    pub feature_flag: Option<FeatureFlag>,
    /// Its own waits between attempts, in seconds; absent: the server's. A change counts within 5 seconds.
    #[schemars(with = "Option<Vec<f64>>")]
    pub retry_schedule: Option<RetrySchedule>,
}

/// What is to change of an event type: what is absent stays, `null` takes away.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTypePatch {
    /// For people.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "String")]
    pub description: Option<String>,
    /// Hidden from lists.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "bool")]
    pub archived: Option<bool>,
    /// Still sent, but not to be built upon.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "bool")]
    pub deprecated: Option<bool>,
    /// JSON Schemas by version.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub schemas: Patch<Box<RawValue>>,
    /// The group it is listed under.
    #[schemars(with = "Option<schema::Name>")]
    pub group_name: Patch<String>,
    /// Only portals with one of these features see it; none has one yet.
    #[schemars(with = "Option<Vec<schema::Name>>", length(min = 1), extend("uniqueItems" = true))]
    pub feature_flags: Patch<Vec<FeatureFlag>>,
    /// One such feature, as SDKs of 1.x can give it.
    #[schemars(with = "Option<schema::Name>")]
    pub feature_flag: Patch<FeatureFlag>,
    /// Its own waits between attempts, in seconds.
    #[schemars(with = "Option<Vec<f64>>")]
    pub retry_schedule: Patch<RetrySchedule>,
}

/// An event type.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventTypeOut<'a> {
    /// Its name.
    #[schemars(with = "schema::Name")]
    pub name: &'a EventTypeName,
    /// For people.
    pub description: &'a str,
    /// Hidden from lists.
    pub archived: bool,
    /// Still sent, but not to be built upon.
    pub deprecated: bool,
    /// JSON Schemas by version; absent: it has none, or they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub schemas: Option<&'a RawValue>,
    /// The group it is listed under.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Name>")]
    pub group_name: Option<&'a str>,
    /// Only portals with one of these features see it; none has one yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::Name>>", extend("uniqueItems" = true))]
    pub feature_flags: Option<&'a [FeatureFlag]>,
    /// That feature, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Name>")]
    pub feature_flag: Option<&'a FeatureFlag>,
    /// Its own waits between attempts, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<f64>>")]
    pub retry_schedule: Option<&'a RetrySchedule>,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// When it was last changed.
    #[schemars(extend("format" = "date-time"))]
    pub updated_at: String,
}

impl<'a> EventTypeOut<'a> {
    fn new(event_type: &'a EventType, with_content: bool) -> Self {
        Self {
            name: &event_type.name,
            description: &event_type.description,
            archived: event_type.archived,
            deprecated: event_type.deprecated,
            schemas: event_type.schemas.as_deref().filter(|_| with_content),
            group_name: event_type.group_name.as_deref(),
            feature_flags: event_type.feature_flags.as_deref(),
            feature_flag: match event_type.feature_flags.as_deref() {
                Some([flag]) => Some(flag),
                _ => None,
            },
            retry_schedule: event_type.retry_schedule.as_ref(),
            created_at: event_type.created_at.to_string(),
            updated_at: event_type.updated_at.to_string(),
        }
    }
}

impl EventTypeUpsertIn {
    fn check(
        self,
        environment: pushpull_domain::EnvironmentNo,
        name: EventTypeName,
    ) -> Result<EventType, Problem> {
        let one = self.feature_flag.map(|flag| vec![flag]);
        let feature_flags = either(("featureFlags", self.feature_flags), ("featureFlag", one))?;
        Ok(EventType {
            environment,
            name,
            description: self.description,
            archived: self.archived,
            deprecated: self.deprecated,
            schemas: self.schemas.map(check_schemas).transpose()?,
            feature_flags: check_list("featureFlags", feature_flags, FEATURE_FLAGS_MAX)?,
            group_name: self.group_name.map(check_group).transpose()?,
            retry_schedule: self.retry_schedule,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        })
    }
}

impl EventTypePatch {
    fn apply(&self, event_type: &mut EventType) -> Result<(), Problem> {
        if let Some(description) = &self.description {
            event_type.description.clone_from(description);
        }
        event_type.archived = self.archived.unwrap_or(event_type.archived);
        event_type.deprecated = self.deprecated.unwrap_or(event_type.deprecated);
        if let Some(schemas) = self.schemas.given() {
            event_type.schemas = schemas.cloned().map(check_schemas).transpose()?;
        }
        if let Some(group) = self.group_name.given() {
            event_type.group_name = group.cloned().map(check_group).transpose()?;
        }
        let flags = self.feature_flags.given().map(Option::<&_>::cloned);
        let one = self.feature_flag.given().map(|flag| flag.map(|flag| vec![flag.clone()]));
        if let Some(flags) = either(("featureFlags", flags), ("featureFlag", one))? {
            event_type.feature_flags = check_list("featureFlags", flags, FEATURE_FLAGS_MAX)?;
        }
        if let Some(schedule) = self.retry_schedule.given() {
            event_type.retry_schedule = schedule.cloned();
        }
        Ok(())
    }
}

/// An object with a schema for each version; kept as it came.
fn check_schemas(schemas: Box<RawValue>) -> Result<Box<RawValue>, Problem> {
    match serde_json::from_str::<BTreeMap<Cow<'_, str>, BTreeMap<Cow<'_, str>, &RawValue>>>(schemas.get()) {
        Ok(_) => Ok(schemas),
        Err(_) => {
            Err(invalid("schemas", "must be an object that has a JSON Schema, an object, for each version"))
        }
    }
}

fn check_group(name: String) -> Result<String, Problem> {
    EventTypeName::new(&name).map_err(|error| invalid("groupName", error))?;
    Ok(name)
}

/// Event types behind a feature are hidden from portals: no portal's key has a feature yet.
pub(crate) fn is_seen_by(caller: &Caller, event_type: &EventType) -> bool {
    event_type.feature_flags.is_none() || !matches!(caller.scope, Scope::App { .. })
}

/// What the path calls the event type.
pub(crate) struct Named(EventTypeName);

impl FromRequestParts<Api> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let text = param(parts, "event_type_name").await.ok_or(NONE)?;
        EventTypeName::new(&text).map(Self).map_err(|_| NONE)
    }
}

/// What a list of event types shows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    iterator: Option<String>,
    /// Which way the list goes, by name.
    #[schemars(with = "Option<schema::Ordering>")]
    order: Option<Ordering>,
    /// Whether archived ones are shown too.
    #[serde(default)]
    include_archived: bool,
    /// Whether schemas are shown.
    #[serde(default)]
    with_content: bool,
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let order = query.order.map_or(Order::Ascending, Order::from);
    let asked = query.iterator.as_deref();
    let page = paging::query::<EventTypeName>(query.limit, asked, order)?;
    let read = |page| api.store().event_types(caller.environment, query.include_archived, page);
    let key = |event_type: &EventType| event_type.name.clone();
    let found =
        paging::visible(page, read, key, |event_type| Some(event_type).filter(|e| is_seen_by(&caller, e)));
    let found = found.await?;
    Ok(paging::answer(
        &found,
        asked,
        |e| e.name.clone(),
        found.items.len() * 256,
        |out, event_type| {
            json::write(out, &EventTypeOut::new(event_type, query.with_content));
        },
    ))
}

pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(given): Json<EventTypeIn>,
) -> Result<Response, Problem> {
    let (name, given) = given.split();
    let new = given.check(caller.environment, name)?;
    match api.store().create_event_type(new.clone()).await {
        Ok(made) => Ok(shown(StatusCode::CREATED, &made)),
        // One that was archived comes back as it is described now.
        Err(WriteError::Taken(_)) => {
            let written = edit(&api, caller.environment, &new.name, |found| {
                if !found.archived {
                    return Err(Problem::refused("event type", WriteError::Taken("name")));
                }
                replace(found, &new);
                Ok(())
            });
            Ok(shown(StatusCode::CREATED, &written.await?))
        }
        Err(error) => Err(Problem::refused("event type", error)),
    }
}

fn replace(found: &mut EventType, new: &EventType) {
    let (created_at, updated_at) = (found.created_at, found.updated_at);
    *found = EventType { created_at, updated_at, ..new.clone() };
}

pub(crate) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
) -> Result<Response, Problem> {
    let found = api.store().event_type(caller.environment, name).await?;
    let found = found.filter(|event_type| is_seen_by(&caller, event_type)).ok_or(NONE)?;
    Ok(shown(StatusCode::OK, &found))
}

pub(crate) async fn upsert(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Json(given): Json<EventTypeUpsertIn>,
) -> Result<Response, Problem> {
    let new = given.check(caller.environment, name)?;
    match api.store().create_event_type(new.clone()).await {
        Ok(made) => Ok(shown(StatusCode::CREATED, &made)),
        Err(WriteError::Taken(_)) => {
            let written = edit(&api, caller.environment, &new.name, |found| {
                replace(found, &new);
                Ok(())
            });
            Ok(shown(StatusCode::OK, &written.await?))
        }
        Err(error) => Err(Problem::refused("event type", error)),
    }
}

pub(crate) async fn patch(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Json(change): Json<EventTypePatch>,
) -> Result<Response, Problem> {
    let written = edit(&api, caller.environment, &name, |found| change.apply(found)).await?;
    Ok(shown(StatusCode::OK, &written))
}

/// How an event type is taken away.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct DeleteQuery {
    /// Removes it for good; otherwise it is archived.
    #[serde(default)]
    expunge: bool,
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Problem> {
    if query.expunge {
        let deleted = api.store().delete_event_type(caller.environment, name).await;
        deleted.map_err(|error| Problem::refused("event type", error))?;
    } else {
        edit(&api, caller.environment, &name, |found| {
            found.archived = true;
            Ok(())
        })
        .await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Changes an event type as it is now; again if somebody else changed it at the same time.
async fn edit(
    api: &Api,
    environment: pushpull_domain::EnvironmentNo,
    name: &EventTypeName,
    change: impl Fn(&mut EventType) -> Result<(), Problem>,
) -> Result<EventType, Problem> {
    for _ in 0..EDIT_TRIES {
        let mut event_type = api.store().event_type(environment, name.clone()).await?.ok_or(NONE)?;
        change(&mut event_type)?;
        match api.store().update_event_type(event_type).await {
            Err(WriteError::Stale) => {}
            other => return other.map_err(|error| Problem::refused("event type", error)),
        }
    }
    Err(Problem::refused("event type", WriteError::Stale))
}

fn shown(status: StatusCode, event_type: &EventType) -> Response {
    (status, Answer(EventTypeOut::new(event_type, true))).into_response()
}
