//! The document: whole in itself, as it is kept in `docs/openapi.json`, and as the published API has it but for
//! what `docs/api-differences.md` says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// What is known of the published API's routes (document 1.947) that are here too: for each, its facts by place,
/// in the words of [`facts`].
const PUBLISHED: &str = include_str!("svix_v1_facts.json");
const DIFFERENCES: &str = include_str!("../../../../docs/api-differences.md");
const KEPT: &str = include_str!("../../../../docs/openapi.json");

/// Facts of one route, by place: `body url`, `query limit`, `answer id`.
type Facts = BTreeMap<String, String>;

fn document() -> Value {
    pushpull_api::openapi::document(env!("CARGO_PKG_VERSION"))
}

#[test]
fn the_document_in_docs_is_the_one_that_is_served() {
    assert!(
        serde_json::from_str::<Value>(KEPT).unwrap() == document(),
        "stale: cargo run -p pushpull-api --example openapi > docs/openapi.json"
    );
}

#[test]
fn the_document_is_whole() {
    let document = document();
    let mut references = BTreeSet::new();
    walk(&document, &mut |value| {
        if let Some(to) = value.get("$ref").and_then(Value::as_str) {
            references.insert(to.to_owned());
        }
        assert!(!value.get("type").is_some_and(Value::is_array), "no OpenAPI 3.0: {value}");
    });
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        assert!(references.contains(&format!("#/components/schemas/{name}")), "nothing refers to {name}");
    }
    let mut ids = BTreeSet::new();
    for (path, _, operation) in operations(&document) {
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "twice: {}",
            operation["operationId"]
        );
        let named: Vec<_> = path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = operation["parameters"].as_array().unwrap();
        let told: Vec<_> = parameters.iter().filter(|p| p["in"] == "path").map(|p| &p["name"]).collect();
        assert_eq!(json!(told), json!(named), "{path}");
        assert!(operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2')));
    }
}

fn walk(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| walk(member, visit)),
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
    })
}

#[test]
fn what_differs_from_the_published_api_is_written_down_and_nothing_else() {
    let published: BTreeMap<String, Facts> = serde_json::from_str(PUBLISHED).unwrap();
    let document = document();
    let ours: BTreeMap<String, Facts> = operations(&document)
        .map(|(path, method, operation)| {
            (format!("{} {path}", method.to_uppercase()), facts(&document, operation))
        })
        .collect();

    let mut found = BTreeSet::new();
    for route in published.keys().chain(ours.keys()) {
        match (published.get(route), ours.get(route)) {
            (Some(theirs), Some(ours)) => {
                for place in theirs.keys().chain(ours.keys()) {
                    let (theirs, ours) = (theirs.get(place), ours.get(place));
                    if theirs != ours {
                        found.insert(row(place, theirs, ours));
                    }
                }
            }
            (theirs, ours) => {
                let known = |facts: Option<&Facts>| facts.map(|_| "there".to_owned());
                found.insert(row(route, known(theirs).as_ref(), known(ours).as_ref()));
            }
        }
    }

    let mut written = BTreeSet::new();
    for line in DIFFERENCES.lines().filter(|line| line.starts_with("| `")) {
        let (facts, reason) = line.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        assert!(reason.len() > 10, "no reason: {line}");
        assert!(written.insert(facts.to_owned()), "twice: {line}");
    }
    let unwritten: Vec<_> = found.difference(&written).collect();
    let untrue: Vec<_> = written.difference(&found).collect();
    assert!(
        unwritten.is_empty() && untrue.is_empty(),
        "docs/api-differences.md\nlacks:\n{unwritten:#?}\nhas what is not so:\n{untrue:#?}"
    );
}

fn row(place: &str, theirs: Option<&String>, ours: Option<&String>) -> String {
    let shown = |fact: Option<&String>| fact.map_or("-", String::as_str).to_owned();
    format!("| `{place}` | {} | {}", shown(theirs), shown(ours))
}

/// What is to be compared of a route.
fn facts(document: &Value, operation: &Value) -> Facts {
    let mut facts = Facts::new();
    facts.insert("operationId".into(), operation["operationId"].as_str().unwrap().to_owned());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let mut schema = resolve(document, &parameter["schema"]);
        schema["nullable"] = false.into();
        let is_number = schema["type"] == "integer";
        let mut words = words(document, &schema, is_number);
        words.extend((parameter["required"] == true).then(|| "required".to_owned()));
        let place = format!("{} {}", parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
        facts.insert(place, words.join(", "));
    }
    if let Some(body) = operation.get("requestBody") {
        facts.insert("body".into(), if body["required"] == true { "required" } else { "optional" }.into());
        fields(document, &body["content"]["application/json"]["schema"], "body", &mut facts);
    }
    for (status, response) in operation["responses"].as_object().unwrap() {
        if status.starts_with('2') {
            let content = response.get("content");
            facts.insert(status.clone(), if content.is_some() { "with a body" } else { "empty" }.into());
            if let Some(content) = content {
                fields(document, &content["application/json"]["schema"], "answer", &mut facts);
            }
        }
    }
    facts
}

fn fields(document: &Value, schema: &Value, place: &str, facts: &mut Facts) {
    let schema = resolve(document, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if name == "data" {
            let items = &resolve(document, property)["items"];
            fields(document, items, place, facts);
            continue;
        }
        let mut words = words(document, property, place == "body");
        let is_required = schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
        words.extend(is_required.then(|| "required".to_owned()));
        facts.insert(format!("{place} {name}"), words.join(", "));
    }
}

/// A schema with what it refers to.
fn resolve(document: &Value, schema: &Value) -> Value {
    let mut whole = schema.clone();
    while let Some(of) = whole.get("$ref").cloned().or_else(|| whole["allOf"][0].get("$ref").cloned()) {
        let target = document.pointer(of.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
        let nullable = whole["nullable"] == true || target["nullable"] == true;
        whole = target.clone();
        whole["nullable"] = nullable.into();
    }
    whole
}

/// A schema in a few words; limits and defaults only where they bind who calls.
fn words(document: &Value, schema: &Value, with_limits: bool) -> Vec<String> {
    let schema = resolve(document, schema);
    let kind = schema["type"].as_str().unwrap_or("any");
    let part = |of: &Value| words(document, of, false).remove(0);
    let mut words = vec![match (&schema["items"], &schema["additionalProperties"]) {
        (items, _) if kind == "array" => format!("array of {}", part(items)),
        (_, of) if of.get("type").is_some() => format!("{kind} of {}", part(of)),
        _ => kind.to_owned(),
    }];
    words.extend(schema["format"].as_str().filter(|f| ["date-time", "uri"].contains(f)).map(str::to_owned));
    if let Some(values) = schema["enum"].as_array() {
        let values = values.iter().filter(|value| !value.is_null());
        let values: Vec<_> =
            values.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        words.push(format!("one of {}", values.join(" ")));
    }
    if with_limits {
        let limits = [
            ("minimum", "at least"),
            ("maximum", "at most"),
            ("minLength", "length at least"),
            ("maxLength", "length at most"),
            ("minItems", "items at least"),
            ("maxItems", "items at most"),
        ];
        for (name, word) in limits {
            // What every number of the type is says nothing.
            let limit = schema[name].as_f64().filter(|limit| ![0.0, 255.0, 65_535.0].contains(limit));
            words.extend(limit.map(|limit| format!("{word} {limit}")));
        }
        let default = schema.get("default").filter(|d| ![json!(null), json!([]), json!({})].contains(d));
        words.extend(default.map(|default| format!("default {default}")));
    }
    words.extend((schema["nullable"] == true).then(|| "nullable".to_owned()));
    words
}
