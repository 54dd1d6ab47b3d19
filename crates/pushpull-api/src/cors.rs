//! Which pages of other origins may read a queue (CORS, the Fetch standard s. 3.3).
//!
//! Only the routes that read one, and never with credentials: a page shows a poller token, which is all it needs.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::options,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::Url;

use crate::{auth::Need, problem::Problem, route::Route, state::Api};

/// What a page may send.
const HEADERS: &str = "accept, authorization, content-type, idempotency-key, last-event-id";
/// What a page may read of an answer's head besides what every page may.
const EXPOSED: &str = "retry-after";
/// For how long a browser need not ask again, in seconds: 2 h, the most that Chromium remembers.
const MAX_AGE: &str = "7200";

/// The origins whose pages may read a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// None: a browser is told nothing of it.
    #[default]
    None,
    /// All.
    Any,
    /// These, each as a browser writes it.
    These(Vec<HeaderValue>),
}

impl Origins {
    /// Reads a list with commas between; `*` alone: all of them. An error names what is no origin.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        match &parts[..] {
            [] => Ok(Self::None),
            ["*"] => Ok(Self::Any),
            parts => parts.iter().map(|part| origin(part)).collect::<Result<_, _>>().map(Self::These),
        }
    }

    /// What an answer tells a browser about who may see it.
    pub(crate) fn answer_to(&self, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let allowed = match self {
            Self::None => return Vec::new(),
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::These(origins) => {
                request.get(header::ORIGIN).filter(|origin| origins.contains(origin)).cloned()
            }
        };
        let mut headers = Vec::new();
        if *self != Self::Any {
            headers.push((header::VARY, HeaderValue::from_static("origin")));
        }
        if let Some(origin) = allowed {
            headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin));
            headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)));
        }
        headers
    }
}

/// An origin that a browser could send: compared byte for byte, so it must be as a browser writes it.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let written = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|url| url.origin().ascii_serialization());
    match written {
        Some(written) if written == text => Ok(HeaderValue::from_str(text).expect("an origin is ASCII")),
        Some(written) => Err(format!("`{text}` is no origin: write `{written}`")),
        None => Err(format!("`{text}` is no origin")),
    }
}

/// Answers what a browser asks before it asks; nothing if no origin is allowed.
pub(crate) fn preflights(origins: &Origins, routes: &[Route]) -> Router<Api> {
    let mut methods = BTreeMap::<String, Vec<Method>>::new();
    if *origins != Origins::None {
        for route in routes.iter().filter(|route| route.need.is_some_and(Need::is_for_readers)) {
            methods.entry(format!("/api/v1{}", route.path)).or_default().push(route.method.clone());
        }
    }
    methods.into_iter().fold(Router::new(), |router, (path, methods)| {
        let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
        let methods = HeaderValue::from_str(&methods.join(", ")).expect("names of methods are ASCII");
        let tell = move |State(api): State<Api>, request: HeaderMap| {
            std::future::ready(preflight(&api, &request, methods.clone()))
        };
        router.route(&path, options(tell))
    })
}

fn preflight(api: &Api, request: &HeaderMap, methods: HeaderValue) -> Response {
    if !request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return Problem::NoMethod.into_response();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.extend(api.origins.answer_to(request));
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[&'static str], &str>) {
        let expected = expected
            .map(|list| Origins::These(list.iter().map(|origin| HeaderValue::from_static(origin)).collect()));
        assert_eq!(Origins::parse(text), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        assert_eq!(Origins::parse("").unwrap(), Origins::None);
        assert_eq!(Origins::parse(" * ").unwrap(), Origins::Any);
        check(
            "https://a.example, http://localhost:3000",
            Ok(&["https://a.example", "http://localhost:3000"]),
        );
        check("https://a.example/", Err("`https://a.example/` is no origin: write `https://a.example`"));
        check("https://A.example", Err("`https://A.example` is no origin: write `https://a.example`"));
        check(
            "https://a.example:443",
            Err("`https://a.example:443` is no origin: write `https://a.example`"),
        );
        check("a.example", Err("`a.example` is no origin"));
        check("null", Err("`null` is no origin"));
        check("file:///a", Err("`file:///a` is no origin"));
        check("https://a.example,*", Err("`*` is no origin"));
    }
}
