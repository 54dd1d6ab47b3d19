//! One route: what it is called, what it takes of a key, what it reads and gives, and who answers it.

use std::pin::Pin;

use axum::{
    extract::Request,
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{
    auth::{Need, authorize, in_url},
    idempotency,
    problem::Problem,
    state::Api,
};

/// Puts a handler behind what its route asks for.
type Mount = Box<dyn FnOnce(Around) -> MethodRouter<Api>>;

/// What stands around a handler.
#[derive(Clone, Copy)]
struct Around {
    need: Option<Need>,
    /// An idempotency key is looked at before the handler.
    once: bool,
}

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
    mount: Mount,
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
                mount: Box::new(|around| on(MethodFilter::$method, Guarded { handler, around })),
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

    /// Its handler does what an idempotency key asks for, or does the same again without one.
    pub(crate) fn idempotent_by_itself(mut self) -> Self {
        self.handled_once = true;
        self
    }

    /// Who answers it, with what stands around.
    pub(crate) fn into_handler(self) -> MethodRouter<Api> {
        (self.mount)(Around { need: self.need, once: !self.handled_once })
    }
}

/// A handler and what stands around it: one future, where layers would box several for each request.
#[derive(Clone)]
struct Guarded<H> {
    handler: H,
    around: Around,
}

impl<H, T> Handler<T, Api> for Guarded<H>
where
    H: Handler<T, Api>,
    T: 'static,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, mut request: Request, api: Api) -> Self::Future {
        Box::pin(async move {
            if !self.around.need.is_some_and(Need::is_for_readers) {
                return self.answer(request, api).await;
            }
            // Reading as a consumer makes it, moves its place or leases, which a HEAD must not (RFC 9110 s. 9.3.2).
            if request.method() == Method::HEAD {
                return Problem::NoMethod.into_response();
            }
            // Who reads a queue may be a page in a browser.
            let origin = api.origins.answer_to(request.headers());
            let had_token = in_url::take(&mut request);
            let mut response = self.answer(request, api).await;
            response.headers_mut().extend(origin);
            if had_token {
                in_url::seclude(&mut response);
            }
            response
        })
    }
}

impl<H> Guarded<H> {
    async fn answer<T>(self, mut request: Request, api: Api) -> Response
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let Self { handler, around } = self;
        if let Some(need) = around.need
            && let Err(problem) = authorize(&api, need, &mut request).await
        {
            return problem.into_response();
        }
        if !around.once {
            return handler.call(request, api).await;
        }
        let state = api.clone();
        // Boxed, as all that few requests need: a reader that waits holds this future for a minute.
        Box::pin(idempotency::once(&state, request, |request| handler.call(request, api)))
            .await
            .into_response()
    }
}
