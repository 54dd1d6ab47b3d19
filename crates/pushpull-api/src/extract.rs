//! What a request says, read once at the edge.

use std::{borrow::Cow, fmt};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
};
use bytes::Bytes;
use http::{header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::{
    problem::{Kind, Problem},
    state::Api,
};

/// Largest body of a request that carries no payload, in bytes: an endpoint with every field at its longest fits.
const BODY_MAX: usize = 1024 * 1024;

/// A field of a partial change: absent, `null` and a value are three things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// It stays.
    #[default]
    Absent,
    /// It is taken away.
    Null,
    /// It becomes this.
    Value(T),
}

/// Absent fields are left to `#[serde(default)]`.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

impl<T> Patch<T> {
    /// What the field is to become; the outer `None`: it stays.
    #[expect(clippy::option_option, reason = "absent and null are different things in a patch")]
    pub(crate) fn given(&self) -> Option<Option<&T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }
}

/// Reads a field that may be absent, but is not `null` when it is there.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// Reads a body of JSON. What is wrong is told by line and column, or by place.
pub(crate) fn read_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    refuse_list(body)?;
    refuse_nul(body)?;
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| fault(body, &error))?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// JSON is UTF-8 (RFC 8259 s. 8.1), which serde does not look at where it skips.
fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// No store has to keep the character NUL in a text: PostgreSQL cannot. (In a payload it may stand: that is bytes.)
fn refuse_nul(body: &[u8]) -> Result<(), Problem> {
    const ESCAPED: &[u8] = b"u0000";
    let is_escaped = |at: usize| body[..at].iter().rev().take_while(|c| **c == b'\\').count() % 2 == 1;
    if body.windows(ESCAPED.len()).enumerate().any(|(at, text)| text == ESCAPED && is_escaped(at)) {
        return Err(Problem::invalid(&["body"], "texts may not hold the character U+0000"));
    }
    Ok(())
}

/// serde also reads a struct from a list of its fields, in an order that nobody promised.
pub(crate) fn refuse_list(body: &[u8]) -> Result<(), Problem> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::invalid(&["body"], "must be an object"));
    }
    Ok(())
}

fn fault(body: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let text = if error.inner().is_data() {
        plain(error.inner())
    } else if !is_json(body) {
        return malformed(error.inner());
    } else {
        // What serde_json says of a word of ours for which something else stands than a text.
        "has not the type that it must have".to_owned()
    };
    let mut place = vec!["body".to_owned()];
    place.extend(steps(error.path()));
    missing_or_invalid(place, text)
}

/// serde names a missing field in its message only.
fn missing_or_invalid(mut place: Vec<String>, text: String) -> Problem {
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    match missing {
        Some((field, _)) => {
            place.push(field.to_owned());
            Problem::missing(place, "field required")
        }
        None => Problem::Invalid { place, message: text, kind: Kind::Value },
    }
}

fn steps(path: &serde_path_to_error::Path) -> impl Iterator<Item = String> {
    use serde_path_to_error::Segment;
    path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    })
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::MalformedJson { message: plain(error), line: error.line(), column: error.column() }
}

/// What serde says, without the line and column at its end.
pub(crate) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or_else(|| text.clone(), |(message, _)| message.to_owned())
}

/// Reads a body, refusing one over a limit before it is there whole.
pub(crate) async fn read_body(body: Body, parts: &Parts, max: usize) -> Result<Bytes, Problem> {
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(Problem::too_large(max));
    }
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large(max)),
        Err(_) => Err(Problem::Cut),
    }
}

/// The body, read as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = read_body(body, &parts, BODY_MAX).await?;
        read_json(&body).map(Self)
    }
}

/// The query, read into a struct. A parameter may be given more than once where it takes a list.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        read_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

pub(crate) fn read_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = serde_html_form::Deserializer::from_bytes(query.as_bytes());
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let place = std::iter::once("query".to_owned()).chain(steps(error.path())).collect();
        missing_or_invalid(place, error.inner().to_string())
    })
}

/// Items that come as a parameter each, or in one with commas between them.
pub(crate) fn comma_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    let given = Vec::<Cow<'de, str>>::deserialize(deserializer)?;
    given
        .iter()
        .flat_map(|text| text.split(','))
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(serde::de::Error::custom))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[expect(dead_code, reason = "only whether it is read matters")]
        name: String,
        #[serde(default)]
        inner: Vec<Inner>,
        #[expect(dead_code, reason = "only whether it is read matters")]
        word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    enum Word {
        A,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only whether it is read matters")]
        count: u8,
    }

    #[track_caller]
    fn check(body: &str, expected: &str) {
        let problem = read_json::<Body>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_by_place() {
        assert!(read_json::<Body>(br#"{"name":"a","inner":[{"count":1}]}"#).unwrap().inner.len() == 1);
        check("{\"name\":\n \"a\",}", "the body is not JSON: trailing comma at line 2, column 6");
        check("", "the body is not JSON: EOF while parsing a value at line 1, column 0");
        check(r#"{"name":"a"} x"#, "the body is not JSON: trailing characters at line 1, column 14");
        check("{}", "body.name: field required");
        check(r#"{"name":"a\u0000"}"#, "body: texts may not hold the character U+0000");
        check(r#"{"name":"a\\\u0000"}"#, "body: texts may not hold the character U+0000");
        assert!(read_json::<Body>(br#"{"name":"a\\u0000","inner":[]}"#).is_ok(), "a backslash, and more");
        check(r#"{"name":7}"#, "body.name: invalid type: integer `7`, expected a string");
        check(r#"{"name":"a","word":7}"#, "body.word: has not the type that it must have");
        let deep = r#"{"name":"a","inner":[{"count":1},{"count":300}]}"#;
        check(deep, "body.inner.1.count: invalid value: integer `300`, expected u8");
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct List {
        limit: Option<u8>,
        #[serde(default, deserialize_with = "comma_list")]
        event_types: Vec<String>,
    }

    #[test]
    fn a_list_in_a_query_comes_in_either_way() {
        let list = |q| read_query::<List>(q).unwrap().event_types;
        assert_eq!(list("event_types=a&event_types=b,c"), ["a", "b", "c"]);
        assert_eq!(list("event_types=a%2Cb&unknown=1"), ["a", "b"]);
        assert_eq!(list(""), Vec::<String>::new());
        let problem = read_query::<List>("limit=x").unwrap_err().to_string();
        assert_eq!(problem, "query.limit: invalid digit found in string");
    }
}
