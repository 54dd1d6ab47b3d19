//! Headers that an endpoint's requests carry beside ours.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use pushpull_domain::endpoint::CustomHeaders;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::Json,
    models::{
        custom_headers,
        endpoint_in::{check_headers, header_problem},
    },
    path::AtEndpoint,
    problem::Problem,
    routes::endpoint,
    state::Api,
};

/// All custom headers, in place of those there are.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct EndpointHeadersIn {
    /// Values by name.
    pub headers: BTreeMap<String, String>,
}

/// Custom headers to be set, or, with `null`, taken away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointHeadersPatchIn {
    /// Values by name.
    pub headers: BTreeMap<String, Option<String>>,
    /// Names to be taken away.
    #[serde(default)]
    pub delete_headers: Vec<String>,
}

/// Custom headers as they are shown.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EndpointHeadersOut {
    /// Values by name, but for sensitive ones.
    pub headers: BTreeMap<String, String>,
    /// Names of headers whose values are shown to nobody.
    pub sensitive: BTreeSet<String>,
}

impl From<&CustomHeaders> for EndpointHeadersOut {
    fn from(all: &CustomHeaders) -> Self {
        let mut out = Self { headers: BTreeMap::new(), sensitive: BTreeSet::new() };
        for (name, header) in all {
            if header.sensitive {
                out.sensitive.insert(name.clone());
            } else {
                out.headers.insert(name.clone(), header.value.clone());
            }
        }
        out
    }
}

pub(crate) async fn get(AtEndpoint { endpoint, .. }: AtEndpoint) -> Answer<EndpointHeadersOut> {
    Answer((&endpoint.headers).into())
}

pub(crate) async fn set(
    State(api): State<Api>,
    AtEndpoint { app, endpoint }: AtEndpoint,
    Json(given): Json<EndpointHeadersIn>,
) -> Result<StatusCode, Problem> {
    let headers = check_headers(&given.headers)?;
    endpoint::edit(&api, app.app.no, endpoint.id, |endpoint| {
        endpoint.headers.clone_from(&headers);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn patch(
    State(api): State<Api>,
    AtEndpoint { app, endpoint }: AtEndpoint,
    Json(given): Json<EndpointHeadersPatchIn>,
) -> Result<StatusCode, Problem> {
    endpoint::edit(&api, app.app.no, endpoint.id, |endpoint| {
        let taken_away = given.headers.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name);
        for name in taken_away.chain(&given.delete_headers) {
            endpoint.headers.remove(&name.to_ascii_lowercase());
        }
        for (name, value) in &given.headers {
            if let Some(value) = value {
                custom_headers::set(&mut endpoint.headers, name, value)
                    .map_err(|e| header_problem(name, e))?;
            }
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
