//! What a path names: found once, or the request is answered 404.
//!
//! Something of another environment or application is answered exactly as something that does not exist.

use std::{str::FromStr, sync::Arc};

use axum::{
    RequestPartsExt,
    extract::{FromRequestParts, RawPathParams},
};
use http::request::Parts;
use pushpull_domain::{AppId, AppSnapshot, Endpoint, EndpointId, EventId, Message, MessageId, Uid};
use pushpull_store::Ref;

use crate::{auth::Caller, problem::Problem, state::Api};

const NO_APP: Problem = Problem::NotFound("application");
const NO_ENDPOINT: Problem = Problem::NotFound("endpoint");
const NO_MESSAGE: Problem = Problem::NotFound("message");

/// An id or a uid, as it stands in a path or a query. `None`: it can be neither.
pub(crate) fn reference<Id: FromStr>(text: &str) -> Option<Ref<Id>> {
    text.parse().map(Ref::Id).ok().or_else(|| Uid::new(text).map(Ref::Uid).ok())
}

/// A parameter of the path, decoded.
pub(crate) async fn param(parts: &mut Parts, name: &str) -> Option<String> {
    let params = parts.extract::<RawPathParams>().await.ok()?;
    params.iter().find_map(|(key, value)| (key == name).then(|| value.to_owned()))
}

/// What the path calls the application, whether or not there is one.
pub(crate) struct AppRef(pub(crate) Ref<AppId>);

impl FromRequestParts<Api> for AppRef {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let text = param(parts, "app_id").await.ok_or(NO_APP)?;
        reference(&text).map(Self).ok_or(NO_APP)
    }
}

/// The application in the path.
pub(crate) struct InApp(pub(crate) Arc<AppSnapshot>);

impl FromRequestParts<Api> for InApp {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let AppRef(name) = AppRef::from_request_parts(parts, api).await?;
        let found = api.log.app(caller.environment, &name).await?;
        found.filter(|found| caller.sees(found.app.id)).map(Self).ok_or(NO_APP)
    }
}

/// What the path calls the endpoint, whether or not there is one.
pub(crate) struct EndpointRef(pub(crate) Ref<EndpointId>);

impl FromRequestParts<Api> for EndpointRef {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        // The published API calls it a sink where its queue is read.
        let text = match param(parts, "endpoint_id").await {
            Some(text) => text,
            None => param(parts, "sink_id").await.ok_or(NO_ENDPOINT)?,
        };
        reference(&text).map(Self).ok_or(NO_ENDPOINT)
    }
}

/// The endpoint of that name in an application.
pub(crate) fn endpoint<'a>(
    app: &'a AppSnapshot,
    name: &Ref<EndpointId>,
) -> Result<&'a Arc<Endpoint>, Problem> {
    app.endpoints
        .iter()
        .find(|endpoint| match name {
            Ref::Id(id) => endpoint.id == *id,
            Ref::Uid(uid) => endpoint.uid.as_ref() == Some(uid),
        })
        .ok_or(NO_ENDPOINT)
}

/// The endpoint in the path.
pub(crate) struct AtEndpoint {
    pub(crate) app: Arc<AppSnapshot>,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl FromRequestParts<Api> for AtEndpoint {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let InApp(app) = InApp::from_request_parts(parts, api).await?;
        let EndpointRef(name) = EndpointRef::from_request_parts(parts, api).await?;
        let endpoint = Arc::clone(endpoint(&app, &name)?);
        // A poller token has one endpoint; the others of its application are none of its business.
        let caller = Caller::from_request_parts(parts, api).await?;
        if caller.reads(endpoint.id) { Ok(Self { app, endpoint }) } else { Err(NO_ENDPOINT) }
    }
}

/// The message in the path, by its id or the user's own id of it.
pub(crate) struct OfMessage {
    pub(crate) app: Arc<AppSnapshot>,
    pub(crate) message: Arc<Message>,
}

impl FromRequestParts<Api> for OfMessage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let InApp(app) = InApp::from_request_parts(parts, api).await?;
        let text = param(parts, "msg_id").await.ok_or(NO_MESSAGE)?;
        let message = if let Ok(id) = text.parse::<MessageId>() {
            api.store().message(app.app.no, id).await?
        } else {
            let id = EventId::new(&text).map_err(|_| NO_MESSAGE)?;
            api.store().message_by_event_id(app.app.no, id).await?
        };
        Ok(Self { app, message: message.ok_or(NO_MESSAGE)? })
    }
}
