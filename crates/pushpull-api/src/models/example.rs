//! The example of an event type, found in its JSON Schemas.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// An event type whose example is always known: what the Svix API's clients send to try an endpoint.
pub const PING: &str = "svix.ping";
/// What it carries.
pub const PING_PAYLOAD: &str = r#"{"success":true}"#;

/// Why there is no example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoExample {
    /// The schemas have none.
    #[error("the event type's newest schema has no example; give it `examples`")]
    None,
    /// There are fewer than asked for.
    #[error("the event type's newest schema has only {count} examples, counted from 0")]
    Index {
        /// How many there are.
        count: usize,
    },
}

/// The example with this index in the newest of an event type's schemas (those are given by version).
/// A schema that has only one `example` gives that, whatever the index.
pub fn find(schemas: &RawValue, index: usize) -> Result<&RawValue, NoExample> {
    let versions = parts::<BTreeMap<String, &RawValue>>(schemas)?;
    let newest = versions.into_iter().max_by_key(|(version, _)| version.parse::<u64>().unwrap_or(0));
    let schema = parts::<BTreeMap<String, &RawValue>>(newest.ok_or(NoExample::None)?.1)?;
    if let Some(examples) = schema.get("examples") {
        let examples = parts::<Vec<&RawValue>>(examples)?;
        let count = examples.len();
        return match examples.get(index) {
            Some(example) => Ok(example),
            None if count == 0 => Err(NoExample::None),
            None => Err(NoExample::Index { count }),
        };
    }
    schema.get("example").copied().ok_or(NoExample::None)
}

/// What an object or a list is made of, each part as it stands there.
fn parts<'a, T: Deserialize<'a>>(whole: &'a RawValue) -> Result<T, NoExample> {
    serde_json::from_str(whole.get()).map_err(|_| NoExample::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schemas: &str, index: usize, expected: Result<&str, NoExample>) {
        let schemas: Box<RawValue> = serde_json::from_str(schemas).unwrap();
        assert_eq!(find(&schemas, index).map(RawValue::get), expected);
    }

    #[test]
    fn the_newest_schemas_example_is_found() {
        let two = r#"{"1": {"examples": [1]}, "10": {"examples": [{"a" : 1}, 2]}, "9": {}}"#;
        check(two, 0, Ok(r#"{"a" : 1}"#));
        check(two, 1, Ok("2"));
        check(two, 2, Err(NoExample::Index { count: 2 }));
        check(r#"{"1": {"example": {"b": 2}}}"#, 5, Ok(r#"{"b": 2}"#));
        for none in ["{}", r#"{"1": {}}"#, r#"{"1": {"examples": []}}"#, r#"{"1": true}"#, "[]"] {
            check(none, 0, Err(NoExample::None));
        }
    }
}
