//! One route: what it is called, what it takes of a key, what it reads and gives, and who answers it.

use axum::{
    handler::Handler,
    middleware::from_fn_with_state,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{
    auth::{Need, authorize},
    idempotency,
    state::Api,
};

/// Makes the schema of a type, its parts put among the generator's definitions.
type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// A route, as it stands in the table.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    /// `None`: anybody may ask.
    pub(crate) need: Option<Need>,
    pub(crate) query: Option<MakeSchema>,
    pub(crate) body: Option<MakeSchema>,
    /// Answers of success, by status.
    pub(crate) answers: Vec<(u16, Option<MakeSchema>)>,
    pub(crate) is_deprecated: bool,
    handled_once: bool,
    handler: MethodRouter<Api>,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

macro_rules! method {
    ($name:ident, $method:ident) => {
        /// A route with this method.
        pub(crate) fn $name<H, T>(path: impl Into<String>, id: &'static str, handler: H) -> Route
        where
            H: Handler<T, Api>,
            T: 'static,
        {
            Route {
                method: Method::$method,
                path: path.into(),
                id,
                summary: "",
                need: None,
                query: None,
                body: None,
                answers: Vec::new(),
                is_deprecated: false,
                handled_once: Method::$method != Method::POST,
                handler: on(MethodFilter::$method, handler),
            }
        }
    };
}

method!(get, GET);
method!(post, POST);
method!(put, PUT);
method!(patch, PATCH);
method!(delete, DELETE);

impl Route {
    pub(crate) fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    pub(crate) fn takes(mut self, need: Need) -> Self {
        self.need = Some(need);
        self
    }

    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self
    }

    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(schema_of::<T>);
        self
    }

    pub(crate) fn gives<T: JsonSchema>(mut self, status: u16) -> Self {
        self.answers.push((status, Some(schema_of::<T>)));
        self
    }

    pub(crate) fn gives_nothing(mut self, status: u16) -> Self {
        self.answers.push((status, None));
        self
    }

    pub(crate) fn deprecated(mut self) -> Self {
        self.is_deprecated = true;
        self
    }

    /// Its handler does what an idempotency key asks for.
    pub(crate) fn idempotent_by_itself(mut self) -> Self {
        self.handled_once = true;
        self
    }

    /// Who answers it, with what stands around.
    pub(crate) fn into_handler(self, api: &Api) -> MethodRouter<Api> {
        let mut handler = self.handler;
        if !self.handled_once {
            handler = handler.layer(from_fn_with_state(api.clone(), idempotency::once));
        }
        match self.need {
            Some(need) => handler.layer(from_fn_with_state((api.clone(), need), authorize)),
            None => handler,
        }
    }
}
