//! A token in the URL: `?access_token=` (RFC 6750 s. 2.3), since a browser's `EventSource` sets no headers.
//!
//! Only where an endpoint's queue is read, and only a poller token: URLs end in histories and in the logs of
//! every proxy on the way, so what is found in one must open next to nothing. It is taken out of the request's
//! URI before anything else sees that, and whatever is answered is kept by nobody and named to nobody.

use std::sync::Arc;

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Method, Uri, header, uri::PathAndQuery};
use pushpull_domain::key::Scope;

use super::{Caller, of_some_length};
use crate::problem::Problem;

/// The parameter.
const NAME: &str = "access_token";

const TWICE: Problem = Problem::Unauthenticated("give the key once: in the header or as `access_token`");
const NOT_A_POLLER: Problem = Problem::Unauthenticated(
    "`access_token` takes poller tokens only; a key that was in a URL may stand in logs: revoke it, and give it \
     as `Authorization: Bearer KEY`",
);

/// What was in a request's URI, until it is known who calls.
#[derive(Clone)]
pub(super) struct InUrl(Vec<String>);

/// Takes what is a token out of a request's URI; whether there was one.
pub(crate) fn take(request: &mut Request) -> bool {
    if request.method() != Method::GET {
        return false;
    }
    let Some((query, tokens)) = request.uri().query().and_then(split) else { return false };
    *request.uri_mut() = with_query(request.uri(), &query);
    request.extensions_mut().insert(InUrl(tokens));
    true
}

/// Keeps an answer out of caches, and the URL out of what is asked because of it.
pub(crate) fn seclude(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

impl InUrl {
    /// The token, if the request shows a key in no other way.
    pub(super) fn token(&self, headers: &HeaderMap) -> Result<&str, Problem> {
        match &self.0[..] {
            [token] if !headers.contains_key(header::AUTHORIZATION) => of_some_length(token),
            _ => Err(TWICE),
        }
    }

    /// Refuses every other key.
    pub(super) fn only_poller(caller: Arc<Caller>) -> Result<Arc<Caller>, Problem> {
        if matches!(caller.scope, Scope::Poller { .. }) { Ok(caller) } else { Err(NOT_A_POLLER) }
    }
}

/// What is left of a query without the tokens, and those; `None`: there are none in it.
fn split(query: &str) -> Option<(String, Vec<String>)> {
    let (tokens, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| is_token(pair));
    if tokens.is_empty() {
        return None;
    }
    let values = tokens.iter().flat_map(|pair| url::form_urlencoded::parse(pair.as_bytes()));
    Some((rest.join("&"), values.map(|(_, value)| value.into_owned()).collect()))
}

/// However its name is written: `access%5Ftoken` is one too.
fn is_token(pair: &str) -> bool {
    url::form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| name == NAME)
}

fn with_query(uri: &Uri, query: &str) -> Uri {
    let path = uri.path();
    let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).expect("parts of a URI are one"));
    Uri::from_parts(parts).expect("it had a path before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, rest: &str, tokens: &[&str]) {
        let uri = Uri::try_from(format!("http://here/a/b?{query}")).unwrap();
        let (left, found) = split(uri.query().unwrap()).unwrap();
        assert_eq!(found, tokens);
        assert_eq!(with_query(&uri, &left).to_string(), format!("http://here/a/b{rest}"));
    }

    #[test]
    fn the_token_is_taken_out_of_the_uri_and_nothing_else() {
        check("access_token=a", "", &["a"]);
        check("limit=1&access_token=a-_%2B&iterator=x%20y", "?limit=1&iterator=x%20y", &["a-_+"]);
        check("access%5Ftoken=a&x", "?x", &["a"]);
        check("access_token=a&access_token=b&", "", &["a", "b"]);
        check("access_token", "", &[""]);
        assert_eq!(split("limit=1&ACCESS_TOKEN=a&my_access_token=b"), None);
    }
}
