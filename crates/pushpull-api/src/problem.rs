//! The one place where an error becomes an answer.
//!
//! Every answer that is not a success has a code that never changes and a sentence for people, as the Svix
//! API has it: `{"code", "detail"}`; what is wrong with the request's content is told by place (422, `loc`).
//! Trouble of ours is 503 with `Retry-After`, never 4xx. The chain of causes goes to the log, not to the caller.

mod code;

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use pushpull_domain::{IteratorError, Seq};
use pushpull_store::{Error as StoreError, Lease, WriteError};
use schemars::JsonSchema;
use serde::Serialize;

pub use code::Code;

/// When to come again if the store is full: time to make space.
const FULL_WAIT: Duration = Duration::from_secs(10);
/// When to come again if too much waits to be written, or the server is on its way out.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Why a request is not answered with success.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The body is no JSON.
    #[error("the body is not JSON: {message} at line {line}, column {column}")]
    MalformedJson {
        /// What the parser says.
        message: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Well-formed, but not what is asked for.
    #[error("{}: {message}", .place.join("."))]
    Invalid {
        /// Where: `body`, `query`, `path` or `header`, then the way to the field.
        place: Vec<String>,
        /// What it must be.
        message: String,
        /// Which kind of fault.
        kind: Kind,
    },
    /// No key, or one that is not known, revoked or expired.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The key does not allow this.
    #[error("the key does not allow this; it takes {0}")]
    Forbidden(&'static str),
    /// There is no such thing, or not for this key.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// No route has this path.
    #[error("there is no such path")]
    NoRoute,
    /// The path has other methods.
    #[error("this path has no such method")]
    NoMethod,
    /// Another thing stands in the way.
    #[error(transparent)]
    Conflict(Conflict),
    /// The thing is not in a state in which this can be done.
    #[error(transparent)]
    Impossible(Impossible),
    /// A reader cannot go on from where it says it is.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Another reader holds a consumer's lease.
    #[error("the consumer is leased to {} until {}", holder_of(.0), .0.until)]
    LeaseHeld(Lease),
    /// The body, or the payload in it, is too large.
    #[error("larger than {max} bytes")]
    TooLarge {
        /// What is allowed, in bytes.
        max: usize,
    },
    /// The body did not come whole.
    #[error("the body did not come whole")]
    Cut,
    /// Storage did not do what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another thing has the name.
    #[error("there is another {what} with this {field}")]
    Taken {
        /// A thing of this kind.
        what: &'static str,
        /// Its uid, or name.
        field: &'static str,
    },
    /// It was changed as often as it was tried to change it.
    #[error("the {what} was changed by somebody else at the same time; try again")]
    ChangedMeanwhile {
        /// A thing of this kind.
        what: &'static str,
    },
    /// An application has a bound.
    #[error("the application has as many endpoints as it may have; delete one first")]
    TooManyEndpoints,
    /// An endpoint has a bound.
    #[error("the endpoint has as many consumers as it may have; delete one first")]
    TooManyConsumers,
    /// A consumer is read as a stream or as a work queue, not both at a time.
    #[error(
        "items of the consumer's work queue are not done; answer for them, or seek, before reading it as a stream"
    )]
    WorkQueueNotDone,
    /// A user's own id is there once.
    #[error("there is another message with this eventId")]
    EventIdTaken,
    /// Whoever reads the endpoint reads it again by itself.
    #[error("the endpoint is not pushed, and the message is in its queue: read it again with a seek")]
    NotPushed,
}

/// Why a thing cannot be done with something as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// Nothing is sent to an endpoint that is disabled.
    #[error("the endpoint is disabled; enable it first")]
    EndpointDisabled,
    /// There is nothing left to send.
    #[error("the message's payload is not kept any more")]
    PayloadExpired,
    /// Other keys are ended by whoever runs the server.
    #[error("only a key that app-portal-access gave can be ended so; use `pushpull key revoke`")]
    NotAPortalKey,
}

/// Why a reader cannot go on from its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Made up, cut, or of another endpoint.
    #[error("what is given as iterator is not one of this endpoint")]
    Invalid,
    /// The store is a restored backup.
    #[error("the iterator is from before the store was restored from a backup: begin anew with `from`")]
    OtherHistory,
    /// Retention removed what comes next.
    #[error("what comes next is not kept any more; the earliest that is kept has seq {}: go on with `from=earliest`", .earliest.0)]
    Overtaken {
        /// What is kept begins here.
        earliest: Seq,
    },
}

fn holder_of(lease: &Lease) -> String {
    lease.holder.as_ref().map_or_else(|| "a reader without a name".to_owned(), |holder| format!("`{holder}`"))
}

impl From<IteratorError> for Unreadable {
    fn from(error: IteratorError) -> Self {
        match error {
            IteratorError::Invalid => Self::Invalid,
            IteratorError::OtherHistory => Self::OtherHistory,
        }
    }
}

/// Which kind of fault a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is missing.
    Missing,
    /// It has a value that it cannot have.
    Value,
    /// It is an idempotency key that was used for another request.
    KeyReused,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "value_error.missing",
            Self::Value => "value_error",
            Self::KeyReused => Code::IdempotencyKeyReused.as_str(),
        }
    }
}

/// An error as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HttpErrorOut")]
pub struct ErrorOut {
    /// What went wrong, as a word that does not change.
    #[schemars(with = "String")]
    pub code: Code,
    /// The same as a sentence.
    pub detail: String,
}

/// What is wrong with a request's content, by place.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HTTPValidationError")]
pub struct ValidationErrorOut {
    /// Each fault; the first that was found is the only one told.
    pub detail: Vec<FaultOut>,
}

/// One fault.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ValidationError")]
pub struct FaultOut {
    /// Where: `body`, `query`, `path` or `header`, then the way to the field.
    pub loc: Vec<String>,
    /// What it must be.
    pub msg: String,
    /// Which kind of fault.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl Problem {
    /// A field that is not what it must be.
    pub(crate) fn invalid(place: &[&str], message: impl ToString) -> Self {
        let place = place.iter().map(ToString::to_string).collect();
        Self::Invalid { place, message: message.to_string(), kind: Kind::Value }
    }

    /// A field that is not there.
    pub(crate) fn missing(place: Vec<String>, message: impl ToString) -> Self {
        Self::Invalid { place, message: message.to_string(), kind: Kind::Missing }
    }

    /// A body or payload over a limit, in bytes.
    pub(crate) fn too_large(max: usize) -> Self {
        Self::TooLarge { max }
    }

    /// A write that was refused; `what` it was about.
    pub(crate) fn refused(what: &'static str, error: WriteError) -> Self {
        match error {
            WriteError::Taken(field) => Self::Conflict(Conflict::Taken { what, field }),
            WriteError::Stale => Self::Conflict(Conflict::ChangedMeanwhile { what }),
            WriteError::NotFound => Self::NotFound(what),
            WriteError::WhichConsumer(consumers) => Self::invalid(&["body", "from"], which(&consumers)),
            WriteError::Store(error) => Self::Store(error),
        }
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MalformedJson { .. }
            | Self::Impossible(_)
            | Self::Cut
            | Self::Unreadable(Unreadable::Invalid) => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) | Self::LeaseHeld(_) => StatusCode::CONFLICT,
            Self::Unreadable(Unreadable::OtherHistory | Unreadable::Overtaken { .. }) => StatusCode::GONE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Store(StoreError::Inconsistent { .. } | StoreError::Foreign(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word for it. `docs/errors.md` has a section for each.
    pub fn code(&self) -> Code {
        match self {
            Self::MalformedJson { .. } => Code::MalformedJson,
            Self::Invalid { kind: Kind::KeyReused, .. } => Code::IdempotencyKeyReused,
            Self::Invalid { kind: Kind::Missing | Kind::Value, .. } => Code::Validation,
            Self::Unauthenticated(_) => Code::AuthenticationFailed,
            Self::Forbidden(_) => Code::InsufficientScope,
            Self::NotFound(_) => Code::NotFound,
            Self::NoRoute => Code::NoSuchPath,
            Self::NoMethod => Code::MethodNotAllowed,
            Self::Conflict(Conflict::Taken { .. }) => Code::Conflict,
            Self::Conflict(Conflict::ChangedMeanwhile { .. }) => Code::ChangedMeanwhile,
            Self::Conflict(Conflict::TooManyEndpoints) => Code::TooManyEndpoints,
            Self::Conflict(Conflict::TooManyConsumers) => Code::TooManyConsumers,
            Self::Conflict(Conflict::WorkQueueNotDone) => Code::WorkQueueNotDone,
            Self::LeaseHeld(_) => Code::LeaseHeld,
            Self::Conflict(Conflict::EventIdTaken) => Code::EventIdTaken,
            Self::Conflict(Conflict::NotPushed) => Code::EndpointNotPushed,
            Self::Impossible(Impossible::EndpointDisabled) => Code::EndpointDisabled,
            Self::Impossible(Impossible::PayloadExpired) => Code::PayloadExpired,
            Self::Impossible(Impossible::NotAPortalKey) => Code::NotAPortalKey,
            Self::Unreadable(Unreadable::Invalid) => Code::InvalidIterator,
            Self::Unreadable(Unreadable::OtherHistory | Unreadable::Overtaken { .. }) => {
                Code::IteratorExpired
            }
            Self::TooLarge { .. } => Code::PayloadTooLarge,
            Self::Cut => Code::BodyCut,
            Self::Store(StoreError::Full(_)) => Code::StoreFull,
            Self::Store(StoreError::Busy) => Code::StoreBusy,
            Self::Store(StoreError::Unavailable(_)) => Code::StoreUnavailable,
            Self::Store(StoreError::Closing) => Code::ShuttingDown,
            Self::Store(StoreError::Inconsistent { .. } | StoreError::Foreign(_)) => Code::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Store(StoreError::Full(_)) => Some(FULL_WAIT),
            Self::Store(StoreError::Busy | StoreError::Unavailable(_) | StoreError::Closing) => {
                Some(BUSY_WAIT)
            }
            _ => None,
        }
    }

    /// What is said to the caller: nothing of our insides.
    fn detail(&self) -> String {
        match self {
            Self::Store(StoreError::Inconsistent { .. } | StoreError::Foreign(_)) => {
                "something is wrong on our side".into()
            }
            other => other.to_string(),
        }
    }
}

/// What `from` may be.
fn which(consumers: &[String]) -> String {
    let consumers = consumers.iter().map(String::as_str);
    let places: Vec<_> = consumers.chain(["earliest", "latest"]).collect();
    format!("must say where to go on: `{}`", places.join("`, `"))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let code = self.code();
        // That it is full, busy or closing the store says itself, once for a batch, not once for each caller.
        if matches!(
            self,
            Self::Store(
                StoreError::Unavailable(_) | StoreError::Inconsistent { .. } | StoreError::Foreign(_)
            )
        ) {
            tracing::error!(
                error = &self as &dyn std::error::Error,
                code = code.as_str(),
                "a request failed"
            );
        }
        let retry_after = self.retry_after();
        let detail = self.detail();
        let mut response = match self {
            Self::Invalid { place, message, kind } => {
                let fault = FaultOut { loc: place, msg: message, kind: kind.as_str() };
                (status, Json(ValidationErrorOut { detail: vec![fault] })).into_response()
            }
            _ => (status, Json(ErrorOut { code, detail })).into_response(),
        };
        if let Some(wait) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
