//! Whether the server is well.

use axum::extract::State;
use http::StatusCode;

use crate::{problem::Problem, state::Api};

/// Well: the store answers.
pub(crate) async fn get(State(api): State<Api>) -> Result<StatusCode, Problem> {
    api.store().check().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// There.
pub(crate) async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}
