//! The `OpenAPI` document, generated from the table of routes and the types that are read and written.

use http::Method;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

use crate::{
    auth::Need,
    models::schema,
    problem::{ErrorOut, ValidationErrorOut},
    route::Route,
    routes,
};

/// The document, for one version of the program.
pub fn document(version: &str) -> Value {
    let settings = SchemaSettings::openapi3().with_transform(RecursiveTransform(plain));
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes::all() {
        let path = format!("/api/v1{}", route.path);
        let operation = operation(&route, &mut generator);
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut document = json!({
        "openapi": "3.0.3",
        "info": {
            "title": "pushpull",
            "version": version,
            "description": "Webhooks out: the Svix API, v1.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
    });
    document["components"]["schemas"] = Value::Object(generator.take_definitions(true));
    document
}

/// Says what may be `null` in this version's words, and leaves out defaults that say nothing.
fn plain(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    let Some([one, null]) = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) else { return };
    if null["enum"] == json!([null]) {
        let one = one.clone();
        schema.remove("anyOf");
        schema.insert("allOf".into(), json!([one]));
        schema.insert("nullable".into(), true.into());
    }
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "parameters": parameters(route, generator),
        "responses": responses(route, generator),
    });
    if let Some(body) = route.body {
        let schema = body(generator);
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": schema } },
        });
    }
    if let Some(need) = route.need {
        operation["security"] = json!([{ "key": [] }]);
        operation["description"] = format!("Takes {}.", need.scopes()).into();
        operation["x-scopes"] = json!(need.words());
    }
    if route.is_deprecated {
        operation["deprecated"] = true.into();
    }
    operation
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let named = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = named
        .map(|name| {
            let schema = match name {
                "attempt_id" => generator.subschema_for::<schema::AttemptId>(),
                "event_type_name" => generator.subschema_for::<schema::Name>(),
                _ => generator.subschema_for::<schema::Uid>(),
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    if let Some(query) = route.query {
        let mut schema = query(generator);
        // Only what is referred to is put into this version's words by the generator itself.
        for transform in generator.transforms_mut() {
            transform.transform(&mut schema);
        }
        for (name, property) in schema.to_value()["properties"].as_object().into_iter().flatten() {
            let mut property = property.clone();
            let members = property.as_object_mut();
            let description = members.and_then(|members| {
                members.remove("nullable");
                members.remove("description")
            });
            let mut parameter = json!({ "name": name, "in": "query", "schema": property });
            if let Some(description) = description {
                parameter["description"] = description;
            }
            parameters.push(parameter);
        }
    }
    if route.method == Method::GET && route.need.is_some_and(Need::is_for_readers) {
        parameters.push(json!({
            "name": "access_token", "in": "query", "schema": { "type": "string" },
            "description": "A poller token, where a client cannot set the `Authorization` header. Other keys are refused.",
        }));
    }
    if route.method == Method::POST {
        let description = match route.need {
            Some(Need::Consume) => "Does not count here: such a request may be sent again without one.",
            _ => "A request with the same key is answered as the first was, for 12 hours.",
        };
        parameters.push(json!({
            "name": "idempotency-key", "in": "header", "schema": { "type": "string", "maxLength": 256 },
            "description": description,
        }));
    }
    parameters
}

fn responses(route: &Route, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, schema) in &route.answers {
        let mut response =
            json!({ "description": if schema.is_some() { "Done." } else { "Done; no content." } });
        if let Some(schema) = schema {
            response["content"] = json!({ "application/json": { "schema": schema(generator) } });
        }
        responses.insert(status.to_string(), response);
    }
    let error = generator.subschema_for::<ErrorOut>();
    let invalid = generator.subschema_for::<ValidationErrorOut>();
    let mut failures = vec![("503", "The server cannot do it now; come again after `Retry-After`.", &error)];
    if route.need.is_some() {
        failures.push(("401", "No key, or one that is not valid.", &error));
        failures.push(("403", "The key does not allow this.", &error));
    }
    if route.path.contains('{') {
        failures.push(("404", "There is no such thing.", &error));
    }
    if route.body.is_some() {
        failures.push(("409", "Another thing stands in the way.", &error));
        failures.push(("413", "The body is too large.", &error));
    }
    if route.body.is_some() || route.method == Method::POST {
        let description = "The body is not JSON, or this cannot be done with something as it is.";
        failures.push(("400", description, &error));
    }
    if route.body.is_some() || route.query.is_some() {
        failures.push(("422", "Something in the request is not what it must be.", &invalid));
    }
    for (status, description, schema) in failures {
        let content = json!({ "application/json": { "schema": schema } });
        responses.insert(status.into(), json!({ "description": description, "content": content }));
    }
    responses
}
